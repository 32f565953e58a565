"""Loads a pair: draft, target, reduction and acceptance head."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covspec_core.acceptance import load_head
from covspec_core.live import Pair
from covspec_core.models.hf import HFModel
from covspec_core.reduction import ReductionSettings, reduction


def load_pair(
    draft: str,
    target: str,
    ranking: str | ReductionSettings,
    head: str | None,
    device: str = "cpu",
    dtype: str = "float32",
    decoder: str = "auto",
) -> Pair:
    """Load both models.

    Args:
        draft: Folder or hub name of the small model.
        target: Folder or hub name of the large model.
        ranking: How the device ranks visual tokens: name or settings of a reduction.
        head: File of the acceptance head; without one nothing is foreseen.
        device: Torch device.
        dtype: Torch dtype of the weights.
        decoder: Who runs the language models: ``auto``, ``lean`` or ``library``.

    Raises:
        InvalidSetting: If a model does not load or the two do not fit.
    """
    settings = ReductionSettings.of(ranking)
    large = HFModel(target, device=device, dtype=dtype, decoder=decoder)
    small = load_draft(draft, settings, large, device, dtype, decoder)
    rank = reduction(settings)
    return Pair(
        draft=small,
        target=large,
        order=lambda states: rank(states, np.random.default_rng(0)),
        head=None if head is None else load_head(Path(head)),
    )


def load_draft(
    draft: str,
    ranking: str | ReductionSettings,
    target: str | HFModel,
    device: str = "cpu",
    dtype: str = "float32",
    decoder: str = "auto",
) -> HFModel:
    """Load the small model so that its visual states hold what a reduction reads.

    Args:
        draft: Folder or hub name of the small model.
        ranking: Name or settings of a reduction.
        target: The large model, or its folder or hub name; only ``verifier_guided`` asks it.
        device: Torch device.
        dtype: Torch dtype of the weights.
        decoder: Who runs the language models: ``auto``, ``lean`` or ``library``.

    Raises:
        InvalidSetting: If a model does not load.
    """
    settings = ReductionSettings.of(ranking)
    guided = settings.name == "verifier_guided"
    if guided and isinstance(target, str):
        target = HFModel(target, device=device, dtype=dtype, decoder=decoder)
    return HFModel(
        draft,
        early_layer=settings.early_layer,
        deep_layer=settings.deep_layer,
        device=device,
        dtype=dtype,
        reads_encoder=settings.name == "visionzip",
        guide=target if guided and isinstance(target, HFModel) else None,
        decoder=decoder,
    )
