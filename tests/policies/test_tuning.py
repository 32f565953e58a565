"""The search never ends below the paper's constants, and repeats itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from env.play import World
from policies import tuning
from policies.factory import TunedOnce
from policies.judging import judge
from policies.league import RULES
from policies.rules import AdaptiveRule, Fixed, RuleSettings
from policies.search import fixed
from policies.settings import TuningSettings
from policies.tuning import final_seed, tune
from tests.policies.conftest import toy_scenario


def budget(trials, sessions, finalists=3, final_sessions=4):
    return TuningSettings(trials, sessions, finalists, final_sessions)


def speed_of(world, rule, constants, sessions, seed):
    controller = rule.make(world.scenario, constants)
    return judge(world, controller, sessions, seed).speedup.mean()


def witnessed(rule):
    """The rule, and a list of all constants that a search will ask of it."""
    asked = []

    def suggest(trial, scenario):
        asked.append(rule.suggest(trial, scenario))
        return asked[-1]

    return replace(rule, suggest=suggest), asked


def every_judged(monkeypatch):
    """Sessions and seed of every set of constants that is played, in order."""
    played, judge_mix = [], tuning.judge_mix

    def told(worlds, make, sessions, seed):
        played.append((sessions, seed))
        return judge_mix(worlds, make, sessions, seed)

    monkeypatch.setattr(tuning, "judge_mix", told)
    return played


@pytest.mark.parametrize("trials", [1, 12])
def test_the_tuned_rule_is_at_least_as_good_as_the_papers(world, scenario, trials):
    rule = RULES["rule"]
    found, speedup = tune([world], rule, budget(trials, 16, 1, 24), seed=0)
    paper = AdaptiveRule(scenario, RuleSettings(gate_threshold=float("inf")))
    assert speedup >= judge(world, paper, 24, final_seed(0)).speedup.mean()
    assert speed_of(world, rule, found, 24, final_seed(0)) == speedup
    assert found.gate_threshold is None
    assert found.keep in scenario.keep_levels
    assert found.width in scenario.branch_widths


def test_equal_seeds_try_and_find_equal_constants(world):
    def search(seed):
        rule, asked = witnessed(RULES["rule"])
        return tune([world], rule, budget(12, 8), seed), asked

    first, same, other = (search(seed) for seed in (3, 3, 4))
    assert first == same
    assert first[1] != other[1]


@pytest.mark.parametrize("lengths", [(0, 1), (0, 12), (1, 10), (0, 2, 9), (5,)], ids=str)
def test_it_searches_any_choice_of_draft_lengths(recording, lengths):
    changes = {"draft_lengths": lengths, "branch_widths": (0,)}
    world = World.load(toy_scenario(**changes), "train", recording)
    found, speedup = tune([world], RULES["rule"], budget(15, 4), seed=0)
    assert 0 <= found.shortest <= found.longest <= lengths[-1]
    assert speedup > 0


@pytest.mark.parametrize("kind", sorted(set(RULES) - {"fixed"}))
@pytest.mark.parametrize("lengths", [(0, 1), (2, 9)], ids=str)
def test_every_rule_is_searched_with_the_same_budget(recording, kind, lengths):
    world = World.load(toy_scenario(draft_lengths=lengths), "train", recording)
    told, rule = [], RULES[kind]
    found, speedup = tune([world], rule, budget(4, 2), 0, lambda *progress: told.append(progress))
    assert len(told) == 4
    assert isinstance(found, rule.constants)
    assert speed_of(world, rule, found, 4, final_seed(0)) == speedup


def test_the_defaults_of_a_rule_are_tried_first(world):
    for kind in set(RULES) - {"fixed"}:
        found, _ = tune([world], RULES[kind], budget(1, 2), 0)
        assert found == RULES[kind].constants()


@pytest.mark.parametrize("kind", ["rule", "specdec_pp", "svip", "adaptive_steps"])
def test_a_search_begins_at_every_share_of_tokens_with_all_lengths(world, kind):
    rule, asked = witnessed(RULES[kind])
    tune([world], rule, budget(6, 2), 0)
    own, *starts = asked
    assert own == rule.constants()
    assert [start.keep for start in starts] == list(world.scenario.keep_levels)
    if kind in ("rule", "specdec_pp"):
        assert {(start.shortest, start.longest) for start in starts} == {(0, 10)}


def test_the_best_few_and_the_first_are_judged_again_on_other_sessions(world, monkeypatch):
    played = every_judged(monkeypatch)
    tune([world], RULES["rule"], budget(12, 8, finalists=3, final_sessions=16), seed=0)
    assert played[:12] == [(8, 0)] * 12
    assert played[12:] in ([(16, final_seed(0))] * 3, [(16, final_seed(0))] * 4)


def test_the_best_fixed_setting_comes_from_the_whole_grid(recording):
    changes = {"draft_lengths": (0, 2, 4), "branch_widths": (0, 2), "gate_threshold": 0.9}
    world = World.load(toy_scenario(**changes), "train", recording)
    told, grid = [], fixed(world.scenario)
    every = budget(1, 4, finalists=len(grid), final_sessions=6)
    best, speedup = tune([world], RULES["fixed"], every, 0, lambda *said: told.append(said))
    assert len(told) == len(grid) == 1 + 5 * 2 * 2
    speedups = [judge(world, Fixed(action), 6, final_seed(0)).speedup.mean() for action in grid]
    assert speedup == max(speedups)
    assert speed_of(world, RULES["fixed"], best, 6, final_seed(0)) == speedup
    assert {action.gate_threshold for action in grid} == {0.9}


def test_one_finalist_is_the_best_trial_unless_the_first_beats_it(recording):
    changes = {"draft_lengths": (0, 2, 4), "branch_widths": (0, 2)}
    world = World.load(toy_scenario(**changes), "train", recording)
    best, _ = tune([world], RULES["fixed"], budget(1, 4, finalists=1), 0)
    grid = fixed(world.scenario)
    speedups = [judge(world, Fixed(action), 4, 0).speedup.mean() for action in grid]
    assert best in (grid[0], grid[speedups.index(max(speedups))])


def test_progress_is_told_and_never_falls(world):
    told = []
    tune([world], RULES["rule"], budget(5, 4), 0, lambda trial, best: told.append((trial, best)))
    assert [trial for trial, _ in told] == [1, 2, 3, 4, 5]
    assert [best for _, best in told] == sorted(best for _, best in told)


def test_constants_are_searched_once(world):
    loads, lines = [], []

    def load():
        loads.append(1)
        return [world]

    tuned = TunedOnce(load, budget(2, 4), 0, lines.append)
    assert loads == []
    assert tuned() == tuned()
    assert loads == [1]
    assert "tuning the rule: 2 trials of 4 sessions" in lines[0]
    assert tuned("hugging_face") == tuned("hugging_face")
    assert loads == [1]
    assert "tuning the rule hugging_face: 2 trials" in lines[2]
    assert replace(tuned()) == tuned()
