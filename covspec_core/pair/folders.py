"""A trained model as a folder that ``from_pretrained`` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from covspec_core.models.small import build_image_processor
from covspec_core.pair.tokenizer import build_tokenizer

TRAINING: Final = "training.json"
"""How a pair's models and its acceptance head were made, beside them."""


def export(model: Any, folder: Path) -> None:
    """A folder that ``from_pretrained`` loads: model, tokenizer and image processor."""
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def known(folder: Path) -> dict[str, Any]:
    """What is known of how a pair in ``folder`` was made, by model."""
    path = folder / TRAINING
    return dict(json.loads(path.read_text())) if path.exists() else {}


def note(folder: Path, name: str, done: Mapping[str, Any]) -> None:
    """Add to what is known of how a pair in ``folder`` was made."""
    noted = known(folder) | {name: done}
    (folder / TRAINING).write_text(json.dumps(noted, indent=2) + "\n")


def load(folder: Path) -> Any:
    """A model written by :func:`export`, ready to be asked."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
