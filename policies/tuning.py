"""Searches a rule's constants on the training split, with one budget for all rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.samplers import TPESampler

from covspec_core.scenario import Scenario
from env.play import World
from policies.judging import judge_mix
from policies.league import Rule
from policies.search import longest_range

Progress = Callable[[int, float], None]


def _silent(trial: int, best: float) -> None:
    """Says nothing."""


def tune(
    worlds: Sequence[World],
    rule: Rule,
    trials: int,
    sessions: int,
    seed: int,
    progress: Progress = _silent,
) -> tuple[Any, float]:
    """Constants of a rule with the best mean speed-up, under the scenario's gate.

    Args:
        worlds: Training scenarios with equal choices, links and requests.
        rule: Which one.
        trials: Search budget; a rule with a grid has all of it tried instead, be it more or less.
        sessions: Sessions per trial, the same for all.
        seed: Of the search and of the sessions.
        progress: Called with the trial's number and the best value so far.

    Returns:
        The constants and their speed-up.
    """

    def speedup(constants: Any) -> float:
        scores = judge_mix(worlds, lambda own: rule.make(own, constants), sessions, seed)
        return float(scores.speedup.mean())

    scenario = worlds[0].scenario
    if rule.grid is not None:
        return _best_of(rule.grid(scenario), speedup, progress)
    assert rule.suggest is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed))
    if _allows(scenario, rule.constants()):
        study.enqueue_trial(asdict(rule.constants()))
    for number in range(trials):
        trial = study.ask()
        study.tell(trial, speedup(rule.suggest(trial, scenario)))
        progress(number + 1, study.best_value)
    return rule.suggest(study.best_trial, scenario), study.best_value


def _best_of(
    grid: list[Any], speedup: Callable[[Any], float], progress: Progress
) -> tuple[Any, float]:
    best, value = grid[0], float("-inf")
    for number, constants in enumerate(grid):
        own = speedup(constants)
        if own > value:
            best, value = constants, own
        progress(number + 1, value)
    return best, value


def _allows(scenario: Scenario, constants: Any) -> bool:
    """Whether a rule's own constants are among a scenario's choices, to start the search from."""
    low, high = longest_range(scenario)
    return (
        constants.keep in scenario.keep_levels
        and constants.width in scenario.branch_widths
        and low <= constants.longest <= high
    )
