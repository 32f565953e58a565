"""What a round is worth, in named terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import reduce

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Floats, RoundResult, constant

MEGABYTE = 2.0**20


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """Weights of the reward's terms; the return is ``-1 / speedup`` with these defaults.

    Attributes:
        time: Virtual seconds over the session's edge-only seconds.
        megabytes: Per MiB on the air, both ways.
        joules: Per joule of device and radio.
        charged: Per target position on the bill.
        deviations: Per unchecked token that the target would not have written.
    """

    time: float = 1.0
    megabytes: float = 0.0
    joules: float = 0.0
    charged: float = 0.0
    deviations: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise InvalidSetting(f"reward.{field.name} must be finite and >= 0, got {value}")

    def terms(
        self, result: RoundResult, elapsed_s: Floats, edge_only_s: Floats
    ) -> dict[str, Floats]:
        """Reward terms, shape ``[B]``; terms of weight 0 are left out.

        Args:
            result: What the rounds did.
            elapsed_s: Session time that passed, before a request's first round its start included.
            edge_only_s: Seconds in which the edge alone would answer the whole session.
        """
        weights = ((name, getattr(self, name)) for name in _AMOUNTS)
        return {
            name: -weight * _AMOUNTS[name](result, elapsed_s, edge_only_s)
            for name, weight in weights
            if weight > 0
        }


_AMOUNTS: dict[str, Callable[[RoundResult, Floats, Floats], Floats]] = {
    "time": lambda result, elapsed_s, edge_only_s: elapsed_s / edge_only_s,
    "megabytes": lambda result, *_: (result.bytes_up + result.bytes_down) / MEGABYTE,
    "joules": lambda result, *_: result.energy_j,
    "charged": lambda result, *_: result.charged.astype(float),
    "deviations": lambda result, *_: result.deviations.astype(float),
}


def total(terms: dict[str, Floats], size: int) -> Floats:
    """Sum of reward terms, shape ``[B]``."""
    return reduce(np.add, terms.values(), constant(size, 0.0))
