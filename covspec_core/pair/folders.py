"""A trained model as a folder that ``from_pretrained`` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from covspec_core.models.small import build_image_processor
from covspec_core.pair.tokenizer import build_tokenizer

TRAINING: Final = "training.json"
"""What was done to train a pair's models, beside their folders."""


def export(model: Any, folder: Path) -> None:
    """A folder that ``from_pretrained`` loads: model, tokenizer and image processor."""
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def load(folder: Path) -> Any:
    """A model written by :func:`export`, ready to be asked."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
