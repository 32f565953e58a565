"""Every file in ``conf/`` composes with its entry and builds into typed settings."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from covspec_core.links.network import NetworkLink
from covspec_core.scenario import Scenario
from env.presets import CONF, build, preset
from env.rewards import RewardWeights
from policies.algorithms.settings import KINDS, read_algorithm
from policies.console import plain
from policies.memory import ObservationSettings
from policies.mixes import read_scenarios
from policies.model_settings import ModelSettings
from policies.settings import (
    ControllerSettings,
    read_run,
    read_seed,
)
from policies.space import METHODS, Choice, Space, text
from policies.tracking import TrackingSettings
from tests.policies.conftest import make_trainer, toy_recording, toy_scenario

ENTRIES = ("train", "evaluate", "decode")
SWEEPS = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))
NO_GROUPS = {"sweep": "for W&B and Optuna, not for Hydra", "hydra": "how Hydra itself behaves"}
ADDED = {"experiment"}
"""Groups that no entry chooses from by itself."""
GIVEN = {"measured": ["scenario.links.measured.traces_dir=somewhere"]}
"""What a user has to give beside a choice."""


def files(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - set(NO_GROUPS))
EMULATED = [name for name in files("link") if preset("link", name)["kind"] != "trace"]
CHOICES = [(group, name) for group in GROUPS for name in files(group)]


def composed(entry, *overrides):
    """A composed configuration as plain values."""
    if entry == "decode":
        overrides = ("image=photo.jpg", "question=what is this?", *overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose(entry, overrides=list(overrides)))


def entry_of(group):
    """The entry whose defaults name a group."""
    for entry in ENTRIES:
        named = yaml.safe_load((CONF / f"{entry}.yaml").read_text())["defaults"]
        keys = [key for item in named if isinstance(item, dict) for key in item]
        if group in (key.removeprefix("optional ") for key in keys):
            return entry
    return None


def choice(group, name):
    """Overrides that choose a file."""
    if group == "link":
        given = [] if name in EMULATED else ["scenario.links.custom.traces_dir=somewhere"]
        return ["scenario=custom", f"link@scenario.links.custom={name}", *given]
    chosen = f"+{group}={name}" if group in ADDED and entry_of(group) is None else f"{group}={name}"
    return [chosen, *(GIVEN.get(name, []) if group == "scenario" else [])]


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    """Nothing is read from, or written to, the place where a program starts."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_an_entry(group):
    assert entry_of(group) is not None or group in {"link"} | ADDED


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_composes_and_builds(group, name, monkeypatch, tmp_path):
    monkeypatch.setenv("COVSPEC_TRACES_DIR", str(tmp_path))  # building a link opens no trace
    entry = entry_of(group) or "train"
    overrides = choice(group, name)
    if name == "base":
        overrides.append("+link@scenario.links.paper=paper")
    values = composed(entry, *overrides)
    if entry != "train":
        assert isinstance(read_scenarios(values)[0], Scenario)
    assert isinstance(build(ModelSettings, values["model"], "model"), ModelSettings)
    if entry == "train":
        settings = read_run(values)
        assert settings.regimes
        assert all(isinstance(own, Scenario) for own in settings.mix)
        assert isinstance(settings.reward, RewardWeights)
        assert isinstance(settings.tracking, TrackingSettings)
        kind = values["algorithm"]["kind"]
        assert isinstance(read_algorithm(values["algorithm"]), KINDS[kind])
        assert isinstance(ObservationSettings.of(values["observation"]), ObservationSettings)
    if entry == "decode":
        assert (
            ControllerSettings.of(values["controller"], name).kind == values["controller"]["kind"]
        )
        assert read_seed(values) == 0


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_composes_as_it_stands(entry):
    overrides = ["controllers=[edge_only]"] if entry == "evaluate" else []
    values = composed(entry, *overrides)
    if entry != "decode":
        assert read_run(values).seed == 0


def test_the_regimes_of_all_networks_and_heldout_emulated_are_every_link_but_the_measured():
    _, regimes = read_scenarios(composed("train", "scenario=all"))
    _, networks = read_scenarios(composed("train", "scenario=networks"))
    _, unseen = read_scenarios(composed("train", "scenario=heldout_emulated"))
    assert sorted([*regimes, *networks, *unseen]) == EMULATED
    assert all(isinstance(alone.link, NetworkLink) for alone in networks.values())


@pytest.mark.parametrize("link", EMULATED)
def test_every_link_is_a_scenario_of_its_own(link):
    whole, regimes = read_scenarios(composed("train", f"scenario={link}"))
    assert list(regimes) == [link]
    assert regimes[link] == whole


def test_a_link_of_ones_own_is_given_on_the_command_line():
    values = composed("evaluate", "scenario=custom", "scenario.links.custom.snr_db=3")
    assert values["scenario"]["links"]["custom"]["snr_db"] == 3
    read_scenarios(values)


def test_presets_without_hydra_are_what_hydra_composes():
    for name in files("controller"):
        values = composed("decode", f"controller={name}")["controller"]
        assert ControllerSettings.of(values, name) == ControllerSettings.named(name)


def test_an_experiment_sets_its_own_budget_unless_the_command_does():
    assert composed("evaluate")["judging"]["sessions"] == 256
    assert composed("evaluate", "experiment=league")["judging"]["sessions"] == 1024
    words = ("experiment=league", "judging.sessions=64")
    assert composed("evaluate", *words)["judging"]["sessions"] == 64
    assert composed("evaluate", "experiment=ablations")["judging"]["split"] == "validation"


def test_every_setting_of_the_algorithm_can_be_overridden():
    for kind, cls in KINDS.items():
        written = composed("train", f"algorithm={kind}")["algorithm"]
        assert set(written) == {field.name for field in fields(cls)}
        assert read_algorithm(written).kind == kind


@pytest.mark.parametrize(
    "wrong", ["nope=1", "scenario=nope", "scenario.nope=1", "algorithm=reinforce"]
)
def test_what_does_not_exist_does_not_compose(wrong):
    with pytest.raises(HydraException):
        composed("train", wrong)


def extremes(searched):
    """All values of a choice, both ends of a range, as overrides have them."""
    if isinstance(searched, Choice):
        return searched.values
    return text(searched.min), text(searched.max)


def sweep_words(name):
    """Overrides that a sweep's command has of its own, and the parameters that it does not vary."""
    path = CONF / "sweep" / f"{name}.yaml"
    words = [word for word in yaml.safe_load(path.read_text())["command"] if word[:2] != "${"]
    searched = Space.load(path).parameters.items()
    return words + [f"{n}={extremes(p)[0]}" for n, p in searched if len(extremes(p)) == 1]


@pytest.mark.parametrize("name", SWEEPS)
def test_every_swept_parameter_is_a_setting_and_its_values_build(name):
    for parameter, searched in Space.load(CONF / "sweep" / f"{name}.yaml").parameters.items():
        for value in extremes(searched):
            values = composed("train", *sweep_words(name), f"{parameter}={value}")
            place = values
            for part in parameter.split("."):
                place = place[part]
            assert place == yaml.safe_load(value) or place["kind"] == value
            read_run(values)
            read_algorithm(values["algorithm"])


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_runs_the_training_and_reads_a_figure_that_it_logs(name):
    sweep = yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text())
    assert (CONF.parent / sweep["program"]).is_file()
    assert sweep["command"][-1] == "${args_no_hyphens}"
    assert composed("train", *sweep_words(name))["wandb"]["mode"] == "online"
    trainer, rows = make_trainer(toy_scenario(), toy_recording()), []
    trainer.run(rows.append)
    assert any(sweep["metric"]["name"] in row for row in rows)
    assert sweep["metric"]["goal"] == "maximize"


def test_there_is_a_sweep_of_every_method_and_those_that_can_stop_early_do():
    spaces = [Space.load(CONF / "sweep" / f"{name}.yaml") for name in SWEEPS]
    assert {space.method for space in spaces} == set(METHODS)
    assert all((space.stop is None) == (space.method == "grid") for space in spaces)
