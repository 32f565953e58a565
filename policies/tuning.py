"""Searches a rule's constants on the training split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import optuna
from optuna.samplers import TPESampler

from covspec_core.scenario import Scenario
from env.play import World
from policies.judging import judge
from policies.rules import AdaptiveRule, RuleSettings


def tune_rule(
    world: World,
    trials: int,
    sessions: int,
    seed: int,
    progress: Callable[[int, float], None] = lambda trial, best: None,
) -> tuple[RuleSettings, float]:
    """Constants of the adaptive rule with the best mean speed-up, under the scenario's gate.

    Args:
        world: Training scenario, links and requests.
        trials: Search budget.
        sessions: Sessions per trial, the same for all.
        seed: Of the search and of the sessions.
        progress: Called with the trial's number and the best value so far.

    Returns:
        The constants and their speed-up.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed))
    if _allows(world.scenario, RuleSettings()):
        study.enqueue_trial(asdict(RuleSettings()))
    for number in range(trials):
        trial = study.ask()
        rule = AdaptiveRule(world.scenario, _suggest(trial, world))
        study.tell(trial, float(judge(world, rule, sessions, seed).speedup.mean()))
        progress(number + 1, study.best_value)
    return _suggest(study.best_trial, world), study.best_value


def _allows(scenario: Scenario, rule: RuleSettings) -> bool:
    """Whether the paper's constants are among a scenario's choices, so that the search has them."""
    lengths = range(*_longest_range(scenario))
    return (
        rule.keep in scenario.keep_levels
        and rule.width in scenario.branch_widths
        and rule.longest in lengths
    )


def _longest_range(scenario: Scenario) -> tuple[int, int]:
    last = scenario.draft_lengths[-1]
    least = next(length for length in scenario.draft_lengths if length > 0)
    return max(min(3, last), least), last + 1


def _suggest(trial: optuna.Trial | optuna.trial.FrozenTrial, world: World) -> RuleSettings:
    scenario = world.scenario
    low, end = _longest_range(scenario)
    longest = trial.suggest_int("longest", low, end - 1)
    most = max(length for length in scenario.draft_lengths if length <= longest)
    return RuleSettings(
        keep=trial.suggest_categorical("keep", scenario.keep_levels),
        width=trial.suggest_categorical("width", scenario.branch_widths),
        weight=trial.suggest_float("weight", 0.01, 0.6, log=True),
        start=trial.suggest_float("start", 0.5, 0.97),
        shortest=min(trial.suggest_categorical("shortest", [0, 1, 2]), most),
        longest=longest,
        delay_scale=trial.suggest_float("delay_scale", 0.3, 3.0, log=True),
        law_scale=trial.suggest_float("law_scale", 0.3, 3.0, log=True),
        acceptance_scale=trial.suggest_float("acceptance_scale", 0.4, 2.0, log=True),
    )
