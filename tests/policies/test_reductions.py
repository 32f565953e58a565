"""The settings of a reduction, and the command that shows and compares them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from covspec_core.errors import BrokenRecording, InvalidSetting
from covspec_core.pair import evaluate
from covspec_core.reduction import METHODS, ReductionSettings
from env.presets import CONF, RECORDING, build
from policies import reductions
from policies.console import plain
from policies.model_settings import ModelSettings
from policies.reduction_figures import STYLES, kept_side_by_side
from tests.core.drawn_pair import export_pair
from tests.policies.conftest import toy_recording

MODEL = {"draft": "a", "target": "b", "recording": "c"}


def model(*overrides: str) -> ModelSettings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = plain(compose("train", overrides=list(overrides)))
    return build(ModelSettings, values["model"], "model")


def test_the_configuration_as_it_stands_is_covspec_at_its_defaults():
    assert model().reduction == ReductionSettings()
    assert build(ModelSettings, MODEL, "model").reduction == ReductionSettings()


@pytest.mark.parametrize("name", METHODS)
def test_a_name_alone_chooses_a_reduction(name):
    assert model(f"model.reduction={name}").reduction == ReductionSettings(name)


def test_signals_can_be_joined():
    assert model("model.reduction=relevance+cover").reduction == ReductionSettings(activity=0.0)


def test_every_setting_can_be_overridden():
    given = model(
        "model.reduction.relevance=0", "model.reduction.activity=1.5",
        "model.reduction.cover=false", "model.reduction.early_layer=0",
        "model.reduction.deep_layer=3", "model.reduction.attention_share=0.9",
        "model.reduction.contextual_share=0.2",
    ).reduction  # fmt: skip
    assert given == ReductionSettings("covspec", 0, 1.5, False, 0, 3, 0.9, 0.2)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("magic", r"model.reduction must be one of \['covspec', .*got 'magic'"),
        ({"name": "magic"}, "model.reduction must be one of"),
        ({"relevance": -1.0}, "model.reduction.relevance must be finite and >= 0"),
        ({"relevance": "much"}, "model.reduction: relevance must be a value of type float"),
        ({"colour": 1}, r"model.reduction allows .*unknown \['colour'\]"),
        (3, "model.reduction must be a name or settings, got 3"),
        (None, "model.reduction must be a name or settings, got None"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(values, said):
    with pytest.raises(InvalidSetting, match=said):
        build(ModelSettings, MODEL | {"reduction": values}, "model")


def test_every_reduction_has_a_style_of_its_own():
    assert set(STYLES) == {*METHODS, "visionzip+merging"}
    assert len(set(STYLES.values())) == len(STYLES)


@pytest.mark.parametrize("side", [12, 16])
def test_any_image_is_drawn_at_any_grid(tmp_path, side):
    orders = {name: np.random.default_rng(0).permutation(side * side) for name in ("covspec", "x")}
    kept = {(name, keep): order[:keep] for name, order in orders.items() for keep in (side, 1)}
    path = tmp_path / "kept.png"
    kept_side_by_side(Image.new("RGB", (300, 40)), orders, kept, "what?", path)
    width, height = Image.open(path).size
    assert width > 500
    assert height > 500


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return export_pair(tmp_path_factory.mktemp("pair"))


def test_the_command_draws_writes_and_says_where_its_figures_come_from(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "MAX_ANSWER", 6)
    Image.new("RGB", (50, 80), "red").save(tmp_path / "photo.jpg")
    words = [
        "--pair", str(pair), "--image", str(tmp_path / "photo.jpg"), "--seed", "4",
        "--question", "how many large circles are there?", "--out", str(tmp_path / "deep" / "out"),
        "--questions", "2", "--keeps", "12", "--splits", "test", "rare",
        "--methods", "covspec", "random", "relevance+cover", "visionzip+merging",
    ]  # fmt: skip
    reductions.main(words)
    folder = tmp_path / "deep" / "out"
    assert {path.name for path in folder.iterdir()} == {"kept.png", "curves.png", "reductions.json"}
    result = json.loads((folder / "reductions.json").read_text())
    assert result["provenance"]["seed"] == 4
    assert {"commit", "command", "seed", "hardware"} <= set(result["provenance"])
    assert sorted(result["kept"]["orders"]["relevance+cover"]) == list(range(144))
    curves = result["measured"]["curves"]
    assert set(curves) == {"test", "rare"}
    point = curves["rare"]["covspec"][1]
    assert point["kept"] == 12
    low, high = point["acceptance"]["ci95"]
    assert low <= point["acceptance"]["mean"] <= high
    gain, control = point["acceptance_over_random"]["mean"], curves["rare"]["random"][1]
    assert gain == pytest.approx(point["acceptance"]["mean"] - control["acceptance"]["mean"])
    assert "acceptance_over_random" not in control


@pytest.mark.parametrize(
    ("made", "chosen", "said"),
    [
        ("covspec", "divprune", r"made with reduction \{'name': 'covspec'\}.*'name': 'divprune'"),
        ({"relevance": 0.5}, "covspec", r"\{'relevance': 0.5\}, model.reduction has .*0.3"),
        ("visionzip", "visionzip+merging", r"'contextual_share': 0.0\}.*0.15625"),
        (None, "covspec", "does not say with which reduction it was made"),
    ],
    ids=str,
)
def test_a_recording_made_with_another_reduction_is_refused(tmp_path, made, chosen, said):
    recording = toy_recording(3)
    replace(recording, meta=recording.meta | {"reduction": made}).save(tmp_path / "toy.npz")
    settings = ModelSettings("a", "b", str(tmp_path / "toy.npz"), reduction=chosen)
    with pytest.raises(BrokenRecording, match=said):
        settings.recorded()


@pytest.mark.parametrize("made", ["covspec", "relevance+cover", asdict(ReductionSettings("none"))])
def test_a_recording_made_with_the_reduction_that_is_set_is_taken(tmp_path, made):
    recording = toy_recording(3)
    replace(recording, meta=recording.meta | {"reduction": made}).save(tmp_path / "toy.npz")
    taken = ModelSettings("a", "b", str(tmp_path / "toy.npz"), reduction=made).recorded()
    np.testing.assert_array_equal(taken.tokens, recording.tokens)


def test_the_shipped_recording_fits_the_configuration_as_it_stands():
    assert model(f"model.recording={RECORDING}").recorded().meta["pair"] == "assets/pair"
