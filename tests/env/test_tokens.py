"""The token-level environment plays the round-level engine's rounds, and no others."""

from __future__ import annotations

import warnings
from dataclasses import fields

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from covspec_core.errors import InvalidAction, InvalidSetting
from covspec_core.live import LiveSource
from covspec_core.rounds import Actions, RoundResult
from env.actions import GIVE_UP, GO_ON, SEND
from env.play import World
from env.single import CoVSpecTokenEnv
from env.vector import CoVSpecTokenVectorEnv
from tests.core.conftest import LIMIT, make_pair, make_requests, make_scenario
from tests.env.conftest import LINKS, play, some_actions


@pytest.fixture
def world(scenario, recording):
    return World.load(scenario, "train", recording)


@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled"])
@pytest.mark.parametrize("seed", range(4))
def test_rounds_are_the_engines_for_the_same_blocks(recording, protocol_name, seed):
    scenario = make_scenario(protocol_name, link=LINKS["gilbert_elliott"], link_rows=8)
    token = CoVSpecTokenEnv(scenario, recording=recording)
    token.reset(seed=seed)
    engine = CoVSpecTokenEnv(scenario, recording=recording)
    engine.reset(seed=seed)
    sessions, rng = engine.play.sessions, np.random.default_rng(seed)
    over, paid, kinds = False, 0.0, set()
    while not over:
        keep, width = rng.integers(token.action_space.nvec[1:])
        drafted = int(rng.integers(0, 5))
        keep_share = scenario.keep_levels[keep]
        for _ in range(drafted):
            _, reward, over, _, info = token.step(np.array([GO_ON, keep, 0]))
            # Nothing but the start of a session, which its first step is charged.
            assert reward == 0 or paid == 0
            assert (over, info["round"]["emitted"]) == (False, 0)
            paid -= reward
            # A keep level chosen within a block changes nothing.
            keep = rng.integers(token.action_space.nvec[1])
        drafted = int(token.play.blocks.length[0])
        last = int(rng.choice([SEND, GIVE_UP]))
        _, reward, over, _, info = token.step(np.array([last, keep, width]))
        if drafted == 0:
            keep_share = scenario.keep_levels[keep]
        # With draws of its own, who drops a block for what it holds would leave the target's law.
        dropped = last == GIVE_UP and drafted > 0 and protocol_name == "coupled"
        action = Actions(
            np.array([keep_share]), np.array([drafted]),
            np.array([scenario.branch_widths[width]]), np.array([np.inf]),
            give_up=np.array([dropped]),
        )  # fmt: skip
        result = sessions.play(action).row(0)
        assert info["round"] == result
        paid -= reward
        kinds.add((min(drafted, 2), dropped))
    assert paid * engine.play.edge_only_s[0] == pytest.approx(sessions.now_s[0], rel=1e-12)
    assert ((2, True) in kinds) is (protocol_name == "coupled")
    assert any(drafted > 0 and not dropped for drafted, dropped in kinds)


def test_a_batch_equals_single_environments_bit_by_bit(recording):
    scenario, size, rng = make_scenario(requests=2), 5, np.random.default_rng(3)
    batch = CoVSpecTokenVectorEnv(size, scenario, recording=recording)
    singles = [CoVSpecTokenEnv(scenario, recording=recording) for _ in range(size)]
    observations, _ = batch.reset(seed=11)
    for i, env in enumerate(singles):
        np.testing.assert_array_equal(observations[i], env.reset(seed=11 + i)[0])
    ended = 0
    for _ in range(300):
        actions = some_actions(batch, rng)
        masks = batch.action_masks()
        observations, rewards, over, _, infos = batch.step(actions)
        for i, env in enumerate(singles):
            np.testing.assert_array_equal(masks[i], env.action_masks())
            observation, reward, done, _, info = env.step(actions[i])
            assert (rewards[i], over[i]) == (reward, done)
            for field in fields(RoundResult):
                assert getattr(infos["round"], field.name)[i] == info["round"][field.name]
            if done:
                np.testing.assert_array_equal(infos["final_obs"][i], observation)
                observation, ended = env.reset()[0], ended + 1
            np.testing.assert_array_equal(observations[i], observation)
    assert ended > 3


def test_the_chance_that_a_block_stands_is_the_product_of_what_the_head_said(world):
    envs = CoVSpecTokenVectorEnv(4, world=world)
    envs.reset(seed=0)
    names = list(envs.play.codec.fields)
    standing = np.ones(4)
    sessions, rows = envs.play.sessions, np.arange(4)
    for n in range(1, 5):
        observed = envs.step(np.tile([GO_ON, 1, 0], (4, 1)))[0]
        stands, follows = sessions.source.within(sessions.place, rows, np.full(4, n - 1)).drawn.T
        standing *= stands
        np.testing.assert_allclose(observed[:, names.index("standing")], standing, rtol=1e-5)
        np.testing.assert_allclose(observed[:, names.index("reach")], standing * follows, rtol=1e-5)
        np.testing.assert_allclose(observed[:, names.index("block")], n / 16, rtol=1e-6)
    assert (standing < 1).any()


def test_masks_allow_what_has_an_effect(world):
    envs = CoVSpecTokenVectorEnv(1, world=world)
    envs.reset(seed=0)
    assert envs.action_masks()[0, :3].tolist() == [True, False, True]
    assert envs.action_masks()[0, 3:6].all()
    envs.step(np.array([[GO_ON, 1, 0]]))
    # With draws of its own, who drops a block for what it holds would leave the target's law.
    dropped = bool(world.scenario.protocol.shared_noise)
    assert envs.action_masks()[0, :6].tolist() == [True, True, dropped, False, True, False]
    while envs.play.blocks.length[0] < 10:
        envs.step(np.array([[GO_ON, 0, 0]]))
    assert envs.action_masks()[0, :3].tolist() == [False, True, dropped]
    assert envs.step(np.array([[GO_ON, 0, 0]]))[4]["round"].drafted[0] == 10


def test_both_checkers_accept_it(scenario, recording):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("CoVSpecToken-v0", scenario=scenario, recording=recording)
        gymnasium_check(env.unwrapped)
        for mode in (None, "ansi", "rgb_array"):
            sb3_check(CoVSpecTokenEnv(scenario, recording=recording, render_mode=mode), warn=True)


def test_make_vec_gives_the_native_batch(scenario, recording):
    envs = gymnasium.make_vec("CoVSpecToken-v0", num_envs=3, scenario=scenario, recording=recording)
    assert isinstance(envs.unwrapped, CoVSpecTokenVectorEnv)


def test_equal_seeds_give_equal_trajectories(scenario, recording):
    one, other = (play(CoVSpecTokenEnv(scenario, recording=recording), 4) for _ in range(2))
    for (obs, reward, info), (obs2, reward2, info2) in zip(one, other, strict=True):
        np.testing.assert_array_equal(obs, obs2)
        assert (reward, info) == (reward2, info2)


@pytest.mark.parametrize("action", [[3, 0, 0], [0, 9, 0], [0, 0], [0.0, 0.0, 0.0]])
def test_an_action_outside_its_space_is_refused(world, action):
    envs = CoVSpecTokenVectorEnv(1, world=world)
    envs.reset(seed=0)
    with pytest.raises(InvalidAction, match="an action must lie in MultiDiscrete"):
        envs.step(np.array([action]))


def test_live_models_are_refused(scenario, recording):
    requests = make_requests(2)
    live = LiveSource(make_pair(), scenario.protocol, 1.0, LIMIT, lambda key: requests[0])
    with pytest.raises(InvalidSetting, match="source must be a recording's, got LiveSource"):
        CoVSpecTokenEnv(scenario, recording=recording, source=live)
