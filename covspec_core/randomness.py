"""Random numbers: named streams of a run, and noise addressed by (key, position).

A generator that is passed along fits whatever happens once. What device and edge must agree on,
or what every controller must meet alike, is addressed instead: the same key and position give
the same number, in whatever order and on whichever side they are asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_MANTISSA_SHIFT, _ULP = np.uint64(11), 2.0**-53
DRAW, JUDGE, REDRAW, BONUS, REST = range(5)
"""What an addressed number decides at a position of a text."""


def streams(seed: int, *names: str) -> dict[str, np.random.Generator]:
    """One independent generator per name; a name added at the end changes no other."""
    children = np.random.SeedSequence(seed).spawn(len(names))
    return {name: np.random.default_rng(child) for name, child in zip(names, children, strict=True)}


def gumbel(key: int, position: int, size: int) -> NDArray[np.float64]:
    """Standard Gumbel noise that device and edge share at one position, shape ``[size]``.

    Source: Daliri et al., arXiv 2408.07978 (drafts coupled to the target by shared noise).
    """
    bits = np.random.Philox(key=np.array([key, position], dtype=np.uint64))
    return np.random.Generator(bits).gumbel(size=size)


def absorb(state: Any, part: Any) -> Any:
    """A hash of ``part`` behind all that ``state`` holds; arrays, or compiled numbers."""
    x = (state ^ part) + _GOLDEN
    x = (x ^ (x >> _SHIFTS[0])) * _MIX[0]
    x = (x ^ (x >> _SHIFTS[1])) * _MIX[1]
    return x ^ (x >> _SHIFTS[2])


def unit(hashed: Any) -> Any:
    """A number in [0, 1) from a hash; arrays, or compiled numbers."""
    return (hashed >> _MANTISSA_SHIFT) * _ULP


def mix(*parts: NDArray[np.integer] | int) -> NDArray[np.uint64]:
    """A 64-bit hash of integers that broadcast together (SplitMix64, Steele et al. 2014)."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = absorb(state, np.asarray(part, dtype=np.uint64))
    return state


def uniform(*parts: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """A number in [0, 1) addressed by integers that broadcast together."""
    return unit(mix(*parts))
