"""What a Hugging Face model says about its visual tokens, on small models with random weights."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import InternVLConfig, InternVLModel

from covspec_core.errors import InvalidSetting
from covspec_core.models.attention import received_attention
from covspec_core.models.hf import HFModel
from covspec_core.models.small import N_VISUAL
from covspec_core.pair.evaluate import cases
from covspec_core.pair.render import render
from covspec_core.pairs import load_draft, load_pair
from covspec_core.reduction import METHODS, ReductionSettings, reduction
from tests.core.drawn_pair import export_pair

CASE = cases("test", 1)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_pair(tmp_path_factory.mktemp("pair"))


def asked(model):
    return model.prompt(render(CASE.scene), CASE.question.text)


def weights(model, prompt):
    """Attention of every layer, mean over heads, ``[layers, query, key]``."""
    return np.stack([layer[0].mean(0).numpy() for layer in model._read(prompt).attentions])


def test_the_recording_path_reads_nothing_beyond_its_one_pass(folder):
    model = HFModel(str(folder / "draft"))
    prompt = asked(model)
    assert prompt.received is None
    assert prompt.guide is None
    states = model.visual_states(prompt)
    assert states.received is None
    assert states.verifier is None


def test_signals_are_read_where_they_are_said_to_be(folder):
    model = HFModel(str(folder / "draft"), early_layer=0, deep_layer=1)
    prompt = asked(model)
    states, attention = model.visual_states(prompt), weights(model, prompt)
    hidden = [layer[0, prompt.visual].numpy() for layer in model._read(prompt).hidden_states]
    np.testing.assert_array_equal(states.early, hidden[0])
    np.testing.assert_array_equal(states.deep, hidden[1])
    np.testing.assert_array_equal(states.features, hidden[0])
    keywords = attention[0][np.ix_(prompt.keywords, prompt.visual)]
    np.testing.assert_allclose(states.relevance, keywords.mean(0), rtol=1e-5)


def test_the_text_attends_to_the_image_in_the_last_layer(folder):
    model = HFModel(str(folder / "target"))
    prompt = asked(model)
    text = np.arange(prompt.visual[-1] + 1, len(prompt.ids))
    expected = weights(model, prompt)[-1][np.ix_(text, prompt.visual)].mean(0)
    np.testing.assert_allclose(model.text_attention(prompt), expected, rtol=1e-5)


def test_the_encoders_attention_leaves_the_prompt_as_it_was(folder):
    plain, reading = (HFModel(str(folder / "draft"), reads_encoder=flag) for flag in (False, True))
    prompt = asked(reading)
    assert prompt.received.shape == (N_VISUAL,)
    assert (prompt.received > 0).all()
    assert prompt.received.sum() < 1  # the class token receives the rest
    np.testing.assert_array_equal(prompt.features, asked(plain).features)
    np.testing.assert_array_equal(reading.visual_states(prompt).received, prompt.received)


@pytest.mark.parametrize("layers", [1, 3])
def test_patches_that_are_joined_share_the_attention_they_receive(layers):
    torch.manual_seed(0)
    vision = {
        "hidden_size": 8, "num_hidden_layers": layers, "num_attention_heads": 2,
        "intermediate_size": 8, "image_size": [48, 48], "patch_size": [8, 8],
    }  # fmt: skip
    text = {
        "model_type": "qwen2", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 8, "vocab_size": 8,
    }  # fmt: skip
    config = InternVLConfig(vision_config=vision, text_config=text, downsample_ratio=0.5)
    model, pixels = InternVLModel(config).eval(), torch.randn(2, 3, 48, 48)
    got = received_attention(model, pixels)
    model.vision_tower.set_attn_implementation("eager")
    tower = model.vision_tower(pixel_values=pixels, output_attentions=True)
    grid = tower.attentions[max(layers - 2, 0)].mean((1, 2))[:, 1:].reshape(2, 3, 2, 3, 2)
    torch.testing.assert_close(got, grid.mean((2, 4)).flatten())


def test_reading_attention_leaves_the_kernels_as_they_were(folder):
    model = HFModel(str(folder / "draft"), reads_encoder=True)
    tower, language = model._net.model.vision_tower, model._net.model.language_model
    before = [part.config._attn_implementation for part in (tower, language)]
    model.visual_states(asked(model))
    assert [part.config._attn_implementation for part in (tower, language)] == before


@pytest.mark.parametrize("name", METHODS)
def test_a_pair_ranks_by_every_reduction(folder, name):
    pair = load_pair(str(folder / "draft"), str(folder / "target"), name, None)
    order = pair.order(pair.draft.visual_states(asked(pair.draft)))
    assert sorted(order) == list(range(N_VISUAL))


def test_the_verifier_that_guides_is_the_target(folder):
    pair = load_pair(str(folder / "draft"), str(folder / "target"), "verifier_guided", None)
    states = pair.draft.visual_states(asked(pair.draft))
    own = pair.target.text_attention(asked(pair.target))
    np.testing.assert_array_equal(states.verifier, own)


def test_layers_of_the_settings_reach_the_draft(folder):
    settings = ReductionSettings("activity", early_layer=0, deep_layer=2)
    pair = load_pair(str(folder / "draft"), str(folder / "target"), settings, None)
    direct = HFModel(str(folder / "draft"), early_layer=0, deep_layer=2)
    states = direct.visual_states(asked(direct))
    order = pair.order(pair.draft.visual_states(asked(pair.draft)))
    np.testing.assert_array_equal(order, reduction(settings)(states, np.random.default_rng(0)))
    with pytest.raises(InvalidSetting, match="early < deep <= 2, got early=1, deep=9"):
        load_draft(str(folder / "draft"), ReductionSettings(deep_layer=9), "nowhere")


def test_a_target_is_loaded_only_where_it_guides(folder):
    draft, target = str(folder / "draft"), str(folder / "target")
    load_draft(draft, "covspec", "nowhere")
    guided = load_draft(draft, "verifier_guided", target)
    given = load_draft(draft, "verifier_guided", HFModel(target))
    one, other = (model.visual_states(asked(model)).verifier for model in (guided, given))
    np.testing.assert_array_equal(one, other)


def test_an_image_of_one_colour_still_has_an_order(folder):
    draft = load_draft(str(folder / "draft"), "visionzip", "nowhere")
    states = draft.visual_states(draft.prompt(Image.new("RGB", (7, 300)), CASE.question.text))
    unread = {name for name, value in asdict(states).items() if value is None}
    assert unread == {"verifier"}
    for name in set(METHODS) - {"verifier_guided"}:
        order = reduction(name)(states, np.random.default_rng(0))
        assert sorted(order) == list(range(N_VISUAL))
