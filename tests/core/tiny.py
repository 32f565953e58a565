"""Small models of every architecture with random weights, as folders to load."""

from __future__ import annotations

import torch
from transformers import (
    CLIPImageProcessorPil,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from covspec_core.pair.tokenizer import build_tokenizer, vocabulary

VOCABULARY = vocabulary()
PADDING = 5
"""Rows of LLaVA's head that no token has, as real checkpoints have them."""
TEXT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 32, "max_position_embeddings": 256, "initializer_range": 0.15,
    "vocab_size": len(VOCABULARY), "bos_token_id": VOCABULARY["<bos>"],
    "eos_token_id": VOCABULARY["<eos>"], "pad_token_id": VOCABULARY["<pad>"],
}  # fmt: skip


def internvl(language="qwen2"):
    config = InternVLConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 16, "image_size": [48, 48], "patch_size": [4, 4],
            "layer_scale_init_value": 1.0, "initializer_range": 0.3,
        },
        text_config={"model_type": language, **TEXT},
        image_token_id=VOCABULARY["<IMG_CONTEXT>"],
        image_seq_length=36,
        downsample_ratio=0.5,
    )  # fmt: skip
    images = GotOcr2ImageProcessorPil(size={"height": 48, "width": 48}, crop_to_patches=False)
    return InternVLForConditionalGeneration(config), images


def llava(language="llama"):
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model", "hidden_size": 16, "num_hidden_layers": 3,
            "num_attention_heads": 2, "intermediate_size": 16, "image_size": 24, "patch_size": 4,
            "projection_dim": 16, "initializer_range": 0.3,
        },
        text_config={"model_type": language, **TEXT, "vocab_size": len(VOCABULARY) + PADDING},
        image_token_index=VOCABULARY["<IMG_CONTEXT>"],
    )  # fmt: skip
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}
    )
    return LlavaForConditionalGeneration(config), images


def qwen2_5_vl():
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16,
            "patch_size": 4, "window_size": 16, "out_hidden_size": 32,
            "fullatt_block_indexes": [0], "initializer_range": 0.3,
        },
        text_config={
            **TEXT,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3],
            },
        },
        image_token_id=VOCABULARY["<IMG_CONTEXT>"],
        video_token_id=VOCABULARY["<unk>"],
        tie_word_embeddings=False,
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16**2, "longest_edge": 48**2}, patch_size=4
    )
    return Qwen2_5_VLForConditionalGeneration(config), images


BUILDERS = {"internvl": internvl, "llava": llava, "qwen2_5_vl": qwen2_5_vl}


def save(architecture, folder, seed=0, tokenizer=None, language=None):
    """A model of one architecture with weights of a seed; the embedded pair's words if not told."""
    torch.manual_seed(seed)
    model, images = BUILDERS[architecture](*[language] if language else [])
    model.generation_config.eos_token_id = VOCABULARY["<eos>"]
    model.save_pretrained(folder)
    (tokenizer or build_tokenizer()).save_pretrained(folder)
    images.save_pretrained(folder)
    return str(folder)
