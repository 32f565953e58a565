"""The search never ends below the paper's constants, and repeats itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from env.play import World
from policies.factory import TunedOnce
from policies.judging import judge
from policies.league import RULES
from policies.rules import AdaptiveRule, Fixed, RuleSettings
from policies.search import fixed
from policies.settings import TuningSettings
from policies.tuning import tune
from tests.policies.conftest import toy_scenario


@pytest.mark.parametrize("trials", [1, 12])
def test_the_tuned_rule_is_at_least_as_good_as_the_papers(world, scenario, trials):
    found, speedup = tune([world], RULES["rule"], trials, 16, seed=0)
    paper = AdaptiveRule(scenario, RuleSettings(gate_threshold=float("inf")))
    assert speedup >= judge(world, paper, 16, 0).speedup.mean()
    assert judge(world, AdaptiveRule(scenario, found), 16, 0).speedup.mean() == speedup
    assert found.gate_threshold is None
    assert found.keep in scenario.keep_levels
    assert found.width in scenario.branch_widths


def test_equal_seeds_find_equal_constants(world):
    first, same, other = (tune([world], RULES["rule"], 6, 8, seed=seed)[0] for seed in (3, 3, 4))
    assert first == same
    assert first != other


@pytest.mark.parametrize("lengths", [(0, 1), (0, 12), (1, 10), (0, 2, 9), (5,)], ids=str)
def test_it_searches_any_choice_of_draft_lengths(recording, lengths):
    changes = {"draft_lengths": lengths, "branch_widths": (0,)}
    world = World.load(toy_scenario(**changes), "train", recording)
    found, speedup = tune([world], RULES["rule"], 15, 4, seed=0)
    assert 0 <= found.shortest <= found.longest <= lengths[-1]
    assert speedup > 0


@pytest.mark.parametrize("kind", sorted(set(RULES) - {"fixed"}))
@pytest.mark.parametrize("lengths", [(0, 1), (2, 9)], ids=str)
def test_every_rule_is_searched_with_the_same_budget(recording, kind, lengths):
    world = World.load(toy_scenario(draft_lengths=lengths), "train", recording)
    told = []
    found, speedup = tune([world], RULES[kind], 4, 2, 0, lambda *progress: told.append(progress))
    assert len(told) == 4
    assert isinstance(found, RULES[kind].constants)
    assert judge(world, RULES[kind].make(world.scenario, found), 2, 0).speedup.mean() == speedup


def test_the_defaults_of_a_rule_are_tried_first(world):
    for kind in set(RULES) - {"fixed"}:
        found, _ = tune([world], RULES[kind], 1, 2, 0)
        assert found == RULES[kind].constants()


def test_the_best_fixed_setting_comes_from_the_whole_grid(recording):
    changes = {"draft_lengths": (0, 2, 4), "branch_widths": (0, 2), "gate_threshold": 0.9}
    world = World.load(toy_scenario(**changes), "train", recording)
    told = []
    best, speedup = tune([world], RULES["fixed"], 1, 4, 0, lambda *progress: told.append(progress))
    grid = fixed(world.scenario)
    assert len(told) == len(grid) == 1 + 5 * 2 * 2
    speedups = [judge(world, Fixed(action), 4, 0).speedup.mean() for action in grid]
    assert speedup == max(speedups)
    assert best == grid[int(np.argmax(speedups))]
    assert {action.gate_threshold for action in grid} == {0.9}


def test_progress_is_told_and_never_falls(world):
    told = []
    tune([world], RULES["rule"], 5, 4, 0, lambda trial, best: told.append((trial, best)))
    assert [trial for trial, _ in told] == [1, 2, 3, 4, 5]
    assert [best for _, best in told] == sorted(best for _, best in told)


def test_constants_are_searched_once(world):
    loads, lines = [], []

    def load():
        loads.append(1)
        return [world]

    tuned = TunedOnce(load, TuningSettings(trials=2, sessions=4), 0, lines.append)
    assert loads == []
    assert tuned() == tuned()
    assert loads == [1]
    assert "tuning the rule: 2 trials of 4 sessions" in lines[0]
    assert tuned("hugging_face") == tuned("hugging_face")
    assert loads == [1]
    assert "tuning the rule hugging_face: 2 trials" in lines[2]
    assert replace(tuned()) == tuned()
