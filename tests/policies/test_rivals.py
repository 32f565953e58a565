"""Rules of other systems do what their sources say."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import CHANCES
from policies.goodput import Goodput, GoodputSettings
from policies.judging import judge
from policies.league import RULES
from policies.rivals import (
    AdaptiveSteps,
    AdaptiveStepsSettings,
    HuggingFace,
    HuggingFaceSettings,
    Threshold,
    ThresholdSettings,
)
from policies.rules import AdaptiveRule, Foresight, RuleSettings
from policies.stops import (
    AdaEdl,
    AdaEdlSettings,
    ForesightStop,
    ForesightStopSettings,
    SpecDecPP,
    SpecDecPPSettings,
    Svip,
    SvipSettings,
)
from tests.policies.conftest import status_with, toy_scenario

EVERY = tuple(range(11))
KINDS = sorted(set(RULES) - {"fixed"})


def begun(kind, settings, size=1, lengths=EVERY, **changes):
    rule = kind(toy_scenario(draft_lengths=lengths, **changes), settings)
    rule.begin(size)
    return rule


def after(drafted, accepted, **columns):
    """The status that follows a checked round of one session."""
    told = {"drafted": drafted, "accepted": accepted, "rejected": float(accepted < drafted)}
    return status_with(1, **(told | columns))


def lengths_after(rule, rounds):
    """Lengths that a rule sets at first and after every round ``(drafted, accepted)``."""
    first = rule.decide(status_with(1)).draft_length
    return [int(first[0])] + [int(rule.decide(after(*r)).draft_length[0]) for r in rounds]


def test_hugging_face_adds_two_when_all_stands_and_takes_one_off_otherwise():
    rule = begun(HuggingFace, HuggingFaceSettings(start=3))
    assert lengths_after(rule, [(3, 3), (5, 2), (4, 4), (6, 0), (5, 4)]) == [3, 5, 4, 6, 5, 4]


def test_hugging_face_stays_between_one_and_the_longest():
    rule = begun(HuggingFace, HuggingFaceSettings(start=2, longest=5))
    assert lengths_after(rule, [(2, 2), (4, 4), (5, 5)]) == [2, 4, 5, 5]
    assert lengths_after(rule, [(5, 0)] * 7)[-1] == 1


def test_hugging_face_keeps_its_length_when_nothing_was_checked():
    rule = begun(HuggingFace, HuggingFaceSettings(start=4))
    rule.decide(status_with(1))
    for unchecked in (after(0, 0), after(4, 4, skipped_run=4.0)):
        assert rule.decide(unchecked).draft_length[0] == 4


def test_a_length_that_the_scenario_lacks_becomes_the_next_shorter_one():
    rule = begun(HuggingFace, HuggingFaceSettings(start=7), lengths=(0, 2, 5, 9))
    assert lengths_after(rule, [(5, 5), (9, 0)]) == [5, 9, 5]


def test_goodput_is_a_slow_loop_over_its_formula():
    settings = GoodputSettings(window=1, weight=0.5, patience=0, explore=0.0, shortest=1, longest=6)
    rule, seen = begun(Goodput, settings), [0.9] * 6
    scenario = toy_scenario()
    lengths = lengths_after(rule, rounds := [(4, 4), (4, 1), (4, 0), (4, 1), (4, 4), (4, 0)])
    for (drafted, accepted), length in zip(rounds, lengths[1:], strict=True):
        for i in range(min(accepted + 1, drafted)):
            seen[i] += 0.5 * ((i < accepted) - seen[i])
        speeds = []
        for g in range(1, 7):
            stand = np.cumprod(seen[:g])
            profile = scenario.profile
            step_s = profile.draft_step_s + profile.draft_keep_s / 12
            law_s = 8 * 16 / 1e7
            spent = g * step_s + profile.edge_step_s * (1 + profile.verify_slope * g) + 0.02
            speeds.append((1 + stand.sum()) / (spent + (1 - stand[-1]) * law_s))
        assert length == 1 + int(np.argmax(speeds))


def test_goodput_sees_that_only_late_positions_fail():
    settings = GoodputSettings(window=1, weight=1.0, patience=0, explore=0.0)
    rule = begun(Goodput, settings)
    assert lengths_after(rule, [(10, 3)] * 3)[-1] == 3


def test_goodput_waits_for_a_window_and_for_a_change_worth_it():
    settings = GoodputSettings(window=3, weight=1.0, patience=0, explore=0.0)
    lengths = lengths_after(begun(Goodput, settings), [(8, 2)] * 3)
    assert lengths[0] == lengths[1] == lengths[2] > lengths[3] == 2
    stubborn = begun(Goodput, GoodputSettings(window=1, weight=1.0, patience=10, explore=0.0))
    assert len(set(lengths_after(stubborn, [(8, 2)] * 3))) == 1


def test_goodput_explores_with_the_longest_block():
    rule = begun(Goodput, GoodputSettings(start=0.1, explore=0.25), size=4000)
    drafted = rule.decide(status_with(4000)).draft_length
    assert set(drafted) == {1, 10}
    assert abs((drafted == 10).mean() - 0.25) < 0.03


def slow_steps(settings, accepted):
    """SGLang's loop over single rounds, with its candidates as they are."""
    steps, place = sorted({settings.low, settings.middle, settings.high}), 1
    mean, chosen = float(steps[1] - 1), [steps[1]]
    for count, stood in enumerate(accepted, start=1):
        if steps[place] > 0:
            mean += settings.weight * (stood - mean)
        late = count - settings.warmup
        if late > 0 and late % settings.interval == 0:
            start = place
            if steps[place] == 0:
                place = min(place + 1, 2)
            else:
                while place > 0:
                    under = 0.5 if steps[place - 1] == 0 else steps[place - 1] - 0.5
                    if mean > under + settings.down:
                        break
                    place -= 1
                while place >= start and place < 2 and mean > steps[place] - 0.5 + settings.up:
                    place += 1
        chosen.append(steps[place])
    return chosen


@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("seed", range(6))
def test_adaptive_steps_follow_the_loop_of_their_source(low, seed):
    rng = np.random.default_rng(seed)
    settings = AdaptiveStepsSettings(low=low, weight=0.5, interval=2, warmup=1)
    rule, accepted = begun(AdaptiveSteps, settings), []
    chosen = [int(rule.decide(status_with(1)).draft_length[0])]
    for _ in range(40):
        drafted = chosen[-1]
        accepted.append(int(rng.integers(0, drafted + 1)) if rng.random() < 0.5 else drafted)
        chosen.append(int(rule.decide(after(drafted, accepted[-1])).draft_length[0]))
    assert chosen == slow_steps(settings, accepted)
    assert len(set(chosen)) > 1


def foresee(settings, each, **columns):
    chances = {f"chance_{n}": each**n for n in CHANCES}
    rule = begun(Threshold, settings)
    return rule.decide(status_with(1, **({"awake": 1.0} | chances | columns))).draft_length[0]


@pytest.mark.parametrize(("stop", "expected"), [(0.3, 3), (0.5, 6), (0.64, 9), (0.9, 10)])
def test_the_threshold_rule_drafts_while_a_rejection_is_unlikely_enough(stop, expected):
    settings = ThresholdSettings(stop=stop, shortest=0)
    assert foresee(settings, 0.9) == expected  # 0.9^3 >= 0.7, 0.9^6 >= 0.5, 0.9^9 >= 0.36


def test_the_threshold_rule_stays_in_its_range_and_knows_nothing_asleep():
    settings = ThresholdSettings(stop=0.5, shortest=2, longest=5, asleep=3)
    assert foresee(settings, 0.01) == 2
    assert foresee(settings, 0.999) == 5
    assert foresee(settings, 0.0, awake=0.0) == 3
    assert foresee(ThresholdSettings(stop=0.5, shortest=0), 0.01) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_begin_makes_every_rule_forget(world, kind):
    rule = RULES[kind].make(world.scenario, RULES[kind].constants())
    first, second = (judge(world, rule, 8, 0).seconds for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_do_not_influence_each_other(world, kind):
    rule = RULES[kind].make(world.scenario, RULES[kind].constants())
    np.testing.assert_array_equal(
        judge(world, rule, 8, 0).seconds[:3], judge(world, rule, 3, 0).seconds
    )


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rule", "foresight"}))
def test_every_rival_takes_the_gate_of_its_scenario(kind):
    scenario = toy_scenario(gate_threshold=0.4)
    rule = RULES[kind].make(scenario, RULES[kind].constants())
    rule.begin(2)
    assert set(rule.decide(status_with(2)).gate_threshold) == {0.4}


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (HuggingFaceSettings, {"shortest": 4, "longest": 3}),
        (GoodputSettings, {"explore": 1.5}),
        (AdaptiveStepsSettings, {"low": 8}),
        (ThresholdSettings, {"stop": -0.1}),
    ],
)  # fmt: skip
def test_impossible_constants_are_refused(settings, wrong):
    with pytest.raises(InvalidSetting, match="rule needs 0 <="):
        settings(**wrong)


def test_a_scenario_without_a_fitting_length_is_refused():
    with pytest.raises(InvalidSetting, match=r"needs a draft length in \[11, 12\]"):
        begun(HuggingFace, HuggingFaceSettings(shortest=11, longest=12))


def test_with_one_acceptance_for_all_positions_goodput_is_the_papers_rule():
    settings = {"start": 0.7, "shortest": 0, "longest": 10}
    rules = (
        begun(Goodput, GoodputSettings(**settings, explore=0.0)),
        begun(AdaptiveRule, RuleSettings(**settings)),
    )
    status = status_with(1, rtt_s=0.3)
    assert len({int(rule.decide(status).draft_length[0]) for rule in rules}) == 1


def test_svip_stops_where_the_root_of_the_scaled_entropy_passes_its_threshold():
    rule = begun(Svip, SvipSettings(scale=0.15, threshold=0.3, longest=8))
    action = rule.decide(status_with(1))
    assert action.draft_length[0] == 8
    assert np.sqrt(0.15 * action.entropy_stop[0]) == pytest.approx(0.3)


def test_ada_edl_stops_where_its_bound_meets_a_threshold_that_follows_the_acceptance():
    settings = AdaEdlSettings(gamma=0.2, start=0.4, target=0.8, weight=1.0, step=0.1)
    rule, thresholds = begun(AdaEdl, settings), []
    for status in (status_with(1), after(4, 1), after(4, 0), after(4, 4), after(0, 0)):
        stop = rule.decide(status).entropy_stop[0]
        thresholds.append(1 - np.sqrt(0.2 * stop))
    # Too few stood twice, then all; a round that nothing was checked in teaches nothing.
    assert thresholds == pytest.approx([0.4, 0.5, 0.6, 0.5, 0.5])


def test_specdec_pp_stops_by_the_chance_of_a_rejection_and_leaves_hopeless_places_to_the_edge():
    rule = begun(SpecDecPP, SpecDecPPSettings(stop=0.7, shortest=0, longest=8))
    status = status_with(3, awake=np.array([1.0, 1.0, 0.0]), chance_1=np.array([0.4, 0.2, 0.0]))
    action = rule.decide(status)
    assert action.draft_length.tolist() == [8, 0, 8]
    assert action.chance_stop == pytest.approx(0.3)
    assert np.isinf(action.entropy_stop).all()


def test_foresight_stop_plans_as_foresight_and_stops_as_specdec_pp():
    chances = {f"chance_{n}": np.array([0.9, 0.02, 0.0]) ** n for n in CHANCES}
    status = status_with(3, awake=np.array([1.0, 1.0, 0.0]), streaming=1.0, **chances)
    plan = {"shortest": 0, "longest": 8, "start": 0.6}
    both = begun(ForesightStop, ForesightStopSettings(**plan, stop=0.4), 3).decide(status)
    foresight = begun(Foresight, RuleSettings(**plan), 3).decide(status)
    specdec = begun(SpecDecPP, SpecDecPPSettings(stop=0.4), 3).decide(status)
    np.testing.assert_array_equal(both.draft_length, foresight.draft_length)
    assert both.draft_length[0] > 0 == both.draft_length[1]
    np.testing.assert_array_equal(both.chance_stop, specdec.chance_stop)


def test_foresight_that_risks_everything_never_stops_within_the_block(world, scenario):
    plan = {"keep": 1 / 3, "shortest": 0, "longest": 10}
    bold = ForesightStop(scenario, ForesightStopSettings(**plan, stop=1.0))
    foresight = Foresight(scenario, RuleSettings(**plan))
    np.testing.assert_array_equal(
        judge(world, bold, 8, 0).seconds, judge(world, foresight, 8, 0).seconds
    )


@pytest.mark.parametrize(
    ("constants", "values"),
    [(SpecDecPPSettings, {"stop": 1.5}), (ForesightStopSettings, {"stop": 1.5}),
     (SvipSettings, {"scale": 0.0}), (SvipSettings, {"threshold": -1.0}),
     (AdaEdlSettings, {"gamma": 0.0}), (AdaEdlSettings, {"target": 1.5})],
)  # fmt: skip
def test_impossible_constants_of_a_stop_are_refused(constants, values):
    with pytest.raises(InvalidSetting, match=next(iter(values))):
        constants(**values)
