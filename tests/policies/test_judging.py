"""Judging is paired, equals a slow loop, and its intervals cover the truth."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.stats import bootstrap

from covspec_core.engine import Engine
from covspec_core.errors import InvalidSetting
from covspec_core.randomness import mix
from covspec_core.rounds import RoundAction
from env.play import World
from env.rewards import RewardWeights
from policies.judging import Scores, gain, gap_closed, judge, mean_interval, stack, worth
from policies.rules import AdaptiveRule, Fixed, Random, RuleSettings, device_only, edge_only
from tests.policies.conftest import scores_with, toy_scenario

MAKERS = {
    "edge_only": edge_only,
    "fixed": lambda scenario: Fixed(RoundAction(1 / 3, 4, 2)),
    "paper_rule": lambda scenario: AdaptiveRule(scenario, RuleSettings(gate_threshold=0.5)),
    "lossless": lambda scenario: AdaptiveRule(scenario, RuleSettings(gate_threshold=float("inf"))),
}


def test_every_controller_meets_the_same_sessions(world, scenario):
    rivals = [
        *(make(scenario) for make in MAKERS.values()),
        device_only(scenario),
        Random(scenario),
    ]
    judged = [judge(world, controller, 24, 5) for controller in rivals]
    for scores in judged[1:]:
        np.testing.assert_array_equal(scores.edge_only_s, judged[0].edge_only_s)
        np.testing.assert_array_equal(scores.tokens, judged[0].tokens)
    assert len(np.unique(judged[0].edge_only_s)) > 12


def test_another_seed_means_other_sessions(world, scenario):
    first, same, other = (judge(world, edge_only(scenario), 24, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.seconds, same.seconds)
    assert not np.array_equal(first.edge_only_s, other.edge_only_s)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("protocol", ["decoupled", "coupled"])
def test_judging_equals_a_slow_loop_over_single_engines(recording, name, protocol):
    scenario = toy_scenario(protocol)
    world = World.load(scenario, "test", recording)
    scores = judge(world, MAKERS[name](scenario), 6, 3)
    for i in range(6):
        controller = MAKERS[name](scenario)
        controller.begin(1)
        played = replace(world.scenario, **getattr(controller, "changes", {}))
        engine = Engine(played, world.links, world.replay(1))
        status = engine.begin(int(mix(3, np.array([i]))[0]))
        sums = dict.fromkeys(("tokens", "bytes", "deviations", "charged", "energy_j", "rounds"), 0)
        over = False
        while not over:
            result = engine.play(controller.decide(status))
            sums["tokens"] += result.emitted[0]
            sums["bytes"] += result.bytes_up[0] + result.bytes_down[0]
            sums["rounds"] += 1
            for name_of in ("deviations", "charged", "energy_j"):
                sums[name_of] += getattr(result, name_of)[0]
            over = result.session_done[0]
            status = None if over else engine.status()
        assert scores.seconds[i] == pytest.approx(result.received_s[0])
        for key, value in sums.items():
            assert getattr(scores, key)[i] == pytest.approx(value), key


def test_time_to_first_token_is_that_of_the_slow_loop(recording):
    scenario = toy_scenario(requests=2)
    world = World.load(scenario, "test", recording)
    controller = MAKERS["fixed"](scenario)
    engine = Engine(world.scenario, world.links, world.replay(1))
    engine.begin(int(mix(0, np.array([0]))[0]))
    begun_s, waited, fresh, over = 0.0, [], True, False
    while not over:
        result = engine.play(controller.decide(engine.status()))
        if fresh:
            waited.append(result.first_s[0] - begun_s)
        fresh, over = result.request_done[0], result.session_done[0]
        begun_s = result.received_s[0] if fresh else begun_s
    assert judge(world, controller, 1, 0).ttft_s[0] == pytest.approx(np.mean(waited))


def test_the_interval_of_a_gain_covers_a_known_difference():
    rng, covered = np.random.default_rng(0), 0
    for seed in range(20):
        base = rng.uniform(0.8, 2.0, 200)
        ours = base * 1.1 * rng.normal(1.0, 0.05, 200)
        found = gain(scores_with(ours), scores_with(base), seed)
        low, high = found["ci95"]
        assert low < found["gain_percent"] < high
        assert high - low < 4
        covered += low <= 10.0 <= high
    assert covered >= 16


def test_a_gain_over_other_sessions_is_refused():
    ours, theirs = scores_with(np.ones(4)), scores_with(np.ones(4))
    other = replace(theirs, edge_only_s=2 * theirs.edge_only_s)
    with pytest.raises(InvalidSetting, match="gain needs the same sessions of all 2, got others"):
        gain(ours, other)


def test_no_difference_is_no_gain():
    same = scores_with(np.random.default_rng(0).uniform(0.8, 2.0, 50))
    assert gain(same, same) == {"gain_percent": 0.0, "ci95": [0.0, 0.0]}


def test_a_gain_is_paired_and_repeats_itself():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.2, 4.0, 300)
    better = scores_with(base * 1.01), scores_with(base)
    low, high = gain(*better)["ci95"]
    assert 0.99 < low <= high < 1.01  # Unpaired, the sessions' spread would drown 1 %.
    noisy = scores_with(base * rng.normal(1, 0.1, 300)), scores_with(base)
    assert gain(*noisy, seed=4) == gain(*noisy, seed=4)


def test_a_mean_has_an_interval_around_it():
    values = np.random.default_rng(2).normal(1.5, 0.2, 400)
    low, high = mean_interval(scores_with(values))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / 20, rel=0.2)
    assert mean_interval(scores_with(np.ones(5))) == [1.0, 1.0]


def test_the_interval_of_a_gain_is_that_of_scipys_paired_bootstrap():
    base, ours = np.random.default_rng(3).gamma(8.0, 0.2, (2, 150))
    low, high = gain(scores_with(ours), scores_with(base))["ci95"]
    wanted = bootstrap(
        (ours, base), lambda a, b, axis: 100 * (a.mean(axis) / b.mean(axis) - 1), paired=True,
        n_resamples=5000, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert low == pytest.approx(wanted.low, abs=0.1 * (wanted.high - wanted.low))
    assert high == pytest.approx(wanted.high, abs=0.1 * (wanted.high - wanted.low))


def test_regimes_that_share_their_luck_are_resampled_together():
    rule = np.random.default_rng(4).uniform(1, 2, 60)
    parts = [scores_with(rule + more) for more in ([0.1, 0.3] * 30, 0.0, [0.4, 0.5] * 30)]
    ours, theirs, oracle = (stack([part] * 9) for part in parts)
    assert mean_interval(ours) == pytest.approx(mean_interval(parts[0]))
    assert gain(ours, theirs)["ci95"] == pytest.approx(gain(*parts[:2])["ci95"])
    assert gap_closed(ours, theirs, oracle)["ci95"] == pytest.approx(gap_closed(*parts)["ci95"])
    assert np.ptp(gap_closed(*parts)["ci95"]) > 0.01


def test_regimes_are_put_together_in_order(world, scenario):
    parts = [judge(world, MAKERS["fixed"](scenario), 4, seed) for seed in (0, 1)]
    whole = stack(parts)
    for field in fields(Scores):
        own = [getattr(part, field.name) for part in parts]
        np.testing.assert_array_equal(getattr(whole, field.name), own)
    assert whole.summary()["n_sessions"] == 8
    speedups = [part.speedup.mean() for part in parts]
    assert whole.summary()["speedup"] == pytest.approx(np.mean(speedups))


def test_a_summary_means_over_sessions_and_shares_over_tokens():
    scores = scores_with([1.0, 3.0])
    summary = scores.summary()
    assert summary["speedup"] == pytest.approx(2.0)
    assert summary["mb_per_1024_tokens"] == pytest.approx(200 / 2**20 / 100 * 1024)
    assert summary["deviation_rate"] == pytest.approx(2 / 100)
    assert summary["price_saved"] == pytest.approx(1 - 2 / 100)
    assert summary["tokens_per_round"] == pytest.approx(50)


def test_worth_is_the_speedup_where_only_time_counts(scenario, recording):
    world = World.load(scenario, "test", recording)
    scores = judge(world, MAKERS["paper_rule"](scenario), 16, 0)
    assert worth(scores, RewardWeights(time=20.0)) == pytest.approx(scores.speedup.mean())
    strict = worth(scores, RewardWeights(time=20.0, deviations=10.0))
    assert strict == pytest.approx(scores.speedup.mean() - 0.5 * scores.deviations.mean())
    assert scores.deviations.sum() > 0
