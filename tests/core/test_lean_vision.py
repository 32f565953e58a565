"""The lean encoder makes the library's features of every image, and names what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration

from covspec_core.models.hf import HFModel
from covspec_core.models.lean_vision import LeanEncoder, unsupported_vision
from covspec_core.pair.evaluate import cases
from covspec_core.pair.requests import request_of

ATOL = 1e-4


def random_net(top=None, **vision):
    """A small checkpoint whose weights, norms and scales are all away from their first values."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": [32, 32],
        "intermediate_size": 40, "patch_size": [8, 8], "attention_bias": True,
    }  # fmt: skip
    text = {
        "model_type": "qwen2", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    config = InternVLConfig(
        vision_config=sizes | vision, text_config=text, image_token_id=3,
        **({"downsample_ratio": 0.5} | (top or {})),
    )  # fmt: skip
    net = InternVLForConditionalGeneration(config).eval()
    for weight in net.parameters():
        weight.data.normal_(std=0.5)
    return net


def library_features(net, pixels):
    config = net.config
    with torch.inference_mode():
        pooled = net.model.get_image_features(
            pixel_values=pixels, vision_feature_layer=config.vision_feature_layer,
            vision_feature_select_strategy=config.vision_feature_select_strategy, return_dict=True,
        ).pooler_output  # fmt: skip
    return torch.cat(list(pooled)).numpy()


@pytest.mark.parametrize("folder", ["draft", "target"])
def test_the_embedded_pairs_features_are_the_librarys(folder):
    lean, library = (HFModel(f"assets/pair/{folder}", decoder=who) for who in ("lean", "library"))
    for key, case in enumerate(cases("test", 3)):
        asked = request_of(case, key)
        one, other = (m.prompt(asked.image, asked.question).features for m in (lean, library))
        np.testing.assert_allclose(one, other, atol=ATOL)


@pytest.mark.parametrize("tiles", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_bias": False},
        {"top": {"downsample_ratio": 1.0}},
        {"image_size": [48, 48], "num_attention_heads": 3},
    ],
)
def test_any_sizes_and_tiles_give_the_librarys_features(tiles, changes):
    net = random_net(**changes)
    pixels = torch.randn(tiles, 3, *net.config.vision_config.image_size)
    told = library_features(net, pixels)
    encoder = LeanEncoder(net.model)
    with torch.inference_mode():
        np.testing.assert_allclose(encoder.features(pixels), told, atol=ATOL, rtol=1e-4)
    np.testing.assert_allclose(library_features(net, pixels), told, atol=ATOL, rtol=1e-4)


def test_fused_weights_are_the_librarys_not_copies():
    net = random_net()
    fused = LeanEncoder(net.model)._layers[0].qkv[0]
    layer = net.model.vision_tower.encoder.layer[0]
    assert layer.attention.q_proj.weight.data_ptr() == fused.data_ptr()


def test_an_image_of_another_size_is_left_to_the_library():
    encoder = LeanEncoder(random_net().model)
    assert encoder.takes(torch.zeros(2, 3, 32, 32))
    assert not encoder.takes(torch.zeros(2, 3, 32, 40))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'"),
        ({"norm_type": "rms_norm"}, "norm_type"),
        ({"use_qk_norm": True}, "use_qk_norm"),
        ({"use_absolute_position_embeddings": False}, "use_absolute"),
        ({"use_mean_pooling": False}, "use_mean_pooling"),
        ({"top": {"vision_feature_layer": -2}}, "must read the last layer"),
        ({"top": {"projector_hidden_act": "relu"}}, "must read the last layer"),
    ],
)
def test_what_the_lean_encoder_does_not_know_it_names(changes, message):
    assert unsupported_vision(random_net()) is None
    assert message in unsupported_vision(random_net(**changes))


def test_weights_on_several_devices_are_left_to_the_library():
    net = random_net()
    net.model.vision_tower.encoder.layer[1].to("meta")
    assert "one device" in unsupported_vision(net)
