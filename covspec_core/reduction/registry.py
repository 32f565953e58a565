"""Reductions by name and setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any, Final

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.reduction import related
from covspec_core.reduction.merging import CONTEXTUAL_SHARE, Merging, merge
from covspec_core.reduction.signals import (
    ACTIVITY_WEIGHT,
    RELEVANCE_WEIGHT,
    by_activity,
    by_cover,
    by_relevance,
    covspec,
)
from covspec_core.reduction.states import Order, VisualStates

Reduction = Callable[[VisualStates, np.random.Generator], Order]

REDUCTIONS: Final[Mapping[str, Reduction]] = {
    "covspec": covspec,
    "random": related.at_random,
    "none": related.image_order,
}
"""CoVSpec's own and the controls beside it; what every model card compares."""

METHODS: Final[Mapping[str, Reduction]] = {
    **REDUCTIONS,
    "uniform": related.uniform,
    "relevance": by_relevance,
    "activity": by_activity,
    "cover": by_cover,
    "divprune": related.divprune,
    "visionzip": related.visionzip,
    "verifier_guided": related.verifier_guided,
}
"""All there are; at their default settings."""

SIGNALS: Final = ("relevance", "activity", "cover")
"""Of CoVSpec; some of them joined by ``+`` are ``covspec`` without the others."""
MERGING: Final = "+merging"


@dataclass(frozen=True, slots=True)
class ReductionSettings:
    """How visual tokens are ranked.

    Attributes:
        name: One of ``METHODS``.
        relevance: Weight of the relevance to the query in ``covspec``, >= 0.
        activity: Weight of the activity over the layers in ``covspec``, >= 0.
        cover: Whether redundant tokens wait in ``covspec``.
        early_layer: Layer after which states count as early (activity), >= 0.
        deep_layer: Layer at which relevance and deep states are read; a third of the depth if
            ``None``.
        attention_share: Mass that ``verifier_guided`` takes by rank, in [0, 1].
        contextual_share: Of the kept tokens that stand for dropped ones, see
            :mod:`covspec_core.reduction.merging`, in [0, 1]; with 0 every keep is a prefix.

    Raises:
        InvalidSetting: If a value breaks its rule.
    """

    name: str = "covspec"
    relevance: float = RELEVANCE_WEIGHT
    activity: float = ACTIVITY_WEIGHT
    cover: bool = True
    early_layer: int = 1
    deep_layer: int | None = None
    attention_share: float = related.ATTENTION_SHARE
    contextual_share: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise InvalidSetting(f"reduction must be one of {list(METHODS)}, got {self.name!r}")
        for name in ("relevance", "activity"):
            weight = getattr(self, name)
            if not (isfinite(weight) and weight >= 0):
                raise InvalidSetting(f"reduction.{name} must be finite and >= 0, got {weight}")
        if not (self.relevance or self.activity or self.cover):
            raise InvalidSetting(
                "reduction needs a signal: relevance > 0, activity > 0 or cover, got none"
            )
        for name in ("attention_share", "contextual_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSetting(
                    f"reduction.{name} must lie in [0, 1], got {getattr(self, name)}"
                )
        deep = self.early_layer + 1 if self.deep_layer is None else self.deep_layer
        if not 0 <= self.early_layer < deep:
            raise InvalidSetting(
                "reduction layers must satisfy 0 <= early_layer < deep_layer, "
                f"got {self.early_layer} and {self.deep_layer}"
            )

    @staticmethod
    def of(chosen: str | Mapping[str, Any] | ReductionSettings) -> ReductionSettings:
        """Settings as they are or as values, or those of a name.

        Some signals joined, such as ``relevance+cover``, are ``covspec`` without the others.
        ``+merging`` behind any of these lets dropped tokens live on at VisionZip's share.

        Raises:
            InvalidSetting: If there is none of that name; the message lists those there are.
        """
        if isinstance(chosen, ReductionSettings):
            return chosen
        if isinstance(chosen, Mapping):
            return ReductionSettings(**chosen)
        if chosen.endswith(MERGING):
            plain = ReductionSettings.of(chosen.removesuffix(MERGING))
            return replace(plain, contextual_share=CONTEXTUAL_SHARE)
        if "+" not in chosen:
            return ReductionSettings(chosen)
        signals = chosen.split("+")
        unknown = sorted(set(signals) - set(SIGNALS))
        if unknown:
            raise InvalidSetting(f"reduction joins {SIGNALS}, got {unknown} in {chosen!r}")
        return ReductionSettings(
            relevance=RELEVANCE_WEIGHT * ("relevance" in signals),
            activity=ACTIVITY_WEIGHT * ("activity" in signals),
            cover="cover" in signals,
        )


def reduction(chosen: str | ReductionSettings) -> Reduction:
    """The reduction of a name, as :meth:`ReductionSettings.of` takes it, or of settings.

    Raises:
        InvalidSetting: If there is none of that name; the message lists those there are.
    """
    settings = ReductionSettings.of(chosen)
    if settings.name == "covspec":
        return partial(
            covspec,
            relevance=settings.relevance,
            activity=settings.activity,
            cover=settings.cover,
        )
    if settings.name == "verifier_guided":
        return partial(related.verifier_guided, attention_share=settings.attention_share)
    return METHODS[settings.name]


def merging(chosen: str | ReductionSettings) -> Merging | None:
    """How the reduction of a name or of settings merges what it drops; ``None`` if it does not."""
    settings = ReductionSettings.of(chosen)
    if settings.contextual_share == 0:
        return None
    return partial(merge, share=settings.contextual_share)
