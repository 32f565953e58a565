"""Shares with 95 % intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

RESAMPLES = 2000
Floats = NDArray[np.float64]


def bootstrap_share(sums: Floats, counts: Floats, seed: int = 0) -> dict[str, Any]:
    """``sum(sums) / sum(counts)`` with a 95 % bootstrap interval over questions.

    Args:
        sums: Of every question, ``[questions]``.
        counts: Of every question, same shape.
        seed: Of the resampling; equal seeds draw equal questions.
    """
    rows = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    drawn = sums[rows].sum(axis=1) / counts[rows].sum(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"mean": float(sums.sum() / counts.sum()), "ci95": [float(low), float(high)]}


def right_share(right: Floats) -> dict[str, Any]:
    """Share of right answers with Wilson's 95 % interval."""
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return {"mean": float(right.mean()), "ci95": [float(interval.low), float(interval.high)]}
