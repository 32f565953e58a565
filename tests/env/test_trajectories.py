"""A session is decided by its seed and its actions, alone or in a batch."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.live import LiveSource
from covspec_core.rounds import RoundResult
from env.play import World
from env.rewards import RewardWeights
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv
from tests.core.conftest import LIMIT, make_pair, make_requests, make_scenario
from tests.env.conftest import LINKS, play, some_actions

EVERYTHING = RewardWeights(1.0, 0.5, 0.3, 0.2, 0.1)


@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled"])
@pytest.mark.parametrize("link", LINKS)
def test_a_batch_equals_single_environments_bit_by_bit(recording, link, protocol_name):
    scenario = make_scenario(protocol_name, link=LINKS[link], link_rows=8, requests=2)
    size, seed, rng = 5, 11, np.random.default_rng(3)
    batch = CoVSpecVectorEnv(size, scenario, recording=recording, reward=EVERYTHING)
    singles = [CoVSpecEnv(scenario, recording=recording, reward=EVERYTHING) for _ in range(size)]
    observations, infos = batch.reset(seed=seed)
    for i, env in enumerate(singles):
        observation, info = env.reset(seed=seed + i)
        np.testing.assert_array_equal(observations[i], observation)
        assert infos["edge_only_s"][i] == info["edge_only_s"]
    episodes = np.zeros(size, dtype=int)
    while episodes.min() < 3:
        actions = some_actions(batch, rng)
        observations, rewards, over, truncated, infos = batch.step(actions)
        assert not truncated.any()
        for i, env in enumerate(singles):
            observation, reward, done, _, info = env.step(actions[i])
            assert (rewards[i], over[i]) == (reward, done)
            assert {name: term[i] for name, term in infos["terms"].items()} == info["terms"]
            for field in fields(RoundResult):
                assert getattr(infos["round"], field.name)[i] == info["round"][field.name]
            if done:
                assert infos["_final_obs"][i]
                np.testing.assert_array_equal(infos["final_obs"][i], observation)
                assert infos["speedup"][i] == info["speedup"]
                observation, _ = env.reset()
                episodes[i] += 1
            np.testing.assert_array_equal(observations[i], observation)


@pytest.mark.parametrize("link", LINKS)
def test_equal_seeds_give_equal_trajectories(recording, link):
    def run(seed):
        env = CoVSpecEnv(make_scenario(link=LINKS[link]), recording=recording)
        return play(env, seed, episodes=3)

    one, same, other = run(4), run(4), run(5)
    assert len(one) == len(same)
    for (obs, reward, info), (obs2, reward2, info2) in zip(one, same, strict=True):
        np.testing.assert_array_equal(obs, obs2)
        assert (reward, info) == (reward2, info2)
    assert [info for *_, info in one] != [info for *_, info in other]


def test_episodes_of_one_seed_differ(env):
    first, second = (env.reset(seed=seed)[0] for seed in (3, None))
    assert (first != second).any()


def test_a_used_environment_begins_like_a_new_one(env, scenario, recording):
    play(env, 8, episodes=2)
    new = CoVSpecEnv(scenario, recording=recording)
    np.testing.assert_array_equal(env.reset(seed=3)[0], new.reset(seed=3)[0])


def test_a_batch_takes_a_seed_for_each_session(scenario, recording):
    one = CoVSpecVectorEnv(3, scenario, recording=recording)
    other = CoVSpecVectorEnv(3, scenario, recording=recording)
    np.testing.assert_array_equal(one.reset(seed=5)[0], other.reset(seed=[5, 6, 7])[0])
    np.testing.assert_array_equal(one.reset(seed=np.int64(5))[0], other.reset(seed=5)[0])
    np.testing.assert_array_equal(one.reset()[0], other.reset()[0])


def test_a_batch_without_seeds_does_not_repeat_itself(scenario, recording):
    runs = [CoVSpecVectorEnv(4, scenario, recording=recording).reset()[0] for _ in range(2)]
    assert (runs[0] != runs[1]).any()


def test_a_batch_with_some_seeds_repeats_these(scenario, recording):
    seeds = [9, None]
    runs = [CoVSpecVectorEnv(2, scenario, recording=recording).reset(seed=seeds) for _ in range(2)]
    np.testing.assert_array_equal(runs[0][0][0], runs[1][0][0])


def test_splits_share_neither_requests_nor_links(scenario, recording):
    worlds = [
        CoVSpecEnv(make_scenario(link=LINKS["rayleigh"]), split, recording).play.sessions
        for split in ("train", "validation", "test")
    ]
    rates = [sessions.path.table.up_bps for sessions in worlds]
    assert all((rates[i] != rates[j]).all() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_what_a_mask_leaves_out_changes_nothing(recording):
    """Every masked choice gives the round of some choice that is left in."""
    rng, masked = np.random.default_rng(0), 0
    scenario = make_scenario(requests=2)
    env, twin = (CoVSpecVectorEnv(6, scenario, recording=recording) for _ in range(2))
    env.reset(seed=1), twin.reset(seed=1)
    ends = np.cumsum(env.single_action_space.nvec)[:-1]
    for _ in range(60):
        actions = some_actions(env, rng)
        parts = np.split(env.action_masks(), ends, axis=1)
        allowed = actions.copy()
        for p, part in enumerate(parts):
            assert part.any(1).all()
            chosen = part[np.arange(6), actions[:, p]]
            # The greatest choice left: the keep in use, or the first length that reaches the end.
            last = part.shape[1] - 1 - part[:, ::-1].argmax(1)
            allowed[:, p] = np.where(chosen, actions[:, p], last)
            masked += int((~chosen).sum())
        steps = env.step(actions), twin.step(allowed)
        np.testing.assert_array_equal(steps[0][0], steps[1][0])
        np.testing.assert_array_equal(steps[0][1], steps[1][1])
    assert masked > 50


def test_a_single_environment_masks_as_its_row_of_a_batch(scenario, recording):
    batch = CoVSpecVectorEnv(2, scenario, recording=recording)
    env = CoVSpecEnv(scenario, recording=recording)
    batch.reset(seed=7), env.reset(seed=7)
    np.testing.assert_array_equal(batch.action_masks()[0], env.action_masks())
    action = np.array([1, 3, 0])
    batch.step(np.tile(action, (2, 1))), env.step(action)
    np.testing.assert_array_equal(batch.action_masks()[0], env.action_masks())


def test_a_generator_that_was_looked_at_first_still_gives_sessions_of_their_own(
    scenario, recording
):
    envs = [CoVSpecEnv(scenario, recording=recording) for _ in range(2)]
    assert envs[0].np_random_seed != envs[1].np_random_seed
    assert (envs[0].reset()[0] != envs[1].reset()[0]).any()


def test_a_session_without_a_seed_of_its_own_follows_on_those_before(scenario, recording):
    one, other = (CoVSpecVectorEnv(2, scenario, recording=recording) for _ in range(2))
    one.reset(seed=5), other.reset(seed=5)
    partly, whole = one.reset(seed=[None, 9])[0], other.reset()[0]
    np.testing.assert_array_equal(partly[0], whole[0])
    single = CoVSpecEnv(scenario, recording=recording)
    np.testing.assert_array_equal(partly[1], single.reset(seed=9)[0])


def test_a_batch_remembers_its_seed_as_gymnasium_does(scenario, recording):
    envs = CoVSpecVectorEnv(2, scenario, recording=recording)
    envs.reset(seed=np.int64(7))
    assert envs.np_random_seed == 7


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([1, 2], "seeds must come for 3 sessions, got 2"),
        ([1, 2, 3, 4], "seeds must come for 3 sessions, got 4"),
        ([1, -2, 3], r"a seed must be an integer in \[0, 2\^64\), got -2"),
        ([1, 2.5, 3], "got 2.5"),
        (2**64 - 1, f"got {2**64}"),
    ],
    ids=str,
)
def test_seeds_that_are_none_are_refused(scenario, recording, seeds, said):
    with pytest.raises(InvalidSetting, match=said):
        CoVSpecVectorEnv(3, scenario, recording=recording).reset(seed=seeds)


def test_a_seed_of_more_than_64_bits_is_refused(env):
    with pytest.raises(InvalidSetting, match=f"got {2**64}"):
        env.reset(seed=2**64)


def live_source(scenario, recording, known):
    """Live models that answer what a recording holds; the lengths of their answers known or not."""
    replay, requests = World.load(scenario, recording=recording).replay(1), make_requests(15)
    own = recording.only("train")

    def chosen(key):
        row = replay.pick(np.array([key], dtype=np.uint64))[0]
        request = next(r for r in requests if r.key == own.key[row])
        return replace(request, tokens=int(own.length[row]) if known else None)

    return LiveSource(make_pair(), scenario.protocol, 1.0, LIMIT, chosen)


def test_live_models_give_the_steps_of_their_recording(recording):
    scenario = make_scenario("coupled", requests=2)
    live = CoVSpecEnv(scenario, recording=recording, source=live_source(scenario, recording, True))
    replay = CoVSpecEnv(scenario, recording=recording)
    for one, other in zip(play(live, 2), play(replay, 2), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]


def test_time_is_no_reward_where_the_edge_alone_is_not_known(recording):
    scenario = make_scenario("coupled", requests=2)
    terms = {"recording": recording, "source": live_source(scenario, recording, False)}
    with pytest.raises(InvalidSetting, match=r"reward\.time must be 0 .*, got 1\.0"):
        CoVSpecEnv(scenario, **terms).reset(seed=0)
    env = CoVSpecEnv(scenario, reward=RewardWeights(time=0.0, megabytes=1.0), **terms)
    assert all(reward < 0 for _, reward, _ in play(env, 0)[1:])
