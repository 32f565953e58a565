"""A training mix, and regimes held out of it, as the files of ``conf/scenario`` have them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from covspec_core.constants import status_constants
from covspec_core.errors import InvalidSetting
from covspec_core.links.traces import TraceLink
from covspec_core.rounds import RoundAction
from env.codec import Codec
from env.observations import RANGES
from env.play import World
from env.presets import CONF, named_scenario
from policies.console import plain
from policies.factory import make_controller
from policies.judging import judge, judge_mix
from policies.mixes import TRACES_DIR, read_scenarios
from policies.rules import Fixed
from policies.settings import ControllerSettings, read_run
from tests.policies.conftest import toy_scenario

UNSEEN_LINKS = ("heldout_links", "heldout_emulated", "heldout_technology")
HELD_OUT = (*UNSEEN_LINKS, "heldout_hardware")


def composed(*overrides):
    with initialize_config_dir(str(Path(CONF)), version_base=None):
        return plain(compose("train", overrides=["controllers=[]", *overrides]))


@pytest.fixture(autouse=True)
def _traces(monkeypatch):
    monkeypatch.setenv(TRACES_DIR, "somewhere")


@pytest.mark.parametrize("name", ["paper", "bursty"])
def test_a_link_by_its_name_is_the_scenario_of_that_name(name):
    assert named_scenario(name) == read_scenarios(composed(f"scenario={name}"))[0]


def links_of(scenario):
    parts = getattr(scenario.link, "parts", None)
    return list(parts.values()) if parts else [scenario.link]


def plan_of(scenario):
    """A scenario with its links by name: mixtures are never equal."""
    return replace(scenario, link=None), getattr(scenario.link, "parts", scenario.link)


def test_a_mix_has_every_protocol_and_more_than_one_hardware():
    run = read_run(composed("scenario=mix"))
    assert tuple(run.regimes.values()) == run.mix
    names = {own.protocol.name for own in run.mix}
    assert names == {"decoupled", "coupled", "progressive", "full"}
    assert len({own.profile for own in run.mix}) >= 3
    assert len({Codec.of(own) for own in run.mix}) == 1


def test_most_parts_of_the_mix_play_what_is_judged():
    for judged in ("decoupled", "coupled"):
        run = read_run(composed(f"protocol={judged}"))
        assert {own.protocol.name for own in run.regimes.values()} == {judged}
        assert sum(own.protocol.name == judged for own in run.mix) >= 8


def test_parts_of_the_mix_look_the_same_only_where_speeds_or_links_alone_differ():
    """Those a status tells in every round."""
    mix = read_run(composed("scenario=mix")).mix
    for one, other in combinations(mix, 2):
        same = (one.protocol, one.profile) == (other.protocol, other.profile)
        assert same == (status_constants(one) == status_constants(other))


def test_what_is_told_of_every_regime_lies_within_its_range():
    for name in ("mix", *HELD_OUT):
        for own in read_run(composed(f"scenario={name}")).regimes.values():
            for field, value in status_constants(own).items():
                low, high = RANGES[field]
                assert low <= value <= high, (name, field)


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_held_out_scenario_is_judged_after_training_on_the_mix(name):
    run, mix = read_run(composed(f"scenario={name}")), read_run(composed("scenario=mix"))
    assert [plan_of(own) for own in run.mix] == [plan_of(own) for own in mix.mix]
    assert not set(run.regimes) & set(mix.regimes)
    assert all(Codec.of(own) == Codec.of(run.mix[0]) for own in run.regimes.values())


def test_held_out_hardware_lies_outside_that_of_the_mix():
    run = read_run(composed("scenario=heldout_hardware"))
    for name, own in run.regimes.items():
        for seen in run.mix:
            factors = ("device_factor", "edge_factor")
            beyond = [
                getattr(own, f)[0] >= getattr(seen, f)[1]
                or getattr(own, f)[1] <= getattr(seen, f)[0]
                for f in factors
            ]
            assert own.profile != seen.profile or any(beyond), name


def test_held_out_links_are_no_links_of_the_mix():
    trained = [link for own in read_run(composed("scenario=mix")).mix for link in links_of(own)]
    assert not any(isinstance(link, TraceLink) for link in trained)
    for name in UNSEEN_LINKS:
        for own in read_run(composed(f"scenario={name}")).regimes.values():
            assert all(link not in trained for link in links_of(own))


def test_without_traces_what_needs_them_is_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.delenv(TRACES_DIR)
    run = read_run(composed("scenario=heldout_technology"))
    assert list(run.regimes) == ["umts_driving"]
    assert f"regime umts_bus is left out: it needs measured traces, set {TRACES_DIR}" in (
        "".join(capsys.readouterr())
    )
    with pytest.raises(InvalidSetting, match=f"need measured traces: set {TRACES_DIR}"):
        read_run(composed("scenario=heldout_links"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+scenario.parts.full.colour=red", "parts.full allows.*unknown.*colour"),
        ("scenario.parts.full.protocol=pigeon", "protocol must be one of.*got 'pigeon'"),
        ("+scenario.parts.full.base=abacus", "profile must be one of.*got 'abacus'"),
        ("+scenario.parts.full.links=[moon]", "links of a part must be among.*moon"),
        ("+scenario.parts.full.device_factor=[2.0,1.0]", "device_factor must ascend"),
        ("+scenario.parts.full.profile.colour=1", "profile allows.*colour"),
    ],
)
def test_a_wrong_part_gives_one_clear_error(override, message):
    with pytest.raises(InvalidSetting, match=message):
        read_run(composed("scenario=mix", override))


def test_a_part_may_keep_to_some_links():
    run = read_run(composed("scenario=mix", "+scenario.parts.full.links=[paper,fading]"))
    assert list(run.regimes["full"].link.parts) == ["paper", "fading"]
    assert len(run.regimes["coupled"].link.parts) == 9


@pytest.mark.parametrize(
    "override", ["gate_threshold=0.5", "keep_levels=[1.0]", "edge_burst=2", "reads_along=false"]
)
def test_what_is_judged_has_the_choices_that_were_trained_and_tuned(override):
    name = override.partition("=")[0]
    with pytest.raises(InvalidSetting, match=rf"{name} of regime paper must be .*train_on"):
        read_run(composed("scenario=all", f"scenario.{override}"))
    run = read_run(
        composed("scenario=all", f"scenario.{override}", f"scenario.train_on.{override}")
    )
    assert getattr(run.scenario, name) == getattr(run.regimes["paper"], name)


def test_what_plays_one_scenario_takes_no_mix():
    with pytest.raises(InvalidSetting, match="no parts here"):
        read_scenarios(composed("scenario=mix"))


def test_a_mix_is_judged_in_equal_shares(recording):
    worlds = [World.load(toy_scenario(n), "test", recording) for n in ("coupled", "full")]
    action = RoundAction(1.0, 3, 1)
    mixed = judge_mix(worlds, lambda _: Fixed(action), 5, 7)
    parts = [judge(world, Fixed(action), 3, 7) for world in worlds]
    assert (mixed.seconds == [part.seconds for part in parts]).all()


def test_a_rule_is_made_for_the_scenario_that_it_plays():
    rule = ControllerSettings.named("paper_rule")
    made = []
    for own in read_run(composed("scenario=mix")).mix:
        make = partial(make_controller, rule, seed=0, tuned=lambda kind: None)
        made.append(make(own))
    assert len({id(controller) for controller in made}) == len(made)
