"""Gymnasium's and Stable-Baselines3's own rules."""

from __future__ import annotations

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check

from covspec_core.errors import InvalidAction, InvalidSetting, SessionOver
from env.play import World
from env.single import CoVSpecEnv
from env.vector import CoVSpecTokenVectorEnv, CoVSpecVectorEnv
from tests.core.conftest import make_scenario
from tests.env.conftest import some_actions


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


@pytest.mark.parametrize("kind", [CoVSpecEnv, CoVSpecVectorEnv])
def test_choices_beside_a_scenario_are_refused(kind, scenario, recording):
    with pytest.raises(InvalidSetting, match=r"scenario must stand alone, got \['link'\] beside"):
        kind(scenario=scenario, recording=recording, link="weak")


@pytest.mark.parametrize("kind", [CoVSpecEnv, CoVSpecVectorEnv])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scenario": "bursty"}, "scenario must be a Scenario, got 'bursty'; link= takes names"),
        ({"reward": "gated"}, "reward must be RewardWeights, got 'gated'"),
    ],
)
def test_names_in_the_place_of_objects_are_refused(kind, scenario, recording, given, said):
    with pytest.raises(InvalidSetting, match=said):
        kind(recording=recording, **{"scenario": scenario} | given)


def test_a_world_stands_alone(scenario, recording):
    world = World.load(scenario, recording=recording)
    said = r"world must stand alone, got \['link', 'recording'\] beside it"
    with pytest.raises(InvalidSetting, match=said):
        CoVSpecVectorEnv(2, world=world, recording=recording, link="weak")


def test_a_batch_has_a_session(scenario, recording):
    with pytest.raises(InvalidSetting, match="num_envs must be >= 1, got 0"):
        CoVSpecVectorEnv(0, scenario, recording=recording)


@pytest.mark.parametrize("kind", [CoVSpecVectorEnv, CoVSpecTokenVectorEnv])
def test_actions_must_come_for_every_session(kind, scenario, recording):
    envs = kind(3, scenario, recording=recording)
    envs.reset(seed=0)
    with pytest.raises(InvalidAction, match="actions must come for 3 sessions, got 2"):
        envs.step(np.zeros((2, 3), dtype=np.int64))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_own_batches_give_the_native_ones_steps(mode, recording):
    terms = {"scenario": make_scenario(requests=2), "recording": recording}
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec(
        "env:CoVSpec-v0", 2, vectorization_mode=mode, vector_kwargs=same_step, **terms
    )
    native, rng, ended = CoVSpecVectorEnv(2, **terms), np.random.default_rng(0), 0
    np.testing.assert_array_equal(envs.reset(seed=3)[0], native.reset(seed=3)[0])
    while ended < 3:
        actions = some_actions(native, rng)
        *theirs, their_infos = envs.step(actions)
        *ours, infos = native.step(actions)
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(one, other)
        for row in np.flatnonzero(ours[2]):
            np.testing.assert_array_equal(their_infos["final_obs"][row], infos["final_obs"][row])
            ended += 1
    envs.close()


def test_a_copied_environment_goes_on_alike(env):
    env.reset(seed=1)
    env.step(np.array([1, 2, 0]))
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        before = copy.deepcopy(env)
        for _ in range(5):
            np.testing.assert_array_equal(
                before.step(np.array([0, 3, 1]))[0], twin.step(np.array([0, 3, 1]))[0]
            )
