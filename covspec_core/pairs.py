"""Loads a pair: draft, target, reduction and acceptance head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covspec_core.acceptance import load_head
from covspec_core.live import Pair
from covspec_core.models.hf import HFModel
from covspec_core.reduction import reduction


def load_pair(
    draft: str,
    target: str,
    reduction_name: str,
    head: str | None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Pair:
    """Load both models.

    Args:
        draft: Folder or hub name of the small model.
        target: Folder or hub name of the large model.
        reduction_name: How the device ranks visual tokens.
        head: File of the acceptance head; without one nothing is foreseen.
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
        head=None if head is None else load_head(Path(head)),
    )
