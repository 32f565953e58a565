"""Attention weights of Hugging Face modules, which only their eager kernels return."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

ENCODER_LAYER: Final = -2
"""Layer of the vision encoder whose attention is read (VisionZip, arXiv 2412.04467)."""


@contextmanager
def eager(module: Any) -> Iterator[None]:
    """Run a pretrained module with the kernel that returns its attention weights."""
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        yield
    finally:
        module.set_attn_implementation(before)


@torch.inference_mode()
def received_attention(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Mean attention that each visual token receives in the vision encoder, ``[n_visual]``.

    The rule of VisionZip for encoders without a trained class token: mean over heads and over all
    tokens that look. Patches that the projector joins to one visual token count as their mean.

    Args:
        model: An InternVL model with its ``vision_tower``.
        pixels: As the tower takes them, ``[tiles, channels, height, width]``.
    """
    with eager(model.vision_tower):
        weights = model.vision_tower(
            pixel_values=pixels.to(model.dtype), output_attentions=True
        ).attentions
    layer = weights[max(ENCODER_LAYER, -len(weights))]
    patches = layer.float().mean(dim=(1, 2))[:, 1:]  # the class token is no visual token
    side = int(patches.shape[1] ** 0.5)
    grid = patches.view(-1, side, side, 1)
    joined = model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio)
    tokens: torch.Tensor = joined.mean(-1).flatten()
    return tokens
