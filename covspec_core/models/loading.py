"""Loads the parts of a checkpoint: weights, tokenizer with its chat template, image processor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.cache_utils import DynamicCache
from transformers.utils import cached_file, logging

from covspec_core.errors import InvalidSetting
from covspec_core.models.architectures import ARCHITECTURES, Architecture

DTYPES: Final = ("float32", "bfloat16", "float16", "auto")
"""Of weights; ``auto`` is the checkpoint's own."""


def hide_progress() -> None:
    """Load without the library's progress bars."""
    logging.disable_progress_bar()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The parts of a checkpoint; all but the architecture are Hugging Face objects."""

    net: Any
    tokenizer: Any
    images: Any
    architecture: Architecture


def load_checkpoint(name: str, device: str, dtype: str) -> Checkpoint:
    """Load a folder or hub name.

    Args:
        name: As ``from_pretrained`` takes it.
        device: Torch device, or ``auto`` to spread the weights over all GPUs, which needs
            the package ``accelerate``.
        dtype: One of ``DTYPES``.

    Raises:
        InvalidSetting: If nothing loads, the architecture is not supported, or there is no such
            device or dtype.
    """
    if dtype not in DTYPES:
        raise InvalidSetting(f"dtype must be one of {DTYPES}, got {dtype!r}")
    _check_device(device)
    architecture = ARCHITECTURES[read_config(name).model_type]
    try:
        net = _weights(name, device, dtype)
        tokenizer = AutoTokenizer.from_pretrained(name)
        images = AutoImageProcessor.from_pretrained(name, backend="pil")
        tokenizer.chat_template = tokenizer.chat_template or _processor_template(name)
    except torch.OutOfMemoryError as error:
        raise InvalidSetting(f"{name} must fit {device!r} in {dtype}: {error}") from error
    # Whatever a damaged file or a missing package makes the libraries say.
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise InvalidSetting(f"no model loads from {name!r}: {error}") from error
    if tokenizer.chat_template is None:
        raise InvalidSetting(f"{name} must come with a chat template, found none")
    return Checkpoint(net, tokenizer, images, architecture)


def _check_device(device: str) -> None:
    try:
        if device != "auto":
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidSetting(
            f"device must be auto or one that torch can use here, got {device!r}: {error}"
        ) from error


def read_config(name: str) -> Any:
    """The configuration of a checkpoint of a supported architecture; no weights are read.

    Raises:
        InvalidSetting: If there is none.
    """
    kind = "folder" if Path(name).exists() else "folder or hub checkpoint"
    try:
        # Said outright, or the library would wait for an answer on the terminal.
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except OSError as error:
        said = str(error).splitlines()[0]
        raise InvalidSetting(f"no model loads from {kind} {name!r}: {said}") from error
    except ValueError as error:
        raise InvalidSetting(
            f"{name} is no checkpoint of the transformers library itself (InternVL's end in -hf): "
            f"{error}"
        ) from error
    if config.model_type not in ARCHITECTURES:
        raise InvalidSetting(
            f"model type must be one of {sorted(ARCHITECTURES)}, "
            f"got {config.model_type!r} in {name}"
        )
    _check_window(name, config.text_config)
    return config


def _check_window(name: str, config: Any) -> None:
    """A cache that forgets cannot be rolled back, nor does its window count dropped tokens."""
    sliding = [layer.is_sliding for layer in DynamicCache(config=config).layers]
    if any(sliding):
        raise InvalidSetting(
            f"a language model must see the whole context, {sum(sliding)} of {len(sliding)} layers "
            f"of {name} look through a sliding window"
        )


def _weights(name: str, device: str, dtype: str) -> Any:
    chosen = dtype if dtype == "auto" else getattr(torch, dtype)
    load = AutoModelForImageTextToText.from_pretrained
    if device == "auto":
        return load(name, dtype=chosen, device_map="auto").eval()
    return load(name, dtype=chosen).to(device).eval()


def _processor_template(name: str) -> str | None:
    """The chat template of a checkpoint that keeps it with its processor, as LLaVA's do."""
    for file in ("chat_template.json", "processor_config.json"):
        path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        template = None if path is None else json.loads(Path(path).read_text()).get("chat_template")
        if template is not None:
            return str(template)
    return None
