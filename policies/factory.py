"""Controllers from their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from covspec_core.engine import Controller
from covspec_core.rounds import RoundAction
from covspec_core.scenario import Scenario
from env.codec import Codec
from env.play import World
from env.presets import build
from policies.learned import load_controller
from policies.rules import (
    AdaptiveRule,
    Fixed,
    Foresight,
    Random,
    RuleSettings,
    device_only,
    edge_only,
)
from policies.settings import ControllerSettings, TuningSettings
from policies.tuning import tune_rule

RULES = {"rule": AdaptiveRule, "foresight": Foresight}


def make_controller(
    settings: ControllerSettings,
    scenario: Scenario,
    seed: int,
    tuned: Callable[[], RuleSettings],
) -> Controller:
    """A controller for a scenario.

    Args:
        settings: Which one.
        scenario: What it will control.
        seed: Of random draws.
        tuned: Gives the searched constants when they are needed.
    """
    values = dict(settings.values)
    if settings.kind == "learned":
        return load_controller(values["path"], Codec.of(scenario))
    if settings.kind == "tuned":
        return AdaptiveRule(scenario, tuned())
    if settings.kind in RULES:
        return RULES[settings.kind](scenario, build(RuleSettings, values, settings.name))
    if settings.kind == "fixed":
        return Fixed(build(RoundAction, values, settings.name))
    if settings.kind == "device_only":
        return device_only(scenario, **values)
    return edge_only(scenario) if settings.kind == "edge_only" else Random(scenario, seed)


class TunedOnce:
    """Searches the rule's constants the first time they are asked for.

    Args:
        world: Loads the training world.
        settings: Search budget.
        seed: Of the search.
        say: Takes lines about the search.
    """

    def __init__(
        self,
        world: Callable[[], World],
        settings: TuningSettings,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._world, self._settings, self._seed, self._say = world, settings, seed, say
        self._found: RuleSettings | None = None

    def __call__(self) -> RuleSettings:
        """The constants."""
        if self._found is None:
            budget = self._settings
            self._say(f"tuning the rule: {budget.trials} trials of {budget.sessions} sessions")
            found, speedup = tune_rule(
                self._world(), budget.trials, budget.sessions, self._seed, self._progress
            )
            self._say(f"tuned rule: {speedup:.3f}x on training sessions, {asdict(found)}")
            self._found = found
        return self._found

    def _progress(self, trial: int, best: float) -> None:
        if trial % 20 == 0:
            self._say(f"  trial {trial}/{self._settings.trials}  best {best:.3f}x")
