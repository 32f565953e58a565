"""Compiled loops of :mod:`env.observations` and :mod:`env.actions`; importing them loads numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covspec_core.kernels.compiled import loop

LEAST = 1e-12
"""Values below are taken for this one before their logarithm."""


@loop
def scale_all(
    values: NDArray[np.float64],
    columns: NDArray[np.int64],
    logs: NDArray[np.bool_],
    shift: NDArray[np.float64],
    scale: NDArray[np.float64],
    observations: NDArray[np.float32],
) -> int:
    """Fill observations ``[B, F]``; the first row with a value that is not finite, or -1."""
    for b in range(len(values)):
        for f in range(len(columns)):
            value = values[b, columns[f]]
            if not math.isfinite(value):
                return b
            if logs[f]:
                if b > 0 and value == values[b - 1, columns[f]]:  # what stays the same
                    observations[b, f] = observations[b - 1, f]
                    continue
                value = math.log(max(value, LEAST))
            observations[b, f] = min(max((value - shift[f]) * scale[f], 0.0), 1.0)
    return -1


@loop
def plan_all(
    values: NDArray[np.float64],
    columns: NDArray[np.int64],
    lengths: NDArray[np.int64],
    plans: NDArray[np.float64],
) -> None:
    """Expected speed over the edge alone of rounds that draft so many tokens, shape ``[B, n]``.

    Tokens come from what the head foresees, or else from the running acceptance; seconds from
    profile and link as reported.
    """
    for b in range(len(values)):
        v = values[b]
        up, down, trip = v[columns[0]], v[columns[1]], v[columns[2]]
        device, edge, wait = v[columns[3]], v[columns[4]], v[columns[5]]
        acceptance, ready, awake = v[columns[6]], v[columns[7]], v[columns[8]] > 0
        first, step_s = columns[9], v[columns[13]] * edge
        draft_s = (v[columns[14]] + v[columns[15]] * v[columns[10]]) * v[columns[13]] * device
        tokens, before, stands = 1.0, 0, 1.0
        for k in range(len(lengths)):
            n = lengths[k]
            last = stands
            stands = v[first + k] if awake else acceptance**n
            # The chances between two that are foreseen lie on a line.
            gap = n - before
            tokens += gap * last + (stands - last) * (gap + 1) / 2
            before = n
            seconds = wait + max(n - ready, 0.0) * draft_s + trip
            seconds += 8.0 * n * v[columns[11]] / up + step_s * (1.0 + v[columns[16]] * n)
            seconds += (1.0 - stands) * 8.0 * v[columns[12]] / down
            plans[b, k] = tokens * step_s / seconds


@loop
def choose_all(
    indices: NDArray[np.int64],
    counts: NDArray[np.int64],
    levels: NDArray[np.float64],
    chosen: NDArray[np.float64],
) -> int:
    """Fill values of choices, shape ``[P, B]``; the first row outside of its space, or -1.

    Args:
        indices: Shape ``[B, P]``.
        counts: Choices of each part, shape ``[P]``.
        levels: Their values, shape ``[P, most]``.
        chosen: To be filled.
    """
    for b in range(len(indices)):
        for p in range(len(counts)):
            if not 0 <= indices[b, p] < counts[p]:
                return b
            chosen[p, b] = levels[p, indices[b, p]]
    return -1
