"""Reductions beside CoVSpec's: published ones and the controls."""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.reduction.states import Array, Order, VisualStates, descending

ATTENTION_SHARE: Final = 0.4
"""Attention mass that SpecVLM takes by rank before it spreads evenly."""


def at_random(states: VisualStates, rng: np.random.Generator) -> Order:
    """A uniformly random order."""
    return rng.permutation(states.n_visual).astype(np.int64)


def image_order(states: VisualStates, rng: np.random.Generator) -> Order:
    """The order of the image itself, row by row."""
    return np.arange(states.n_visual, dtype=np.int64)


def uniform(states: VisualStates, rng: np.random.Generator) -> Order:
    """Evenly spread over the image, whatever it shows; from the middle outwards.

    Steps of a plain linear spacing differ with the keep count and do not nest. Ranks of Bayer's
    ordered dither do, and ``4^k`` tokens form a square lattice. Tokens are taken for a square image
    row by row; any other number for the rows of the nearest smaller square.
    """
    columns = max(1, isqrt(states.n_visual))
    row, column = np.divmod(np.arange(states.n_visual), columns)
    rows = int(row[-1]) + 1
    bits = max(rows, columns).bit_length()
    mask = (1 << bits) - 1
    row, column = (row - rows // 2) & mask, (column - columns // 2) & mask
    rank = np.zeros(states.n_visual, dtype=np.int64)
    for bit in range(bits):
        pair = 2 * ((row ^ column) >> bit & 1) + (row >> bit & 1)
        rank += pair << 2 * (bits - 1 - bit)
    return np.argsort(rank, kind="stable").astype(np.int64)


def divprune(states: VisualStates, rng: np.random.Generator) -> Order:
    """Greedy max-min distance of the input vectors (DivPrune, arXiv 2503.02175).

    With ``d = 1 - cos``: the first token is the farthest from its nearest neighbour, each next one
    the farthest from its nearest among those taken. A longer run begins with the shorter one.
    """
    vectors = _needed(states.features, "divprune", "input vectors of the language model (features)")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    distance = np.maximum(1.0 - unit @ unit.T, 0.0)
    np.fill_diagonal(distance, np.inf)
    taken = [int(distance.min(axis=1).argmax())]
    nearest = np.full(states.n_visual, np.inf)
    while len(taken) < states.n_visual:
        nearest = np.minimum(nearest, distance[taken[-1]])
        nearest[taken] = -np.inf
        taken.append(int(nearest.argmax()))
    return np.array(taken, dtype=np.int64)


def visionzip(states: VisualStates, rng: np.random.Generator) -> Order:
    """Attention received within the vision encoder (VisionZip's dominant tokens, arXiv 2412.04467).

    Its contextual tokens are left out: they are means of the dropped tokens, so their values change
    with every keep count, while an order can only choose among tokens as they are.
    """
    return descending(_needed(states.received, "visionzip", "encoder's attention (received)"))


def verifier_guided(
    states: VisualStates, rng: np.random.Generator, attention_share: float = ATTENTION_SHARE
) -> Order:
    """The target's attention, then an even spread (SpecVLM, arXiv 2508.16201).

    Tokens by attention until ``attention_share`` of its mass is covered; the rest in the order of
    :func:`uniform`, where the original's linear spacing would not nest.

    Args:
        states: With the target's attention.
        rng: Passed on.
        attention_share: Mass of the first stage, in [0, 1].
    """
    attention = _needed(states.verifier, "verifier_guided", "target's attention (verifier)")
    ranked = descending(attention)
    mass = attention[ranked].cumsum()
    before = np.concatenate([[0.0], mass[:-1]])
    first = ranked[before < attention_share * mass[-1]]
    spread = uniform(states, rng)
    return np.concatenate([first, spread[~np.isin(spread, first)]])


def _needed(signal: Array | None, name: str, what: str) -> Array:
    if signal is None:
        raise InvalidSetting(f"reduction {name} needs the {what}, got states without it")
    return signal
