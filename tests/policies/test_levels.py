"""The command that compares round with token level."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from env.play import World
from policies import levels

SMALL = {"num_envs": 8, "rollout_steps": 16, "batch_size": 64, "epochs": 1}


@pytest.fixture
def worlds(scenario, recording):
    return [World.load(scenario, split, recording) for split in ("train", "validation")]


@pytest.mark.parametrize("level", levels.LEVELS)
def test_both_levels_learn_and_are_judged_on_sessions_of_their_own(worlds, level, monkeypatch):
    settings = levels.replace(levels.settings_of(level), **SMALL)
    monkeypatch.setattr(levels, "settings_of", lambda _: settings)
    found, steps = levels.learn(level, *worlds, seconds=1e-6, sessions=3, seed=0)
    assert steps == 128
    assert (found > 0).all()
    again, _ = levels.learn(level, *worlds, seconds=1e-6, sessions=3, seed=0)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("argument", ["--seconds", "--sessions", "--seeds"])
def test_nothing_to_train_or_judge_is_refused(argument):
    with pytest.raises(InvalidSetting, match=argument[2:]):
        levels.main([argument, "0"])
