"""The batch keeps Stable-Baselines3's contract, for any of its algorithms."""

from __future__ import annotations

import numpy as np
import pytest
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from covspec_core.randomness import mix
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv
from policies.vec_env import RunningCost, SB3VecEnv
from tests.policies.conftest import toy_scenario

SIZE = 6


@pytest.fixture
def envs(recording):
    return SB3VecEnv(CoVSpecVectorEnv(SIZE, toy_scenario(), recording=recording))


def drawn(envs, rng):
    return rng.integers(envs.action_space.nvec, size=(envs.num_envs, 3))


def test_it_is_a_vec_env_with_the_spaces_of_one_session(envs):
    assert isinstance(envs, VecEnv)
    assert envs.num_envs == SIZE
    assert envs.observation_space == envs.env.single_observation_space
    assert envs.action_space == envs.env.single_action_space
    assert envs.render_mode is None


def test_every_episode_equals_that_of_a_single_environment(envs, recording):
    envs.seed(7)
    single = CoVSpecEnv(toy_scenario(), recording=recording)
    observation, _ = single.reset(seed=int(mix(7, 0)) + 2)
    observations = envs.reset()
    returns, length, rng = 0.0, 0, np.random.default_rng(0)
    while True:
        np.testing.assert_array_equal(observations[2], observation)
        actions = drawn(envs, rng)
        observations, rewards, dones, infos = envs.step(actions)
        observation, reward, over, _, info = single.step(actions[2])
        assert rewards[2] == pytest.approx(reward)
        assert dones[2] == over
        returns, length = returns + reward, length + 1
        if over:
            break
    np.testing.assert_array_equal(infos[2]["terminal_observation"], observation)
    assert infos[2]["episode"]["r"] == pytest.approx(returns)
    assert infos[2]["episode"]["l"] == length
    assert infos[2]["episode"]["speedup"] == pytest.approx(info["speedup"])
    assert returns == pytest.approx(-1 / info["speedup"])
    np.testing.assert_array_equal(observations[2], single.reset()[0])


def test_batches_of_neighbouring_seeds_share_no_session(envs):
    keys = []
    for seed in (7, 8):
        envs.seed(seed)
        envs.reset()
        keys.append(envs.env.play.sessions.all_request_keys(np.arange(SIZE)))
    assert not np.isin(*keys).any()


def test_infos_belong_to_their_sessions(envs):
    envs.seed(0)
    envs.reset()
    rng, ends = np.random.default_rng(1), 0
    for _ in range(200):
        observations, rewards, dones, infos = envs.step(drawn(envs, rng))
        assert observations.shape == (SIZE, envs.observation_space.shape[0])
        assert (observations.dtype, rewards.dtype, dones.dtype) == (np.float32, np.float32, bool)
        assert len({id(info) for info in infos}) == SIZE
        for done, info in zip(dones, infos, strict=True):
            assert set(info) == ({"terminal_observation", "episode"} if done else set())
            ends += done
    assert ends > SIZE


def test_equal_seeds_give_equal_sessions_and_a_seed_is_used_once(envs):
    envs.seed(5)
    first, second = envs.reset(), envs.reset()
    assert not np.array_equal(first, second)
    envs.seed(5)
    np.testing.assert_array_equal(envs.reset(), first)


def test_sessions_share_their_attributes(envs):
    assert envs.get_attr("num_envs", [0, 3]) == [SIZE, SIZE]
    assert envs.env_is_wrapped(VecMonitor) == [False] * SIZE
    with pytest.raises(NotImplementedError, match="share their attributes"):
        envs.set_attr("num_envs", 1)
    with pytest.raises(NotImplementedError, match="share their methods"):
        envs.env_method("reset")


def test_masks_are_served_session_by_session(envs):
    envs.seed(0)
    envs.reset()
    assert is_masking_supported(envs)
    envs.step(drawn(envs, np.random.default_rng(0)))
    masks = get_action_masks(envs)
    np.testing.assert_array_equal(masks, envs.env.action_masks())
    np.testing.assert_array_equal(envs.env_method("action_masks", indices=[4, 1]), masks[[4, 1]])
    assert not masks.all()


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_algorithms_learn_from_it(envs, algorithm):
    model = algorithm("MlpPolicy", envs, n_steps=32, seed=0, device="cpu")
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.learn(2 * 32 * SIZE)
    assert any((before[k] != v).any() for k, v in model.policy.state_dict().items())
    assert len(model.ep_info_buffer) > 0


def test_a_monitor_around_it_counts_the_same(recording):
    envs = VecMonitor(SB3VecEnv(CoVSpecVectorEnv(2, toy_scenario(), recording=recording)))
    envs.seed(0)
    envs.reset()
    rng = np.random.default_rng(0)
    for _ in range(300):
        *_, dones, infos = envs.step(drawn(envs, rng))
        if dones.any():
            break
    assert infos[int(np.flatnonzero(dones)[0])]["episode"]["l"] > 1


def test_credits_for_tokens_settle_where_rewards_are_zero_on_average():
    running, rng = RunningCost(2), np.random.default_rng(0)
    row = np.repeat([0, 1], 50)
    means = []
    for _ in range(600):
        tokens = rng.uniform(1, 5, 100)
        cost = tokens * np.where(row == 0, 0.7, 1.4) + rng.normal(0, 0.1, 100)
        means.append((running.credit(row, cost, tokens) - cost).reshape(2, 50).mean(1))
    np.testing.assert_allclose(np.mean(means[300:], axis=0), 0.0, atol=0.01)


def test_differential_rewards_differ_from_plain_ones_by_a_share_of_the_tokens(recording):
    plain, other = (
        SB3VecEnv(CoVSpecVectorEnv(4, toy_scenario(), recording=recording), flag)
        for flag in (False, True)
    )
    for env in (plain, other):
        env.seed(3)
        env.reset()
    work = other._work_of_a_token()[1]
    actions = np.tile([0, 1, 1], (4, 1))
    (_, rewards, _, _), (_, credited, _, _) = plain.step(actions), other.step(actions)
    assert (credited > rewards).all()
    assert (credited - rewards < 3 * 16 * work).all()
