"""How many drafted tokens will be accepted in a row, guessed from the last few tokens alone.

A back-off table over (keep level, last one to three tokens), fitted on training requests: the
device looks it up for free, before it has drafted anything. Longer contexts add corrections to
what shorter ones say, shrunk by how rarely they were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covspec_core.randomness import mix

HORIZON = 8
"""Tokens that a run counts at most."""
ORDER = 3
"""Tokens of the longest context."""
PRIOR_COUNT = 10.0
"""Sightings of a context after which its own mean weighs as much as what shorter ones say."""
START = 0
"""Stands before the first token; tokens are shifted by one in contexts."""

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Corrections by context; their sum over all orders is the expected run.

    Attributes:
        keys: Hashes of contexts, ascending, shape ``[M]``.
        values: Correction of each context, shape ``[L, M]``.
    """

    keys: Keys
    values: NDArray[np.float32]

    @staticmethod
    def empty(levels: int) -> Forecast:
        """Knows nothing: every forecast is 0."""
        return Forecast(np.zeros(1, np.uint64), np.zeros((levels, 1), np.float32))

    def after(self, level: int, text: Sequence[int]) -> float:
        """Expected run behind a text at one keep level."""
        tail = np.array(text[-ORDER:], dtype=np.int64)
        window = np.full(ORDER, START, dtype=np.int64)
        if tail.size:
            window[-tail.size :] = tail + 1
        return float(self._sum(_hashes(window[None]))[level, 0])

    def along(
        self, tokens: NDArray[np.integer], lengths: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Expected run at every position of recorded answers, shape ``[L, N]``."""
        return self._sum(_hashes(_windows(tokens, lengths)))

    def _sum(self, hashes: Keys) -> NDArray[np.float64]:
        total = np.zeros((len(self.values), hashes.shape[1]))
        for column in hashes:
            place = np.minimum(np.searchsorted(self.keys, column), len(self.keys) - 1)
            total += np.where(self.keys[place] == column, self.values[:, place], 0.0)
        return total


def expected_runs(
    overlap: NDArray[np.floating], lengths: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Expected accepted run from each position on, ``sum_k prod_(i<=k) a_(t+i)``.

    Args:
        overlap: Acceptance probability ``a_t`` of a fresh draft, shape ``[L, N]``.
        lengths: Answer lengths, shape ``[R]``, adding up to ``N``. Runs end with the answer.

    Returns:
        Shape ``[L, N]``, in [0, HORIZON].
    """
    acceptance = overlap.astype(np.float64)
    n = acceptance.shape[1]
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(n)
    padded = np.pad(acceptance, ((0, 0), (0, HORIZON)))
    product, total = np.ones_like(acceptance), np.zeros_like(acceptance)
    for k in range(HORIZON):
        product = np.where(k < left, product * padded[:, k : k + n], 0.0)
        total += product
    return total


def fit_forecast(
    tokens: NDArray[np.integer], overlap: NDArray[np.floating], lengths: NDArray[np.integer]
) -> Forecast:
    """Fit the table, shortest contexts first.

    Args:
        tokens: Emitted tokens of training requests, shape ``[N]``.
        overlap: Acceptance probability of a fresh draft, shape ``[L, N]``.
        lengths: Answer lengths, shape ``[R]``.
    """
    rest = expected_runs(overlap, lengths)
    keys, values = [], []
    for column in _hashes(_windows(tokens, lengths)):
        own, place, count = np.unique(column, return_inverse=True, return_counts=True)
        sums = np.stack([np.bincount(place, row) for row in rest])
        correction = sums / (count + PRIOR_COUNT)
        rest = rest - correction[:, place]
        keys.append(own)
        values.append(correction)
    order = np.argsort(np.concatenate(keys))
    table = np.concatenate(values, axis=1)[:, order].astype(np.float32)
    return Forecast(np.concatenate(keys)[order], table)


def _windows(tokens: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """The tokens before each position, oldest first, ``START`` where there is none, ``[N, 3]``."""
    n = len(tokens)
    position = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    windows = np.full((n, ORDER), START, dtype=np.int64)
    for back in range(1, ORDER + 1):
        earlier = np.roll(tokens.astype(np.int64), back) + 1
        windows[:, -back] = np.where(position >= back, earlier, START)
    return windows


def _hashes(windows: NDArray[np.int64]) -> Keys:
    """Hash of the empty context and of the last 1, 2, ... tokens, shape ``[ORDER + 1, N]``."""
    columns = [windows[:, -back] for back in range(1, ORDER + 1)]
    empty = np.broadcast_to(mix(0), (len(windows),))
    return np.stack([empty, *(mix(k, *columns[:k]) for k in range(1, ORDER + 1))])
