"""Baselines are settings: a controller and what it changes in the scenario."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import RoundAction
from covspec_core.wire import protocol
from env.codec import Codec
from env.play import World
from policies.baselines import Elsewhere, changed, read_changes
from policies.factory import make_controller
from policies.judging import judge
from policies.rules import Fixed
from policies.settings import ControllerSettings
from tests.policies.conftest import random_network, toy_scenario


def named(name, scenario):
    return make_controller(ControllerSettings.named(name), scenario, 0, lambda rule: None)


@pytest.fixture
def world(recording):
    return World.load(toy_scenario("decoupled"), "train", recording)


def test_a_baseline_plays_under_its_own_settings_in_a_world_of_others(world):
    action = RoundAction(1.0, 4, 0)
    there = replace(world, scenario=replace(world.scenario, protocol=protocol("full")))
    own = Elsewhere(Fixed(action), {"protocol": protocol("full")})
    scores, expected = judge(world, own, 24, 3), judge(there, Fixed(action), 24, 3)
    np.testing.assert_array_equal(scores.bytes, expected.bytes)
    np.testing.assert_array_equal(scores.seconds, expected.seconds)
    assert scores.bytes.sum() != judge(world, Fixed(action), 24, 3).bytes.sum()


def test_a_controller_at_token_level_plays_elsewhere_too(recording):
    world = World.load(toy_scenario("coupled"), "train", recording)
    controller = random_network(Codec.of(world.scenario).at("token"))
    there = replace(world, scenario=replace(world.scenario, protocol=protocol("lazy")))
    found = judge(world, Elsewhere(controller, {"protocol": protocol("lazy")}), 8, 3)
    np.testing.assert_array_equal(found.seconds, judge(there, controller, 8, 3).seconds)


def test_u_hlm_drafts_one_token_and_skips_only_sure_ones(world):
    scenario = world.scenario
    controller = named("u_hlm", scenario)
    inside = changed(scenario, controller)
    assert (inside.protocol.name, inside.gate) == ("full", "uncertainty")
    scores = judge(world, controller, 32, 0)
    assert scores.deviations.sum() > 0
    assert 0 < scores.charged.sum() < scores.tokens.sum() * 1.5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"colour": 1}, r"allows .* got unknown \['colour'\]"),
        ({"profile": {}}, r"got unknown \['profile'\]"),
        ({"device_factor": [1, 1], "requests": 1}, r"unknown \['device_factor', 'requests'\]"),
        ({"protocol": "pigeon"}, "protocol must be one of"),
        ([1], "must name fields and values"),
    ],
)
def test_wrong_changes_are_refused(values, said):
    with pytest.raises(InvalidSetting, match=said):
        read_changes(values, "controller mine")
