"""What a round is worth, and in which unit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Actions, RoundAction
from env.play import Play, World
from env.rewards import RewardWeights
from env.single import CoVSpecEnv
from tests.core.conftest import make_scenario
from tests.env.conftest import LINKS, play

NAMES = [field.name for field in fields(RewardWeights)]


def weights(**own):
    return RewardWeights(**(dict.fromkeys(NAMES, 0.0) | own))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("seed", range(4))
def test_the_return_is_minus_one_over_the_speedup(recording, link, seed):
    env = CoVSpecEnv(make_scenario(link=LINKS[link]), recording=recording)
    steps = play(env, seed, action_seed=seed)[1:]
    assert all("speedup" not in info for *_, info in steps[:-1])
    total = sum(reward for _, reward, _ in steps)
    assert total == pytest.approx(-1 / steps[-1][2]["speedup"], rel=1e-12)


def test_edge_alone_has_a_speedup_of_nearly_one(recording):
    env = CoVSpecEnv(make_scenario(), recording=recording)
    env.reset(seed=2)
    over = False
    while not over:
        _, _, over, _, info = env.step(np.array([0, 0, 0]))
    assert 0.9 < info["speedup"] <= 1.0 + 1e-9


def test_terms_add_up_to_the_reward(recording):
    everything = RewardWeights(1.0, 0.5, 0.3, 0.2, 0.1)
    env = CoVSpecEnv(make_scenario(), recording=recording, reward=everything)
    for _, reward, info in play(env, 1)[1:]:
        assert set(info["terms"]) == set(NAMES)
        assert reward == pytest.approx(sum(info["terms"].values()), rel=1e-12)


def test_terms_of_weight_zero_are_left_out(recording):
    env = CoVSpecEnv(make_scenario(), recording=recording, reward=weights())
    assert all((info["terms"], reward) == ({}, 0.0) for _, reward, info in play(env, 1)[1:])


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("megabytes", lambda row: (row["bytes_up"] + row["bytes_down"]) / 1024**2),
        ("joules", lambda row: row["energy_j"]),
        ("charged", lambda row: row["charged"]),
        ("deviations", lambda row: row["deviations"]),
    ],
)
def test_a_cost_is_its_amount_times_its_weight_and_negative(recording, name, amount):
    env = CoVSpecEnv(make_scenario("decoupled"), recording=recording, reward=weights(**{name: 3.0}))
    rewards = []
    for _, reward, info in play(env, 7)[1:]:
        assert reward == info["terms"][name] == pytest.approx(-3 * amount(info["round"]))
        rewards.append(reward)
    assert max(rewards) <= 0
    assert name == "deviations" or min(rewards) < 0  # unchecked tokens need a gate


def test_unchecked_tokens_that_differ_cost(recording):
    scenario = make_scenario()
    world = World.load(scenario, recording=recording)
    play = Play(world, world.replay(8), 8, weights(deviations=2.0))
    play.seed(np.arange(8, dtype=np.uint64))
    play.begin(np.arange(8))
    result = play.sessions.play(Actions.full(8, RoundAction(0.0, 6, 0, gate_threshold=0.0)))
    assert result.deviations.sum() > 0
    terms = weights(deviations=2.0).terms(result, *np.ones((2, 8)))
    np.testing.assert_array_equal(terms["deviations"], -2.0 * result.deviations)


def test_time_counts_the_start_of_every_request(recording):
    env = CoVSpecEnv(make_scenario(), recording=recording)
    (_, _, start), *steps = play(env, 3)
    seconds = [-reward * start["edge_only_s"] for _, reward, _ in steps]
    assert seconds[0] == pytest.approx(steps[0][2]["round"]["received_s"])
    assert sum(seconds) == pytest.approx(steps[-1][2]["round"]["received_s"])


@pytest.mark.parametrize("value", [-1.0, np.inf, np.nan])
@pytest.mark.parametrize("name", NAMES)
def test_weights_outside_their_range_are_refused(name, value):
    with pytest.raises(InvalidSetting, match=f"reward.{name} must be finite and >= 0"):
        RewardWeights(**{name: value})
