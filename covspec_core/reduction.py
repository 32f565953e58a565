"""Visual token reduction without training: in which order an image's tokens are worth keeping.

Every reduction returns an *order*, so that every keep count is a prefix of it and one computation
serves all of them. ``covspec`` follows CoVSpec (arXiv 2605.02218), which names its three signals
(relevance to the query, activity over the layers, low-rank redundancy) and no formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from covspec_core.errors import InvalidSetting

Array = NDArray[np.floating[Any]]
Order = NDArray[np.int64]

RELEVANCE_WEIGHT: Final = 0.6
ACTIVITY_WEIGHT: Final = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class VisualStates:
    """What a model's first layers say about an image's tokens.

    Attributes:
        relevance: Attention of the question's keywords to each token, ``[n_visual]``.
        early: Hidden states after an early layer, ``[n_visual, hidden]``.
        deep: Hidden states after a deeper layer, same shape.
    """

    relevance: Array
    early: Array
    deep: Array

    def __post_init__(self) -> None:
        if self.early.shape != self.deep.shape or self.early.shape[:1] != self.relevance.shape:
            shapes = (self.relevance.shape, self.early.shape, self.deep.shape)
            raise InvalidSetting(
                f"relevance, early and deep must be [n], [n, hidden], [n, hidden], got {shapes}"
            )

    @property
    def n_visual(self) -> int:
        """Visual tokens of the image."""
        return len(self.relevance)


Reduction = Callable[[VisualStates, np.random.Generator], Order]


def activity(states: VisualStates) -> Array:
    """How much each token changes from layer to layer: ``1 - cos`` in [0, 2], ``[n_visual]``."""
    norms = np.linalg.norm(states.early, axis=1) * np.linalg.norm(states.deep, axis=1)
    return 1.0 - np.einsum("ij,ij->i", states.early, states.deep) / np.maximum(norms, 1e-12)


def saliency(states: VisualStates) -> Array:
    """Weighted sum of the standard scores of relevance and activity, ``[n_visual]``."""
    return RELEVANCE_WEIGHT * _standard(states.relevance) + ACTIVITY_WEIGHT * _standard(
        activity(states)
    )


def covspec(states: VisualStates, rng: np.random.Generator) -> Order:
    """Salient tokens that are unlike those before them.

    QR with column pivoting of the centred deep states, each scaled by ``softplus(saliency)``: every
    pivot is the token that the ones before explain least. Beyond the numerical rank no token adds
    anything; the rest follows by saliency.
    """
    salient = saliency(states)
    weighted = np.logaddexp(0.0, salient)[:, None] * (states.deep - states.deep.mean(axis=0))
    triangle, pivots = qr(weighted.T, mode="r", pivoting=True)
    steps = np.abs(np.diagonal(triangle))
    rank = int((steps > 1e-6 * max(steps[0], 1e-12)).sum())
    rest = pivots[rank:]
    return np.concatenate([pivots[:rank], rest[np.argsort(-salient[rest], kind="stable")]]).astype(
        np.int64
    )


def at_random(states: VisualStates, rng: np.random.Generator) -> Order:
    """A uniformly random order."""
    return rng.permutation(states.n_visual).astype(np.int64)


def image_order(states: VisualStates, rng: np.random.Generator) -> Order:
    """The order of the image itself, row by row."""
    return np.arange(states.n_visual, dtype=np.int64)


REDUCTIONS: Final[Mapping[str, Reduction]] = {
    "covspec": covspec,
    "random": at_random,
    "none": image_order,
}


def reduction(name: str) -> Reduction:
    """The reduction called ``name``.

    Raises:
        InvalidSetting: If there is none; the message lists those there are.
    """
    if name not in REDUCTIONS:
        raise InvalidSetting(f"reduction must be one of {', '.join(REDUCTIONS)}, got {name!r}")
    return REDUCTIONS[name]


def _standard(values: Array) -> Array:
    """Standard scores; all 0 if the values do not differ."""
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1.0)
