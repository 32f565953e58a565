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
                # What stays the same.
                if b > 0 and value == values[b - 1, columns[f]]:
                    observations[b, f] = observations[b - 1, f]
                    continue
                value = math.log(max(value, LEAST))
            observations[b, f] = min(max((value - shift[f]) * scale[f], 0.0), 1.0)
    return -1


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
