"""Architecture of the embedded pair: InternVL's, scaled down to a few million parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

IMAGE_SIDE: Final = 96  # pixels
PATCH_SIDE: Final = 8  # pixels, one visual token each
N_VISUAL: Final = (IMAGE_SIDE // PATCH_SIDE) ** 2
MAX_POSITIONS: Final = 512


@dataclass(frozen=True, slots=True)
class Widths:
    """Sizes of one model; ``heads`` and ``kv_heads`` are the language model's."""

    vision: int
    vision_layers: int
    vision_heads: int
    vision_mlp: int
    text: int
    text_layers: int
    heads: int
    kv_heads: int
    text_mlp: int


WIDTHS: Final = {
    "target": Widths(128, 4, 4, 384, 192, 4, 4, 2, 512),
    "draft": Widths(56, 3, 4, 160, 80, 3, 2, 2, 160),
    "debug": Widths(16, 1, 2, 32, 16, 2, 2, 1, 32),
}


def build_model(widths: Widths, vocab: dict[str, int]) -> Any:
    """A fresh ``InternVLForConditionalGeneration``; weights come from torch's global generator.

    Args:
        widths: Sizes of the model.
        vocab: Token to id; holds the special tokens of ``pair.tokenizer``.
    """
    import torch
    from transformers import InternVLForConditionalGeneration

    model = InternVLForConditionalGeneration(_config(widths, vocab))
    torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embeddings, std=0.02)
    model.generation_config.eos_token_id = vocab["<eos>"]
    model.generation_config.bos_token_id = vocab["<bos>"]
    model.generation_config.pad_token_id = vocab["<pad>"]
    return model


def _config(widths: Widths, vocab: dict[str, int]) -> Any:
    from transformers import InternVLConfig

    return InternVLConfig(
        vision_config=_vision(widths),
        text_config=_text(widths, vocab),
        image_token_id=vocab["<IMG_CONTEXT>"],
        image_seq_length=N_VISUAL,
        downsample_ratio=1.0,
        tie_word_embeddings=True,
    )


def _vision(widths: Widths) -> dict[str, Any]:
    return {
        "hidden_size": widths.vision,
        "num_hidden_layers": widths.vision_layers,
        "num_attention_heads": widths.vision_heads,
        "intermediate_size": widths.vision_mlp,
        "image_size": [IMAGE_SIDE, IMAGE_SIDE],
        "patch_size": [PATCH_SIDE, PATCH_SIDE],
        "layer_scale_init_value": 1.0,
        "attention_bias": True,
        "initializer_range": 0.04,
    }


def _text(widths: Widths, vocab: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "vocab_size": len(vocab),
        "hidden_size": widths.text,
        "num_hidden_layers": widths.text_layers,
        "num_attention_heads": widths.heads,
        "num_key_value_heads": widths.kv_heads,
        "intermediate_size": widths.text_mlp,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.04,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": vocab["<bos>"],
        "eos_token_id": vocab["<eos>"],
        "pad_token_id": vocab["<pad>"],
    }


def build_image_processor() -> Any:
    """InternVL's Pillow image processor at 96 x 96, pixels scaled to [-1, 1]."""
    from transformers import GotOcr2ImageProcessorPil

    return GotOcr2ImageProcessorPil(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        crop_to_patches=False,
        do_resize=True,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
