"""The oracles are optimal: brute force through the engine finds nothing better, and no less."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import ConstantLink, GilbertElliottLink
from covspec_core.randomness import mix
from covspec_core.rounds import RoundAction
from env.play import World
from env.presets import named_scenario
from policies.bounds import BOUNDS
from policies.clairvoyant import outcome_search
from policies.judging import gain, judge
from policies.league import RULES
from policies.oracles import law_oracle, outcome_oracle
from policies.rules import Fixed, Random, edge_only
from tests.core.conftest import PROFILE
from tests.policies.brute import drawn_recording, least_expected_seconds, least_seconds
from tests.policies.conftest import toy_scenario

PROTOCOLS = ("decoupled", "coupled", "full")


def small_world(recording, protocol_name, **changes):
    """Few choices, all of them useful, and costs between which the best plan varies."""
    usual = {
        "keep_levels": (0.0, 1.0), "draft_lengths": (0, 1, 3), "branch_widths": (0, 2),
        "edge_burst": 2, "requests": 1, "link_rows": 2,
    }  # fmt: skip
    scenario = toy_scenario(protocol_name, **(usual | changes))
    return World.load(scenario, "train", recording)


@pytest.mark.parametrize("protocol_name", PROTOCOLS)
@pytest.mark.parametrize("seed", range(5))
def test_the_outcome_oracle_is_the_best_of_all_sequences_of_actions(protocol_name, seed):
    world = small_world(drawn_recording(seed, [4, 3]), protocol_name)
    oracle = outcome_oracle(world, 3, seed)
    best = [least_seconds(world, key, 4) for key in mix(seed, np.arange(3))]
    np.testing.assert_allclose(oracle.seconds, best, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_so_over_several_requests_and_where_answers_are_cut(seed):
    recording = drawn_recording(seed, [2, 3], limit=3)
    world = small_world(recording, "decoupled", requests=2, draft_lengths=(0, 2), edge_burst=1)
    oracle = outcome_oracle(world, 1, seed)
    rounds = int(world.recording.length.max()) * 2
    best = least_seconds(world, mix(seed, np.arange(1))[0], rounds)
    np.testing.assert_allclose(oracle.seconds[0], best, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_so_where_branches_leave_much_ready_and_bursts_follow_bursts(seed):
    """A fast draft, so that hits leave several tokens, and catching up that costs."""
    profile = replace(PROFILE, draft_step_s=0.05, draft_keep_s=0.001, catch_up_s=0.03)
    recording = drawn_recording(seed, [6], levels=(1.0,))
    world = small_world(
        replace(recording, rank=recording.rank // 3), "decoupled", profile=profile,
        keep_levels=(1.0,), draft_lengths=(0, 1, 4), branch_widths=(0, 1, 2), edge_burst=1,
    )  # fmt: skip
    oracle = outcome_oracle(world, 1, seed)
    best = least_seconds(world, mix(seed, np.arange(1))[0], 6)
    np.testing.assert_allclose(oracle.seconds[0], best, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_so_where_the_limit_cuts_blocks_short(seed):
    """No choice but blocks of three tokens, and answers as long as they may be."""
    recording = drawn_recording(seed, [4, 4], limit=4)
    world = small_world(recording, "decoupled", draft_lengths=(3,), branch_widths=(0, 2))
    oracle = outcome_oracle(world, 2, seed)
    best = [least_seconds(world, key, 4) for key in mix(seed, np.arange(2))]
    np.testing.assert_allclose(oracle.seconds, best, rtol=1e-12)


@pytest.mark.parametrize("make", [law_oracle, outcome_oracle, outcome_search])
def test_it_is_so_where_a_draft_follows_many_bursts(make):
    """Three hopeless tokens, then sure ones; the draft has to catch up with what it missed."""
    recording = drawn_recording(0, [6], levels=(1.0,))
    q = np.where(np.arange(6) < 3, 0.0, recording.p).astype(np.float32)
    profile = replace(
        PROFILE, catch_up_s=0.02, draft_step_s=0.01, draft_keep_s=0.0, verify_slope=0.1
    )
    world = small_world(
        replace(recording, q=q[None]), "decoupled", profile=profile, keep_levels=(1.0,),
        draft_lengths=(0, 3), edge_burst=1,
    )  # fmt: skip
    oracle = make(world, 1, 0)
    best = least_seconds(world, mix(0, np.arange(1))[0], 6)
    np.testing.assert_allclose(oracle.seconds[0], best, rtol=1e-12)
    bursts_then_draft = judge(world, oracle, 1, 0)
    assert bursts_then_draft.rounds[0] == 4


@pytest.mark.parametrize("prefill_s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("make", [law_oracle, outcome_oracle, outcome_search])
def test_it_is_so_where_the_edge_writes_while_the_device_still_reads(make, prefill_s):
    """One hopeless token, then sure ones, and a device that has read the request too late."""
    recording = drawn_recording(0, [6], levels=(1.0,))
    q = np.where(np.arange(6) < 1, 0.0, recording.p).astype(np.float32)
    profile = replace(
        PROFILE, device_prefill_s=prefill_s, edge_prefill_s=0.1, draft_step_s=0.01,
        draft_keep_s=0.0, verify_slope=0.1,
    )  # fmt: skip
    world = small_world(
        replace(recording, q=q[None]), "decoupled", profile=profile, keep_levels=(1.0,),
        draft_lengths=(0, 3), edge_burst=1,
    )  # fmt: skip
    oracle = make(world, 2, 0)
    best = [least_seconds(world, key, 6) for key in mix(0, np.arange(2))]
    np.testing.assert_allclose(oracle.seconds, best, rtol=1e-12)
    np.testing.assert_allclose(judge(world, oracle, 2, 0).seconds, best, rtol=1e-12)


def patterns_of(recording, level):
    """The same request under every pattern of standing tokens, and the chance of each."""
    chance = np.minimum(recording.q[level] / recording.p, 1.0).astype(float)
    for stands in product((False, True), repeat=len(chance)):
        weight = np.prod(np.where(stands, chance, 1 - chance))
        q = np.where(stands, recording.p, 0.0).astype(np.float32)
        yield replace(recording, q=np.broadcast_to(q, recording.q.shape)), float(weight)


@pytest.mark.parametrize("protocol_name", ["decoupled", "full"])
@pytest.mark.parametrize("seed", range(6))
def test_the_law_oracle_is_the_best_of_all_policies_that_see_outcomes(protocol_name, seed):
    """All policies: for every history of actions and outcomes any next action."""
    recording, key = drawn_recording(seed, [4]), mix(seed, np.arange(1))[0]
    world = small_world(recording, protocol_name)
    best = []
    for level, keep in enumerate(recording.keep_levels):
        drawn, weights = zip(*patterns_of(recording, level), strict=True)
        worlds = [small_world(pattern, protocol_name) for pattern in drawn]
        best.append(least_expected_seconds(worlds, [key] * len(worlds), weights, keep, 4))
    np.testing.assert_allclose(law_oracle(world, 1, seed).seconds[0], min(best), rtol=1e-6)


@pytest.mark.parametrize("protocol_name", ["decoupled", "coupled"])
@pytest.mark.parametrize("bps", [2e3, 1e5])
def test_played_through_the_engine_the_plan_costs_what_it_promises(recording, protocol_name, bps):
    world = World.load(toy_scenario(protocol_name, bps), "train", recording)
    oracle = outcome_oracle(world, 12, 3)
    scores = judge(world, oracle, 12, 3)
    np.testing.assert_allclose(scores.seconds, oracle.seconds, rtol=1e-12)
    np.testing.assert_allclose(scores.edge_only_s, oracle.edge_only_s)
    np.testing.assert_allclose(scores.speedup, oracle.speedup)
    assert (scores.deviations == 0).all()


def rivals_of(scenario):
    made = [
        rule.make(scenario, rule.constants()) for kind, rule in RULES.items() if kind != "fixed"
    ]
    lengths = [g for g in scenario.draft_lengths if g > 0]
    fixed = [Fixed(RoundAction(keep, g, 4)) for keep in (0.0, 1.0) for g in lengths]
    return [*made, *fixed, Random(scenario), edge_only(scenario)]


@pytest.mark.parametrize("protocol_name", ["decoupled", "coupled"])
@pytest.mark.parametrize("bps", [2e3, 1e5])
def test_no_controller_beats_the_outcome_oracle_in_any_session(recording, protocol_name, bps):
    world = World.load(toy_scenario(protocol_name, bps), "train", recording)
    least = outcome_oracle(world, 16, 0).seconds
    for rival in rivals_of(world.scenario):
        assert (judge(world, rival, 16, 0).seconds >= least - 1e-9).all()


@pytest.fixture(scope="module")
def many(recording):
    """Many sessions of a world, and the law oracle of them."""
    world = World.load(toy_scenario("decoupled", requests=2), "train", recording)
    oracle = law_oracle(world, 160, 1)
    return world, oracle, judge(world, oracle, 160, 1).seconds


def test_the_law_oracle_expects_what_it_meets(many):
    _, oracle, played = many
    error = played - oracle.seconds
    assert abs(error.mean()) < 3.5 * error.std() / np.sqrt(len(error))


def test_no_controller_beats_the_law_oracle_in_the_mean(many):
    world, _, played = many
    for rival in rivals_of(world.scenario):
        lost = judge(world, rival, 160, 1).seconds - played
        assert lost.mean() > 2 * lost.std() / np.sqrt(len(lost))


class Stopped:
    """A plan whose blocks end, too, behind a drawn token that the head gives little chance."""

    def __init__(self, plan, chance):
        self._plan, self._chance = plan, chance

    def begin(self, size):
        self._plan.begin(size)

    def decide(self, status):
        stops = np.full(len(status), self._chance)
        return replace(self._plan.decide(status), chance_stop=stops)


@pytest.mark.bench
def test_a_stop_lifts_the_law_oracle_by_little():
    """What is drawn tells of the noise, which the plan does not know: it is no bound for stops."""
    world = World.load(named_scenario("paper"), "validation")
    plan = BOUNDS["law_oracle"](world, 64, 0)
    lifted = gain(judge(world, Stopped(plan, 0.3), 64, 0), judge(world, plan, 64, 0))
    print(lifted)
    assert lifted["ci95"][0] > 0
    assert lifted["ci95"][1] < 2.0


def test_knowing_the_noise_helps(many):
    world, oracle, played = many
    outcome = outcome_oracle(world, 160, 1).seconds
    assert (outcome <= played + 1e-9).all()
    assert outcome.mean() < oracle.seconds.mean()


def test_without_chance_both_oracles_are_one(recording):
    sure = replace(recording, q=np.broadcast_to(recording.p, recording.q.shape))
    for own, protocol_name in ((sure, "decoupled"), (recording, "coupled")):
        world = World.load(toy_scenario(protocol_name), "train", own)
        both = (oracle(world, 4, 0).seconds for oracle in (law_oracle, outcome_oracle))
        np.testing.assert_array_equal(*both)


def test_an_oracle_never_risks_a_round_that_outlasts_the_deadline():
    """A refused block would take 20 s on this link, so only blocks that surely stand are sent."""
    profile = replace(PROFILE, vocab_size=50_000)
    world = small_world(
        drawn_recording(0, [9, 8]), "decoupled", profile=profile, deadline_s=10.0,
        link=ConstantLink(1e5, 8e4, rtt_s=(0.02, 0.02)),
    )  # fmt: skip
    for make in (law_oracle, outcome_oracle):
        scores = judge(world, make(world, 8, 0), 8, 0)
        assert (scores.speedup >= 0.99).all()


def test_lengths_and_widths_are_those_of_the_scenario(recording):
    changes = {"draft_lengths": (2, 5), "branch_widths": (1,)}
    world = World.load(toy_scenario("decoupled", **changes), "train", recording)
    oracle = outcome_oracle(world, 4, 0)
    assert set(oracle._choices.length) == {2, 5}
    np.testing.assert_allclose(judge(world, oracle, 4, 0).seconds, oracle.seconds, rtol=1e-12)


def test_links_that_change_and_other_sessions_are_refused(recording):
    link = GilbertElliottLink(
        good_bps=1e6, bad_bps=1e4, mean_good_s=1.0, mean_bad_s=1.0, slot_s=0.1
    )
    world = World.load(toy_scenario("decoupled", link=link), "train", recording)
    with pytest.raises(InvalidSetting, match="need links that do not change"):
        outcome_oracle(world, 2, 0)
    world = World.load(toy_scenario("decoupled"), "train", recording)
    with pytest.raises(InvalidSetting, match="knows 2 sessions, got 3"):
        judge(world, law_oracle(world, 2, 0), 3, 0)
