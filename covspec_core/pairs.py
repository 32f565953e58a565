"""Loads a pair: draft, target, reduction and the forecast that belongs to its recording."""

from __future__ import annotations

import numpy as np

from covspec_core.forecast import Forecast
from covspec_core.live import Pair
from covspec_core.models.hf import HFModel
from covspec_core.reduction import reduction


def load_pair(
    draft: str,
    target: str,
    reduction_name: str,
    keep_levels: tuple[float, ...],
    forecast: Forecast | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Pair:
    """Load both models.

    Args:
        draft: Folder or hub name of the small model.
        target: Folder or hub name of the large model.
        reduction_name: How the device ranks visual tokens.
        keep_levels: Keep level of each row of the forecast.
        forecast: Of the pair's recording; one that knows nothing if there is none yet.
        device: Torch device.
        dtype: Torch dtype of the weights.

    Raises:
        InvalidSetting: If a model does not load or the two do not fit.
    """
    small = HFModel(draft, device=device, dtype=dtype)
    rank = reduction(reduction_name)
    large = HFModel(target, device=device, dtype=dtype)
    return Pair(
        draft=small,
        target=large,
        order=lambda states: rank(states, np.random.default_rng(0)),
        forecast=forecast or Forecast.empty(len(keep_levels)),
        keep_levels=keep_levels,
    )
