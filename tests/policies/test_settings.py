"""Names and values of configurations are checked, and errors say what is allowed."""

from __future__ import annotations

import pytest

from covspec_core.errors import BrokenRecording, CoVSpecError, InvalidSetting, PolicyMismatch
from env.codec import Codec
from env.presets import CONF, build, preset
from policies.algorithms.settings import PPOSettings
from policies.bandits import Bandit, SpecStop
from policies.baselines import Elsewhere
from policies.factory import make_controller
from policies.goodput import Goodput
from policies.league import RULES
from policies.model_settings import ModelSettings
from policies.rivals import AdaptiveSteps, HuggingFace, Threshold
from policies.rules import AdaptiveRule, Fixed, Foresight, Random, RuleSettings
from policies.search import fixed
from policies.settings import (
    KINDS,
    ControllerSettings,
    JudgingSettings,
    TuningSettings,
    read_controllers,
    read_output,
    read_seed,
)
from policies.stops import AdaEdl, ForesightStop, Svip
from policies.tracking import WandbSettings
from tests.policies.conftest import random_network, status_with, toy_scenario

BUDGET = {"trials": 1, "sessions": 1, "finalists": 1, "final_sessions": 1}
NAMES = sorted(path.stem for path in (CONF / "controller").glob("*.yaml"))


def unused():
    raise AssertionError("nothing is tuned here")


def constants_of(rule="rule"):
    return fixed(toy_scenario())[0] if rule == "fixed" else RULES[rule].constants()


def made(settings, scenario, tuned=unused):
    return make_controller(settings, scenario, 0, tuned)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "learned"])
def test_every_named_controller_builds_and_decides(scenario, name):
    controller = made(ControllerSettings.named(name), scenario, constants_of)
    controller.begin(3)
    assert len(controller.decide(status_with(3))) == 3


def test_every_kind_has_a_file():
    assert {preset("controller", name).get("kind", "rule") for name in NAMES} == set(KINDS)


def test_every_rule_has_a_tuned_one():
    named = (ControllerSettings.named(name) for name in NAMES)
    assert {s.values.get("rule", "rule") for s in named if s.kind == "tuned"} == set(RULES)


@pytest.mark.parametrize("kind", sorted(set(RULES) - {"fixed", "foresight"}))
def test_files_have_the_defaults(kind):
    name = {"rule": "paper_rule"}.get(kind, kind)
    constants = RULES[kind].constants
    assert build(constants, ControllerSettings.named(name).values, "x") == constants()


def test_kinds_make_their_classes(scenario):
    kinds = {
        "fixed": Fixed, "edge_only": Elsewhere, "device_only": Elsewhere, "random": Random,
        "paper_rule": AdaptiveRule, "foresight": Foresight, "hugging_face": HuggingFace,
        "foresight_stop": ForesightStop, "goodput": Goodput, "adaptive_steps": AdaptiveSteps,
        "threshold": Threshold, "bandit": Bandit, "spec_stop": SpecStop, "svip": Svip,
        "ada_edl": AdaEdl,
        "vanilla": Elsewhere, "dssd": Elsewhere, "u_hlm": Elsewhere,
    }  # fmt: skip
    for name, kind in kinds.items():
        assert isinstance(made(ControllerSettings.named(name), scenario), kind)


def test_the_papers_rule_has_the_defaults_and_its_gate_on_request(scenario):
    paper = ControllerSettings.named("paper_rule")
    gated = ControllerSettings.named("paper_rule_gated")
    assert build(RuleSettings, paper.values, "x") == RuleSettings()
    assert build(RuleSettings, gated.values, "x") == RuleSettings(gate_threshold=0.5)


def test_a_folder_is_a_learned_controller(scenario, tmp_path):
    network = random_network(Codec.of(scenario))
    network.save(tmp_path)
    settings = ControllerSettings.named(str(tmp_path))
    assert (settings.name, settings.kind) == ("learned", "learned")
    assert made(settings, scenario).codec == network.codec
    with pytest.raises(PolicyMismatch, match="was trained for keep_levels="):
        made(settings, toy_scenario(keep_levels=(0.0, 1.0)))


def test_an_unknown_controller_is_refused_with_the_names():
    with pytest.raises(InvalidSetting, match="controller must be one of") as caught:
        ControllerSettings.named("nope")
    assert all(name in str(caught.value) for name in NAMES)


def test_a_folder_that_does_not_exist_is_refused():
    with pytest.raises(InvalidSetting, match="no controller folder 'runs/nope/policy'"):
        ControllerSettings.named("runs/nope/policy")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "oracle"}, r"kind must be one of \('edge_only'.*'learned'\), got 'oracle'"),
        ({}, "kind must be one of"),
        ({"kind": "rule", "keeps": 1.0}, r"allows \[.*'keep'.*\], got unknown \['keeps'\]"),
        ({"kind": "rule", "weight": 2.0}, "0 < weight <= 1"),
        ({"kind": "rule", "keep": "all"}, "keep must be a value of type float, got 'all'"),
        ({"kind": "fixed", "keep": 1.0}, "needs"),
        ({"kind": "fixed", "keep": 2.0, "draft_length": 1, "branch_width": 1}, "keep must lie in"),
        ({"kind": "fixed", "keep": 1, "draft_length": 1.5, "branch_width": 1}, "type int, got 1.5"),
        ({"kind": "edge_only", "keep": 1.0}, r"allows \[\], got unknown \['keep'\]"),
        ({"kind": "device_only", "path": "x"}, r"allows \['keep'\], got unknown \['path'\]"),
        ({"kind": "tuned", "rule": "nope"}, r"rule must be one of \['ada_edl'.*got 'nope'"),
        ({"kind": "bandit", "pulls": 0}, "pulls >= 1"),
        ({"kind": "learned", "folder": "x"}, r"allows \['path'\], got unknown \['folder'\]"),
    ],
    ids=str,
)
def test_wrong_controller_settings_are_refused(values, said):
    with pytest.raises(CoVSpecError, match=said):
        ControllerSettings.of(values, "mine")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("paper_rule", "must be a list of names, got 'paper_rule'"),
        (["paper_rule", "paper_rule"], "named once each, got 'paper_rule' twice"),
        ([7], "controller must be one of"),
    ],
    ids=str,
)
def test_wrong_lists_of_controllers_are_refused(names, said):
    with pytest.raises(InvalidSetting, match=said):
        read_controllers(names)


def test_a_rule_is_tuned_where_it_plays(monkeypatch):
    file = {"kind": "tuned", "rule": "fixed", "scenario": {"protocol": "coupled"}}
    monkeypatch.setattr("policies.settings.preset", lambda group, name: dict(file))
    with pytest.raises(InvalidSetting, match=r"controller mine is tuned .* got scenario"):
        read_controllers(["mine"])


def test_two_learned_controllers_keep_apart(network, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        network.save(folder)
    chosen = read_controllers([str(folder) for folder in folders])
    assert [settings.name for settings in chosen] == ["learned", str(folders[1])]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "abc", None, True], ids=str)
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(InvalidSetting, match="seed must be a whole number"):
        read_seed({"seed": seed})


def test_an_unknown_output_is_refused():
    with pytest.raises(InvalidSetting, match=r"output must be one of \('text', 'json'\)"):
        read_output({"output": "xml"})


@pytest.mark.parametrize(
    ("cls", "values", "said"),
    [
        (TuningSettings, BUDGET | {"trials": 0}, "x?tuning.trials must be >= 1, got 0"),
        (TuningSettings, BUDGET | {"finalists": 0}, "tuning.finalists must be >= 1, got 0"),
        (TuningSettings, BUDGET | {"trials": "many"}, "trials must be a value of type int"),
        (JudgingSettings, {"sessions": 1, "validation_sessions": 0}, "validation_sessions must be"),
        (
            JudgingSettings,
            {"sessions": 1, "validation_sessions": 1, "split": "exam"},
            r"judging.split must be one of \('train', 'validation', 'test'\), got 'exam'",
        ),
        (JudgingSettings, {"sessions": True, "validation_sessions": 1}, "type int, got True"),
        (
            ModelSettings,
            {"draft": "a", "target": "b", "recording": "c", "reduction": "magic"},
            "reduction must be one of .*'covspec'.*, got 'magic'",
        ),
        (
            ModelSettings,
            {"draft": "a", "target": "b", "recording": "c", "temperature": -1.0},
            "temperature >= 0",
        ),
        (
            ModelSettings,
            {"draft": "a", "target": "b", "recording": "c", "top_k": 0},
            "model.top_k must be >= 1, got 0",
        ),
        (
            ModelSettings,
            {"draft": "a", "target": "b", "recording": "c", "top_p": 1.5},
            r"model.top_p must lie in \(0, 1\], got 1.5",
        ),
        (ModelSettings, {"draft": "a"}, r"model needs \['target', 'recording'\]"),
        (WandbSettings, {"mode": "on"}, r"wandb.mode must be one of \('disabled', 'offline'"),
        (WandbSettings, {"tags": ["a", 3]}, "tags must be a value of type"),
        (WandbSettings, {"entity": 3}, r"entity must be a value of type str \| None, got 3"),
        (
            PPOSettings,
            {"kind": "ppo", "total_steps": "1M"},
            "total_steps must be a value of type int, got '1M'",
        ),
        (
            PPOSettings,
            {"kind": "ppo", "total_steps": 9, "hidden": [8, "x"]},
            "hidden must be a value of type",
        ),
        (PPOSettings, {"kind": "ppo", "total_steps": 9, "depth": 2}, r"got unknown \['depth'\]"),
    ],
    ids=str,
)
def test_wrong_values_are_refused_with_the_rule(cls, values, said):
    with pytest.raises(InvalidSetting, match=said):
        build(cls, values, "model")


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.9}], ids=str)
def test_a_recording_of_other_laws_is_refused(recording, tmp_path, change):
    recording.save(tmp_path / "toy.npz")
    values = {"draft": "a", "target": "b", "recording": str(tmp_path / "toy.npz")}
    assert len(ModelSettings(**values).recorded().tokens) == len(recording.tokens)
    with pytest.raises(BrokenRecording, match=next(iter(change))):
        ModelSettings(**values, **change).recorded()
