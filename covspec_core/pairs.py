"""Loads a pair: draft, target, reduction and acceptance head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from covspec_core.acceptance import load_head
from covspec_core.errors import InvalidSetting
from covspec_core.models.hf import HFModel
from covspec_core.reduction import ReductionSettings, merging, reduction
from covspec_core.request import Pair


def models_of(pair: Path) -> tuple[str, str]:
    """The models of a folder that a pair lives in: draft and target.

    Raises:
        InvalidSetting: If one is missing.
    """
    for name in ("draft", "target"):
        if not (pair / name).is_dir():
            raise InvalidSetting(f"--pair must hold draft and target, got {pair} without {name}")
    return str(pair / "draft"), str(pair / "target")


def load_pair(
    draft: str,
    target: str,
    ranking: str | Mapping[str, Any] | ReductionSettings,
    head: str | None,
    device: str = "cpu",
    dtype: str = "float32",
    decoder: str = "auto",
) -> Pair:
    """Load both models.

    Args:
        draft: Folder or hub name of the small model.
        target: Folder or hub name of the large model.
        ranking: How the device ranks visual tokens, as ``ReductionSettings.of`` takes it.
        head: File of the acceptance head; without one nothing is foreseen.
        device: Torch device.
        dtype: Torch dtype of the weights.
        decoder: Who runs the language models, one of ``protocol.DECODERS``.

    Raises:
        InvalidSetting: If a model does not load or the two do not fit.
    """
    settings = ReductionSettings.of(ranking)
    large = HFModel(target, device=device, dtype=dtype, decoder=decoder)
    small = load_draft(draft, settings, large, device, dtype, decoder)
    check_vocabularies(small, large)
    rank = reduction(settings)
    return Pair(
        draft=small,
        target=large,
        order=lambda states: rank(states, np.random.default_rng(0)),
        head=None if head is None else load_head(Path(head)),
        merging=merging(settings),
    )


def load_draft(
    draft: str,
    ranking: str | Mapping[str, Any] | ReductionSettings,
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
        decoder: Who runs the language models, one of ``protocol.DECODERS``.

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


def check_vocabularies(draft: HFModel, target: HFModel) -> None:
    """Refuse a pair in which one id can mean two tokens.

    Every token that a law can hold must have the same id on both sides; how far either head is
    padded beyond them does not matter.

    Raises:
        InvalidSetting: If a token differs; names the first.
    """
    small, large = draft.vocabulary, target.vocabulary
    if small == large:
        return
    differing = [token for token in {**large, **small} if small.get(token) != large.get(token)]
    token = min(differing, key=lambda token: large.get(token, small.get(token, 0)))
    here, there = (
        f"is {known[token]}" if token in known else "is unknown" for known in (small, large)
    )
    raise InvalidSetting(
        f"draft and target must share one vocabulary, {len(differing)} tokens differ: "
        f"{token!r} {here} in {draft.name} and {there} in {target.name}"
    )
