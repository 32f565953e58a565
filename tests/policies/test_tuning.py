"""The search never ends below the paper's constants, and repeats itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from env.play import World
from policies.factory import TunedOnce
from policies.judging import judge
from policies.rules import AdaptiveRule, RuleSettings
from policies.settings import TuningSettings
from policies.tuning import tune_rule
from tests.policies.conftest import toy_scenario


@pytest.mark.parametrize("trials", [1, 12])
def test_the_tuned_rule_is_at_least_as_good_as_the_papers(world, scenario, trials):
    found, speedup = tune_rule(world, trials, 16, seed=0)
    paper = AdaptiveRule(scenario, RuleSettings(gate_threshold=float("inf")))
    assert speedup >= judge(world, paper, 16, 0).speedup.mean()
    assert judge(world, AdaptiveRule(scenario, found), 16, 0).speedup.mean() == speedup
    assert found.gate_threshold is None
    assert found.keep in scenario.keep_levels
    assert found.width in scenario.branch_widths


def test_equal_seeds_find_equal_constants(world):
    first, same, other = (tune_rule(world, 6, 8, seed=seed)[0] for seed in (3, 3, 4))
    assert first == same
    assert first != other


@pytest.mark.parametrize("lengths", [(0, 1), (0, 12), (1, 10), (0, 2, 9), (5,)], ids=str)
def test_it_searches_any_choice_of_draft_lengths(recording, lengths):
    changes = {"draft_lengths": lengths, "branch_widths": (0,)}
    world = World.load(toy_scenario(**changes), "train", recording)
    found, speedup = tune_rule(world, 15, 4, seed=0)
    assert 0 <= found.shortest <= found.longest <= lengths[-1]
    assert speedup > 0


def test_progress_is_told_and_never_falls(world):
    told = []
    tune_rule(world, 5, 4, 0, lambda trial, best: told.append((trial, best)))
    assert [trial for trial, _ in told] == [1, 2, 3, 4, 5]
    assert [best for _, best in told] == sorted(best for _, best in told)


def test_constants_are_searched_once(world):
    loads, lines = [], []

    def load():
        loads.append(1)
        return world

    tuned = TunedOnce(load, TuningSettings(trials=2, sessions=4), 0, lines.append)
    assert loads == []
    assert tuned() == tuned()
    assert loads == [1]
    assert "tuning the rule: 2 trials of 4 sessions" in lines[0]
    assert replace(tuned()) == tuned()
