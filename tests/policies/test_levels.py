"""The command that compares round with token level, and measures what leaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.replay import ASTRAY
from env.codec import Codec
from env.play import World
from policies import levels
from policies.judging import judge
from tests.policies.conftest import random_network

SMALL = {"num_envs": 8, "rollout_steps": 16, "batch_size": 64, "epochs": 1}


@pytest.fixture
def worlds(scenario, recording):
    return [World.load(scenario, split, recording) for split in ("train", "validation")]


@pytest.mark.parametrize("level", levels.LEVELS)
def test_both_levels_learn_and_are_judged_on_the_same_sessions(worlds, level, monkeypatch):
    settings = replace(levels.settings_of(level), **SMALL)
    assert settings.gamma == {"round": 0.98, "token": 0.995}[level]
    monkeypatch.setattr(levels, "settings_of", lambda _: settings)
    train, validation = worlds
    found = []
    for _ in range(2):
        controller, steps = levels.learn(level, train, seconds=1e-6, seed=0)
        assert (steps, controller.codec.level) == (128, level)
        found.append(dict(levels.judged(controller, validation, 3, 0)))
    assert len(found[0]) == (1 if level == "round" else len(ASTRAY))
    for name, scores in found[0].items():
        np.testing.assert_array_equal(scores.speedup, found[1][name].speedup)
        assert (scores.speedup > 0).all()


def test_facts_behind_refused_tokens_reach_the_controller(worlds):
    controller = random_network(Codec.of(worlds[1].scenario).at("token"), seed=2)
    found = dict(levels.judged(controller, worlds[1], 64, 0))
    as_usual = judge(worlds[1], controller, 64, 0).seconds
    np.testing.assert_array_equal(found[", detour facts"].seconds, as_usual)
    assert not np.array_equal(found[", recorded facts"].seconds, as_usual)
