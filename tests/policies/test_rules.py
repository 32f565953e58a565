"""Rules follow their formulas, see checks only, and stay within their scenario."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidAction, InvalidSetting
from covspec_core.rounds import CHANCES, RoundAction
from covspec_core.wire import download_bytes
from env.play import World
from policies.judging import judge
from policies.rules import (
    AdaptiveRule,
    Fixed,
    Foresight,
    Random,
    RuleSettings,
    device_only,
    edge_only,
)
from tests.policies.conftest import status_with, toy_scenario

LOSSLESS = RuleSettings(gate_threshold=float("inf"))


def slow_rate(scenario, rule, acceptance, row, g):
    """``E(A, g) / (g t_d + t_v(g + 1) + D + (1 - A^g) t_p)``, term by term, for one session."""
    profile = scenario.profile
    trip_s = rule.delay_scale * row["rtt_s"]
    if g == 0:
        alone_s = scenario.edge_burst * profile.edge_step_s * row["edge_factor"]
        return scenario.edge_burst / (alone_s + (0.0 if row["streaming"] else trip_s))
    a = min(max(acceptance, 0.01), 0.99) ** rule.acceptance_scale
    tokens = sum(a**k for k in range(g + 1))
    steps = max(g - row["ready"], 0)
    draft_s = steps * (profile.draft_step_s + profile.draft_keep_s * rule.keep)
    verify_s = profile.edge_step_s * (1 + profile.verify_slope * g)
    law_bits = 8 * int(download_bytes(scenario.protocol, True, profile.vocab_size))
    law_s = rule.law_scale * law_bits / row["down_bps"]
    return tokens / (
        draft_s * row["device_factor"] + verify_s * row["edge_factor"] + trip_s + (1 - a**g) * law_s
    )


def slow_update(rule, acceptance, row):
    """The running acceptance after one round, from what its status says."""
    judged = row["accepted"] + row["rejected"]
    checked = row["drafted"] > 0 and row["skipped_run"] == 0 and judged > 0
    hidden = (rule.gate_threshold or np.inf) < np.inf and row["fresh"] and not row["rejected"]
    if not checked or hidden:
        return acceptance
    return acceptance + rule.weight * (row["accepted"] / judged - acceptance)


def drawn_columns(rng, size):
    drafted = rng.choice([0, 1, 2, 4, 8], size)
    accepted = np.minimum(rng.integers(0, 9, size), drafted)
    return {
        "down_bps": 10 ** rng.uniform(4, 8, size),
        "rtt_s": 10 ** rng.uniform(-3, 0, size),
        "device_factor": rng.uniform(0.8, 1.25, size),
        "edge_factor": rng.uniform(0.8, 1.25, size),
        "drafted": drafted,
        "accepted": accepted,
        "rejected": (accepted < drafted) * 1.0,
        "skipped_run": rng.choice([0, 0, 3], size),
        "ready": rng.choice([0, 0, 2, 5], size),
        "streaming": rng.choice([0, 1], size),
        "fresh": rng.choice([0, 0, 1], size),
    }


@pytest.mark.parametrize(
    "rule",
    [
        RuleSettings(),
        RuleSettings(gate_threshold=float("inf"), shortest=0, longest=10),
        RuleSettings(
            keep=1 / 3, weight=0.5, start=0.6, delay_scale=2.0, law_scale=0.5, acceptance_scale=1.7
        ),
    ],
    ids=["paper", "lossless", "scaled"],
)
@pytest.mark.parametrize("seed", range(4))
def test_the_rule_takes_the_best_length_of_a_slow_loop_over_its_formula(scenario, rule, seed):
    rng, size = np.random.default_rng(seed), 6
    controller = AdaptiveRule(scenario, rule)
    controller.begin(size)
    acceptance = [rule.start] * size
    lengths = [g for g in scenario.draft_lengths if rule.shortest <= g <= rule.longest]
    for _ in range(12):
        columns = drawn_columns(rng, size)
        actions = controller.decide(status_with(size, **columns))
        for i in range(size):
            row = {name: values[i] for name, values in columns.items()}
            acceptance[i] = slow_update(rule, acceptance[i], row)
            rates = [slow_rate(scenario, rule, acceptance[i], row, g) for g in lengths]
            assert actions.draft_length[i] == lengths[int(np.argmax(rates))]
    assert set(actions.keep) == {rule.keep}
    assert set(actions.branch_width) == {rule.width}
    assert set(actions.gate_threshold) == {rule.gate_threshold or np.inf}


@pytest.mark.parametrize(
    "columns",
    [
        {"drafted": 0.0, "accepted": 0.0},
        {"drafted": 4.0, "accepted": 4.0, "skipped_run": 4.0},
        {"drafted": 4.0, "accepted": 4.0, "fresh": 1.0},
    ],
    ids=["edge alone", "committed unchecked", "perhaps unchecked at the end of a request"],
)
def test_a_round_without_a_check_teaches_the_rule_nothing(scenario, columns):
    rule = RuleSettings(weight=1.0, start=0.3, gate_threshold=0.5)
    controller, fresh = AdaptiveRule(scenario, rule), AdaptiveRule(scenario, rule)
    controller.begin(1)
    fresh.begin(1)
    controller.decide(status_with(1, **columns))
    now = status_with(1)
    assert controller.decide(now).draft_length == fresh.decide(now).draft_length


def test_begin_forgets_the_running_acceptance(scenario):
    controller = AdaptiveRule(scenario, RuleSettings(weight=1.0))
    controller.begin(2)
    first = controller.decide(status_with(2)).draft_length
    controller.decide(status_with(2, drafted=1.0, rejected=1.0))
    assert (controller.decide(status_with(2)).draft_length < first).all()
    controller.begin(2)
    np.testing.assert_array_equal(controller.decide(status_with(2)).draft_length, first)


@pytest.mark.parametrize("start", [0.3, 0.6, 0.9])
def test_a_longer_delay_never_shortens_drafts(scenario, start):
    delays = np.geomspace(1e-3, 5.0, 60)
    controller = AdaptiveRule(scenario, RuleSettings(start=start, longest=10))
    controller.begin(len(delays))
    lengths = controller.decide(status_with(len(delays), rtt_s=delays)).draft_length
    assert (np.diff(lengths) >= 0).all()
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize("longest", [4, 10])
def test_sure_acceptance_means_the_longest_draft(scenario, longest):
    controller = AdaptiveRule(scenario, RuleSettings(start=1 - 1e-9, longest=longest))
    controller.begin(1)
    assert controller.decide(status_with(1, down_bps=1e9)).draft_length == longest


@pytest.mark.parametrize(
    "wrong",
    [{"weight": 0.0}, {"weight": 1.1}, {"start": 0.0}, {"start": 1.0}, {"shortest": -1},
     {"shortest": 5, "longest": 4}],
    ids=str,
)  # fmt: skip
def test_impossible_constants_are_refused(wrong):
    with pytest.raises(InvalidSetting, match="rule needs"):
        RuleSettings(**wrong)


def test_random_covers_all_choices_and_repeats_itself(scenario):
    controller = Random(scenario, seed=3)
    controller.begin(5000)
    first = controller.decide(status_with(5000))
    assert set(first.keep) == set(scenario.keep_levels)
    assert set(first.draft_length) == set(scenario.draft_lengths)
    assert set(first.branch_width) == set(scenario.branch_widths)
    controller.begin(5000)
    np.testing.assert_array_equal(controller.decide(status_with(5000)).keep, first.keep)


def test_the_edge_alone_plays_at_its_own_speed(world, scenario):
    speedup = judge(world, edge_only(scenario), 32, 0).speedup
    np.testing.assert_allclose(speedup, 1.0, rtol=0.02)


def test_the_device_alone_never_calls(world, scenario):
    scores = judge(world, device_only(scenario), 16, 0)
    assert scores.bytes.sum() == scores.charged.sum() == 0
    assert scores.deviations.sum() > 0


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (RoundAction(0.5, 4, 1), "keep must be a recorded level"),
        (RoundAction(1.0, 11, 1), "draft_length must be at most 10"),
        (RoundAction(1.0, 4, 9), "branch_width must be at most 4"),
    ],
    ids=str,
)
def test_an_action_outside_the_scenario_is_refused(world, action, said):
    with pytest.raises(InvalidAction, match=said):
        judge(world, Fixed(action), 2, 0)


def test_rules_that_a_scenario_has_no_choices_for_are_refused(scenario):
    with pytest.raises(InvalidSetting, match=r"needs a draft length in \[11, 20\]"):
        AdaptiveRule(scenario, RuleSettings(shortest=11, longest=20))
    with pytest.raises(InvalidSetting, match="edge_only needs draft length 0"):
        edge_only(toy_scenario(draft_lengths=(1, 2)))


def test_a_world_refuses_keep_levels_that_were_not_recorded(recording):
    with pytest.raises(InvalidSetting, match=r"keep_levels must be among .*got \[0.5\]"):
        World.load(toy_scenario(keep_levels=(0.0, 0.5, 1.0)), "train", recording)


def foresee(scenario, **columns):
    chances = {f"chance_{n}": columns.pop("each", 0.9) ** n for n in CHANCES}
    rule = Foresight(scenario, RuleSettings(shortest=0, longest=10))
    rule.begin(1)
    return rule.decide(status_with(1, **({"awake": 1.0} | chances | columns))).draft_length[0]


def test_foresight_drafts_until_a_token_that_will_not_stand(scenario):
    sure = {f"chance_{n}": float(n <= 3) * 0.99**n for n in CHANCES}
    assert foresee(scenario, **sure) == 3


def test_foresight_asleep_is_the_adaptive_rule(scenario):
    settings = RuleSettings(shortest=0, longest=10)
    asleep = status_with(1, awake=0.0)
    rules = Foresight(scenario, settings), AdaptiveRule(scenario, settings)
    for rule in rules:
        rule.begin(1)
    both = [rule.decide(asleep) for rule in rules]
    assert both[0].draft_length == both[1].draft_length


def test_foresight_leaves_hopeless_places_to_the_edge(scenario):
    assert foresee(scenario, each=0.02, streaming=1.0) == 0


@pytest.mark.parametrize(("stop", "foresees"), [(0.0, False), (0.5, True)])
def test_a_fixed_action_goes_by_the_head_if_a_chance_ends_its_blocks(stop, foresees):
    assert Fixed(RoundAction(1.0, 2, 0, chance_stop=stop)).foresees == foresees
