"""A grid of moments, and functions of time that are linear between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from covspec_core.rounds import Floats, Ints


class Moments(NamedTuple):
    """Where ``[K, N]`` moments lie on a grid of ``N``, for functions that are rows of ``[K, N]``.

    Attributes:
        flat: Grid point before each, as an index into a flat ``[K N]``.
        share: Part of the way to the next grid point, in ``[0, 1]``.
        beyond_s: Seconds behind the last grid point.
        nearest: Nearest grid point of the row.
    """

    flat: Ints
    share: Floats
    beyond_s: Floats
    nearest: Ints


class Grid:
    """Equal steps from time 0 on.

    Args:
        step_s: Between two points.
        end_s: The last point lies here or behind.
    """

    def __init__(self, step_s: float, end_s: float) -> None:
        self.step_s = step_s
        self.times_s = step_s * np.arange(
            max(int(np.ceil(end_s / step_s)), 1) + 1, dtype=np.float64
        )

    def locate(self, time_s: Floats) -> Moments:
        """Where moments lie, ``[K, N]``."""
        last = self.times_s[-1]
        inside = np.minimum(time_s, last) / self.step_s
        index = np.minimum(inside.astype(np.int64), len(self.times_s) - 2)
        row = np.arange(len(time_s))[:, None] * len(self.times_s)
        return Moments(
            row + index, inside - index, np.maximum(time_s - last, 0.0), np.rint(inside).astype(int)
        )


def read(values: Floats, at: Moments, mass: Floats | float = 1.0) -> Floats:
    """Values at moments.

    Args:
        values: Functions of time on the grid, ``[..., K, N]``.
        at: The moments.
        mass: How much a function grows in a second behind the grid, as seconds of an end do.
    """
    flat = values.reshape(*values.shape[:-2], -1)
    low, high = flat.take(at.flat, axis=-1), flat.take(at.flat + 1, axis=-1)
    found: Floats = low + at.share * (high - low) + mass * at.beyond_s
    return found
