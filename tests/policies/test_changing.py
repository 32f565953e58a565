"""The law oracle on links that change: exact where that is known, bounded elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.randomness import mix
from env.play import World
from policies.changing import timed_law_oracle
from policies.clairvoyant import outcome_search
from policies.judging import gap_closed, judge
from policies.oracles import law_oracle
from tests.core.conftest import PROFILE
from tests.policies.brute import drawn_recording, least_expected_seconds, least_seconds
from tests.policies.conftest import scores_with, toy_scenario
from tests.policies.test_clairvoyant import BURSTY, bursty_world
from tests.policies.test_oracles import patterns_of, rivals_of, small_world


@pytest.mark.parametrize("protocol_name", ["decoupled", "coupled", "full"])
def test_on_links_that_do_not_change_it_is_the_law_oracle(recording, protocol_name):
    world = World.load(toy_scenario(protocol_name), "train", recording)
    timed, exact = timed_law_oracle(world, 3, 1, 0.2), law_oracle(world, 3, 1)
    np.testing.assert_allclose(timed.seconds, exact.seconds, rtol=1e-6)
    np.testing.assert_allclose(
        judge(world, timed, 3, 1).seconds, judge(world, exact, 3, 1).seconds, rtol=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_best_of_all_policies_that_see_outcomes(seed):
    recording, key = drawn_recording(seed, [4]), mix(seed, np.arange(1))[0]
    world, best = small_world(recording, "decoupled", link=BURSTY), []
    for level, keep in enumerate(recording.keep_levels):
        drawn, weights = zip(*patterns_of(recording, level), strict=True)
        worlds = [small_world(pattern, "decoupled", link=BURSTY) for pattern in drawn]
        best.append(least_expected_seconds(worlds, [key] * len(worlds), weights, keep, 4))
    found = [timed_law_oracle(world, 1, seed, step).seconds[0] for step in (0.02, 0.0005)]
    errors = np.abs(np.array(found) / min(best) - 1)
    assert errors[0] < 0.02
    assert errors[1] < 5e-4


@pytest.mark.parametrize("seed", range(3))
def test_without_chance_it_is_the_best_of_all_sequences_of_actions(seed):
    recording = drawn_recording(seed, [2, 3])
    sure = replace(recording, q=np.where(recording.q > 0.5, recording.p, 0).astype(np.float32))
    world = small_world(sure, "decoupled", link=BURSTY, requests=2, draft_lengths=(0, 2))
    best = least_seconds(world, mix(seed, np.arange(1))[0], 6)
    oracle = timed_law_oracle(world, 1, seed, 0.001)
    np.testing.assert_allclose(judge(world, oracle, 1, seed).seconds, best, rtol=1e-3)


@pytest.mark.parametrize("prefill_s", [0.4, 1.5])
def test_it_is_so_where_the_edge_writes_while_the_device_still_reads(prefill_s):
    recording = drawn_recording(1, [3, 5])
    sure = replace(recording, q=np.where(recording.q > 0.5, recording.p, 0).astype(np.float32))
    profile = replace(PROFILE, device_prefill_s=prefill_s, edge_prefill_s=0.1, draft_step_s=0.01)
    world = small_world(
        sure, "decoupled", link=BURSTY, profile=profile, draft_lengths=(0, 2), edge_burst=1,
    )  # fmt: skip
    best = [least_seconds(world, key, 5) for key in mix(0, np.arange(4))]
    oracle = timed_law_oracle(world, 4, 0, 0.001)
    np.testing.assert_allclose(judge(world, oracle, 4, 0).seconds, best, rtol=2e-3)


def test_it_lies_between_every_rule_and_the_outcome_search(recording):
    world = bursty_world(recording, "decoupled")
    oracle = timed_law_oracle(world, 16, 0, 0.2)
    played = judge(world, oracle, 16, 0).seconds
    error = played - oracle.seconds
    assert abs(error.mean()) < 3.5 * error.std() / np.sqrt(len(error))
    assert outcome_search(world, 16, 0).seconds.mean() < played.mean()
    for rival in rivals_of(world.scenario):
        assert judge(world, rival, 16, 0).seconds.mean() > played.mean()


def test_other_sessions_and_unknown_rounds_are_refused(recording):
    world = bursty_world(recording, "decoupled")
    oracle = timed_law_oracle(world, 2, 0, 0.2)
    with pytest.raises(InvalidSetting, match="knows 2 sessions, got 3"):
        judge(world, oracle, 3, 0)
    with pytest.raises(InvalidSetting, match="need bonus tokens"):
        timed_law_oracle(replace(world, scenario=replace(world.scenario, post_verify=True)), 1, 0)


def test_the_rule_closes_nothing_of_the_gap_and_the_oracle_all():
    rng = np.random.default_rng(0)
    rule = rng.uniform(1, 2, 64)
    rule_s, half, oracle = (scores_with(rule + part) for part in (0.0, 0.5, 1.0))
    assert gap_closed(rule_s, rule_s, oracle) == {"gap_closed": 0.0, "ci95": [0.0, 0.0]}
    assert gap_closed(oracle, rule_s, oracle)["gap_closed"] == 1.0
    np.testing.assert_allclose(gap_closed(half, rule_s, oracle)["ci95"], 0.5)
    assert gap_closed(half, oracle, rule_s) == {"gap_closed": None, "ci95": None}
