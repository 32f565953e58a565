"""How many drafted tokens will be accepted in a row, guessed from the last committed token alone.

A table over (keep level, last token), fitted on training requests: the device looks it up for
free, before it has drafted anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HORIZON = 8
"""Tokens that a run counts at most."""
PRIOR_COUNT = 20.0
"""Sightings of a token after which its own mean weighs as much as the overall one."""

Table = NDArray[np.float16]


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


def previous_tokens(
    tokens: NDArray[np.integer], lengths: NDArray[np.integer], vocab_size: int
) -> NDArray[np.int64]:
    """The token before each position; ``vocab_size`` stands before the first, shape ``[N]``."""
    previous = np.concatenate([[vocab_size], tokens[:-1]]).astype(np.int64)
    previous[np.cumsum(lengths)[:-1]] = vocab_size
    return previous


def fit_forecast(
    tokens: NDArray[np.integer],
    overlap: NDArray[np.floating],
    lengths: NDArray[np.integer],
    vocab_size: int,
) -> Table:
    """Mean expected run after each token, shrunk towards the overall mean, ``[L, vocab + 1]``."""
    runs = expected_runs(overlap, lengths)
    previous = previous_tokens(tokens, lengths, vocab_size)
    count = np.bincount(previous, minlength=vocab_size + 1)
    sums = np.stack([np.bincount(previous, row, minlength=vocab_size + 1) for row in runs])
    mean = runs.mean(1, keepdims=True)
    table = (sums + PRIOR_COUNT * mean) / (count + PRIOR_COUNT)
    return table.astype(np.float16)
