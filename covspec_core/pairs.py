"""Loads a pair: draft, target, reduction and the forecast that belongs to its recording."""

from __future__ import annotations

import numpy as np

from covspec_core.forecast import Table
from covspec_core.live import Pair
from covspec_core.models.hf import HFModel
from covspec_core.reduction import reduction


def load_pair(
    draft: str,
    target: str,
    reduction_name: str,
    keep_levels: tuple[float, ...],
    forecast: Table | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Pair:
    """Load both models.

    Args:
        draft: Folder or hub name of the small model.
        target: Folder or hub name of the large model.
        reduction_name: How the device ranks visual tokens.
        keep_levels: Keep level of each row of the forecast.
        forecast: Table of :mod:`covspec_core.forecast`; zeros if there is none yet.
        device: Torch device.
        dtype: Torch dtype of the weights.

    Raises:
        InvalidSetting: If a model does not load or the two do not fit.
    """
    small = HFModel(draft, device=device, dtype=dtype)
    rank = reduction(reduction_name)
    if forecast is None:
        forecast = np.zeros((len(keep_levels), small.vocab_size + 1), np.float16)
    large = HFModel(target, device=device, dtype=dtype)
    return Pair(
        small, large, lambda states: rank(states, np.random.default_rng(0)), forecast, keep_levels
    )
