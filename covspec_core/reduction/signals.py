"""CoVSpec's reduction (arXiv 2605.02218): three signals, together, in pairs or alone.

The paper names relevance to the query, activity over the layers and low-rank redundancy, and gives
neither formulas nor weights; those here are our reading.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.linalg import qr

from covspec_core.reduction.states import (
    Array,
    Order,
    VisualStates,
    activity,
    descending,
    standard,
)

RELEVANCE_WEIGHT: Final = 0.3
ACTIVITY_WEIGHT: Final = 0.2
FLAT: Final = 1e-6
"""Share of the first pivot below which a token adds nothing to those before it."""


def saliency(
    states: VisualStates,
    relevance_weight: float = RELEVANCE_WEIGHT,
    activity_weight: float = ACTIVITY_WEIGHT,
) -> Array:
    """Weighted sum of the standard scores of relevance and activity, ``[n_visual]``."""
    return relevance_weight * standard(states.relevance) + activity_weight * standard(
        activity(states)
    )


def covspec(
    states: VisualStates,
    rng: np.random.Generator,
    relevance: float = RELEVANCE_WEIGHT,
    activity: float = ACTIVITY_WEIGHT,
    cover: bool = True,
) -> Order:
    """Salient tokens that are unlike those before them.

    QR with column pivoting of the centred deep states, each scaled by ``softplus(saliency)``: every
    pivot is the token that the ones before explain least. Beyond the numerical rank no token adds
    anything; the rest follows by saliency. It is the greedy step of CDPruner (arXiv 2506.10967)
    with activity added to its relevance.

    Args:
        states: Signals of one image.
        rng: Not used.
        relevance: Weight of the relevance to the query, >= 0.
        activity: Weight of the activity over the layers, >= 0.
        cover: Whether redundant tokens wait; without it tokens go by saliency alone.
    """
    salient = saliency(states, relevance, activity)
    if not cover:
        return descending(salient)
    weighted = np.logaddexp(0.0, salient)[:, None] * (states.deep - states.deep.mean(axis=0))
    triangle, pivots = qr(weighted.T, mode="r", pivoting=True)
    steps = np.abs(np.diagonal(triangle))
    rank = int((steps > FLAT * max(steps[0], 1e-12)).sum())
    rest = pivots[rank:]
    return np.concatenate([pivots[:rank], rest[descending(salient[rest])]]).astype(np.int64)


def by_relevance(states: VisualStates, rng: np.random.Generator) -> Order:
    """Relevance to the query alone, the highest first."""
    return covspec(states, rng, relevance=1.0, activity=0.0, cover=False)


def by_activity(states: VisualStates, rng: np.random.Generator) -> Order:
    """Activity over the layers alone, the highest first."""
    return covspec(states, rng, relevance=0.0, activity=1.0, cover=False)


def by_cover(states: VisualStates, rng: np.random.Generator) -> Order:
    """Low-rank cover alone: pivots of the centred deep states, all scaled alike."""
    return covspec(states, rng, relevance=0.0, activity=0.0, cover=True)
