"""Proper scores of foreseen chances: least on average for who says what is true."""

from __future__ import annotations

import numpy as np

from covspec_core.acceptance import GRID
from policies.shares import Floats

TRUTH = "true chance"
"""The predictor that knows what is foreseen."""
SURE = 0.5 / GRID
"""No chance is nearer to 0 or 1 when its logarithm is taken: half a step of what a head can say."""


def brier(said: Floats, true: Floats) -> Floats:
    """Expected squared error of a chance, where what is foreseen comes true by chance."""
    return (said - true) ** 2 + true * (1 - true)


def log_score(said: Floats, true: Floats) -> Floats:
    """Expected surprise in nats, where what is foreseen comes true by chance."""
    bounded = np.clip(said, SURE, 1 - SURE)
    return -(true * np.log(bounded) + (1 - true) * np.log1p(-bounded))


SCORES = {"brier": brier, "log_score": log_score}
