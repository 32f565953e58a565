"""Gymnasium's and Stable-Baselines3's own rules."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check

from covspec_core.errors import InvalidSetting, SessionOver
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv


@pytest.fixture
def _no_warnings(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert not caplog.records


@pytest.mark.usefixtures("_no_warnings")
def test_gymnasium_accepts_the_environment_and_its_render_modes(scenario, recording):
    env = gymnasium.make("env:CoVSpec-v0", scenario=scenario, recording=recording)
    assert set(env.metadata["render_modes"]) == {"ansi", "rgb_array"}
    gymnasium_check(env.unwrapped)


@pytest.mark.usefixtures("_no_warnings")
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_stable_baselines3_accepts_the_environment(scenario, recording, render_mode):
    sb3_check(CoVSpecEnv(scenario, recording=recording, render_mode=render_mode), warn=True)


@pytest.mark.usefixtures("_no_warnings")
def test_make_vec_gives_the_native_batch(scenario, recording):
    envs = gymnasium.make_vec(
        "CoVSpec-v0", num_envs=3, scenario=scenario, recording=recording, split="test"
    )
    assert isinstance(envs.unwrapped, CoVSpecVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, _ = envs.reset(seed=1)
    assert observations in envs.observation_space
    observations, rewards, *_ = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space
    assert rewards.shape == (3,)


def test_an_unknown_render_mode_is_refused(scenario, recording):
    with pytest.raises(InvalidSetting, match="render_mode must be one of"):
        CoVSpecEnv(scenario, recording=recording, render_mode="human")


def test_a_session_that_is_over_must_be_reset(env):
    env.reset(seed=0)
    over = False
    while not over:
        _, _, over, *_ = env.step(np.array([1, 2, 0]))
    with pytest.raises(SessionOver, match="begin a new one"):
        env.step(np.array([1, 2, 0]))
    env.reset()
    env.step(np.array([1, 2, 0]))
