"""Attention weights of Hugging Face modules, which only their eager kernels return."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_window_index

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


def _encoder_attention(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Mean over heads in the layer that is read, ``[tiles, query, key]``."""
    with eager(tower):
        weights = tower(pixel_values=pixels.to(tower.dtype), output_attentions=True).attentions
    layer: torch.Tensor = weights[max(ENCODER_LAYER, -len(weights))]
    return layer.float().mean(1)


@torch.inference_mode()
def received_attention(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Mean attention that each visual token receives in the vision encoder, ``[n_visual]``.

    The rule of VisionZip for encoders without a trained class token: mean over heads and over all
    tokens that look. Patches that the projector joins to one visual token count as their mean.

    Args:
        model: An InternVL model with its ``vision_tower``.
        pixels: As the tower takes them, ``[tiles, channels, height, width]``.
    """
    # The class token is no visual token.
    patches = _encoder_attention(model.vision_tower, pixels).mean(1)[:, 1:]
    side = int(patches.shape[1] ** 0.5)
    grid = patches.view(-1, side, side, 1)
    joined = model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio)
    tokens: torch.Tensor = joined.mean(-1).flatten()
    return tokens


@torch.inference_mode()
def class_attention(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Attention that CLIP's trained class token pays to each visual token, ``[n_visual]``.

    VisionZip's own rule (arXiv 2412.04467). An encoder whose tokens are all handed on
    (``vision_feature_select_strategy: full``) has no class token to ask: all tokens look then.

    Args:
        model: A LLaVA model with its ``vision_tower``.
        pixels: As the tower takes them, ``[tiles, channels, height, width]``.
    """
    attention = _encoder_attention(model.vision_tower, pixels)
    if model.config.vision_feature_select_strategy == "default":
        return attention[:, 0, 1:].flatten()
    return attention.mean(1).flatten()


@torch.inference_mode()
def unwindowed_attention(visual: Any, pixels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Mean attention that each visual token receives in Qwen2.5-VL's encoder, ``[n_visual]``.

    Most of its layers look within windows, where tokens of different windows cannot be compared;
    this is the last layer that looks at the whole image. Its weights leave the module with no
    kernel, so they are worked out from the layer's input. Joined patches count as their mean.

    Args:
        visual: The encoder.
        pixels: Flat patches, ``[patches, values]``.
        grid: Frames, rows and columns of patches, ``[1, 3]``.
    """
    layer = max(i for i in visual.fullatt_block_indexes if i < len(visual.blocks))
    attention = visual.blocks[layer].attn
    hidden, (cos, sin) = _attention_input(visual, attention, pixels, grid)
    split = attention.qkv(hidden).reshape(len(hidden), 3, attention.num_heads, -1)
    query, key = apply_rotary_pos_emb_vision(split[:, 0], split[:, 1], cos, sin)
    scores = torch.einsum("qhd,khd->hqk", query.float(), key.float()) * attention.scaling
    patches = scores.softmax(-1).mean((0, 1))
    joined = patches.view(-1, visual.spatial_merge_size**2).mean(1)
    order, _ = get_vision_window_index(
        grid, visual.spatial_merge_size, visual.window_size, visual.patch_size
    )
    return joined[order.argsort()]


def _attention_input(
    visual: Any, attention: Any, pixels: torch.Tensor, grid: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """What one attention module of the encoder is given: states and rotary angles."""
    given: list[tuple[Any, Any]] = []

    def note(_: Any, states: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.append((states[0], named["position_embeddings"]))

    handle = attention.register_forward_pre_hook(note, with_kwargs=True)
    try:
        visual(pixels.to(visual.dtype), grid_thw=grid)
    finally:
        handle.remove()
    return given[0]
