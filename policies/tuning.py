"""Searches a rule's constants on the training split, with one budget for all rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.samplers import GPSampler

from covspec_core.randomness import mix
from covspec_core.scenario import Scenario
from env.play import World
from policies.judging import judge_mix
from policies.league import Rule
from policies.search import longest_range
from policies.settings import TuningSettings

Progress = Callable[[int, float], None]
_FINAL = 1
"""Tells the sessions of the finalists from those of the trials."""


def _silent(trial: int, best: float) -> None:
    """Says nothing."""


def final_seed(seed: int) -> int:
    """Of the sessions on which the finalists of a search with this seed are judged."""
    return int(mix(seed, _FINAL))


def tune(
    worlds: Sequence[World],
    rule: Rule,
    budget: TuningSettings,
    seed: int,
    progress: Progress = _silent,
) -> tuple[Any, float]:
    """Constants of a rule with the best mean speed-up, under the scenario's gate.

    The best of many trials owes some of its speed-up to their sessions. So the best few are judged
    again on others, and with them the first that was tried: a rule's own constants, below which
    no search should end.

    Args:
        worlds: Training scenarios with equal choices, links and requests.
        rule: Which one.
        budget: Of the search; a rule with a grid has all of it tried instead, be it more or less.
        seed: Of the search and of the sessions.
        progress: Called with the trial's number and the best value so far.

    Returns:
        The constants and their speed-up on the finalists' sessions.
    """

    def speedup(constants: Any, sessions: int, seed: int) -> float:
        scores = judge_mix(worlds, lambda own: rule.make(own, constants), sessions, seed)
        return float(scores.speedup.mean())

    tried: dict[Any, float] = {}
    tries = _tries(rule, worlds[0].scenario, budget.trials, seed, tried)
    for number, constants in enumerate(tries):
        if constants not in tried:
            tried[constants] = speedup(constants, budget.sessions, seed)
        progress(number + 1, max(tried.values()))
    best = sorted(tried, key=lambda constants: -tried[constants])[: budget.finalists]
    finalists = dict.fromkeys([next(iter(tried)), *best])
    judged = {one: speedup(one, budget.final_sessions, final_seed(seed)) for one in finalists}
    return max(judged.items(), key=lambda item: item[1])


def _tries(
    rule: Rule, scenario: Scenario, trials: int, seed: int, tried: dict[Any, float]
) -> Iterator[Any]:
    """Constants to try one by one; the speed-up of each stands in ``tried`` before the next."""
    if rule.grid is not None:
        yield from rule.grid(scenario)
        return
    assert rule.suggest is not None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=GPSampler(seed=seed))
    if _allows(scenario, rule.constants()):
        for start in _starts(asdict(rule.constants()), scenario):
            study.enqueue_trial(start)
    for _ in range(trials):
        trial = study.ask()
        constants = rule.suggest(trial, scenario)
        yield constants
        study.tell(trial, tried[constants])


def _starts(own: dict[str, Any], scenario: Scenario) -> list[dict[str, Any]]:
    """A rule's own constants; then the same at every share of visual tokens, free in its lengths.

    What it keeps and whether it knows the edge alone are of the system that it comes from; the
    search leaves such constants late if it begins at no others.
    """
    lengths = {"shortest": 0, "longest": longest_range(scenario)[1]}
    free = {name: value for name, value in lengths.items() if name in own}
    return [own, *(own | free | {"keep": keep} for keep in scenario.keep_levels)]


def _allows(scenario: Scenario, constants: Any) -> bool:
    """Whether a rule's own constants are among a scenario's choices, to start the search from."""
    low, high = longest_range(scenario)
    return (
        constants.keep in scenario.keep_levels
        and constants.width in scenario.branch_widths
        and low <= constants.longest <= high
    )
