"""Random processes on a grid of slots, from which the channels are built.

Each is drawn for many independent rows at once and starts in its stationary law. Where a slot
depends on the one before, all rows take that step together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covspec_core.links.table import FloatArray, IntArray


def twins(
    rng: np.random.Generator, shape: tuple[int, int], correlation: float
) -> tuple[FloatArray, FloatArray]:
    """Two standard normal arrays with a correlation between equal places, ``shape`` each."""
    first, own = rng.standard_normal(shape), rng.standard_normal(shape)
    return first, correlation * first + np.sqrt(1.0 - correlation**2) * own


def gauss_markov(noise: FloatArray, keep: FloatArray | float) -> FloatArray:
    """First-order Gauss-Markov process, ``x[k] = a x[k-1] + sqrt(1 - a^2) noise[k]``.

    Mean 0, variance 1, autocorrelation ``a^lag`` (Gudmundson, Electronics Letters 27(23), 1991,
    for shadowing: ``a = exp(-slot / decorrelation time)``).

    Args:
        noise: Independent standard normals, ``[n, slots]``.
        keep: ``a`` in [0, 1), one for all rows or ``[n]``.

    Returns:
        The process, ``[n, slots]``.
    """
    steps = np.ascontiguousarray(noise.T)
    steps[1:] *= np.sqrt(1.0 - np.square(keep))
    for slot in range(1, len(steps)):
        steps[slot] += keep * steps[slot - 1]
    return np.ascontiguousarray(steps.T)


def redrawn(fresh: NDArray[np.bool_]) -> IntArray:
    """Latest slot up to each at which ``fresh`` is true, 0 before the first, ``[n, slots]``."""
    return np.maximum.accumulate(np.where(fresh, np.arange(fresh.shape[1]), 0), axis=1)


def markov_chain(
    rng: np.random.Generator, n: int, slots: int, step: FloatArray, start: FloatArray
) -> IntArray:
    """States of a Markov chain.

    Args:
        rng: Consumed.
        n: Rows.
        slots: Steps, the first one included.
        step: Probability of going from state i to j, rows sum to 1, ``[states, states]``.
        start: Law of the first state, ``[states]``.

    Returns:
        State of each slot, ``[n, slots]``.
    """
    draws = rng.random((slots, n))
    bounds, states = np.cumsum(step, axis=1)[:, :-1], np.empty((slots, n), dtype=np.intp)
    states[0] = np.searchsorted(np.cumsum(start)[:-1], draws[0], side="right")
    for slot in range(1, slots):
        passed = draws[slot][:, None] >= bounds[states[slot - 1]]
        states[slot] = passed.sum(axis=1)
    return np.ascontiguousarray(states.T)


def stationary(step: FloatArray) -> FloatArray:
    """Stationary law of an irreducible Markov chain, ``[states]``; ``step`` as above."""
    states = len(step)
    equations = np.vstack([step.T - np.eye(states), np.ones(states)])
    law, *_ = np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)
    return np.maximum(law, 0.0) / np.maximum(law, 0.0).sum()


def population(
    rng: np.random.Generator, n: int, slots: int, mean: float, keep: float
) -> NDArray[np.int64]:
    """How many of a crowd are there: comings are Poisson, stays exponential (queue M/M/inf).

    The stationary law is Poisson, the autocorrelation ``keep^lag`` (Takacs, 1962).

    Args:
        rng: Consumed.
        n: Rows.
        slots: Steps.
        mean: How many are there on average.
        keep: Probability that one who is there still is there one slot later, in [0, 1).

    Returns:
        Heads in each slot, ``[n, slots]``.
    """
    heads = np.empty((slots, n), dtype=np.int64)
    heads[0] = rng.poisson(mean, n)
    for slot in range(1, slots):
        heads[slot] = rng.binomial(heads[slot - 1], keep) + rng.poisson(mean * (1 - keep), n)
    return np.ascontiguousarray(heads.T)
