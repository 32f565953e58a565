"""Controllers from their settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any, Protocol

from covspec_core.engine import Controller
from covspec_core.recording import Recording
from covspec_core.scenario import Scenario
from env.codec import Codec
from env.play import World
from env.presets import build
from policies.baselines import Elsewhere
from policies.league import RULES
from policies.learned import load_controller
from policies.rules import Random, device_only, edge_only
from policies.settings import ControllerSettings, RunSettings, TuningSettings
from policies.tuning import tune


class Tuned(Protocol):
    """Gives searched constants."""

    def __call__(self, rule: str = "rule") -> Any:
        """Those of a kind of rule."""


def make_controller(
    settings: ControllerSettings,
    scenario: Scenario,
    seed: int,
    tuned: Tuned,
) -> Controller:
    """A controller for a scenario.

    Args:
        settings: Which one.
        scenario: What it will control.
        seed: Of random draws.
        tuned: Gives the searched constants when they are needed.
    """
    if settings.changes:
        inside = replace(scenario, **settings.changes)
        own = make_controller(replace(settings, changes={}), inside, seed, tuned)
        return Elsewhere(own, settings.changes)
    values = dict(settings.values)
    if settings.kind == "learned":
        return load_controller(values["path"], Codec.of(scenario))
    if settings.kind == "tuned":
        kind = str(values.get("rule", "rule"))
        return RULES[kind].make(scenario, tuned(kind))
    if settings.kind in RULES:
        rule = RULES[settings.kind]
        return rule.make(scenario, build(rule.constants, values, settings.name))
    if settings.kind == "device_only":
        return device_only(scenario, **values)
    return edge_only(scenario) if settings.kind == "edge_only" else Random(scenario, seed)


class TunedOnce:
    """Searches a rule's constants the first time they are asked for.

    Args:
        worlds: Loads the training worlds.
        settings: Search budget.
        seed: Of the search.
        say: Takes lines about the search.
    """

    def __init__(
        self,
        worlds: Callable[[], Sequence[World]],
        settings: TuningSettings,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._worlds, self._settings, self._seed, self._say = cache(worlds), settings, seed, say
        self._found: dict[str, Any] = {}

    @staticmethod
    def of(settings: RunSettings, recording: Recording, say: Callable[[str], None]) -> TunedOnce:
        """On the mix that a run trains on, with its budget and seed."""
        return TunedOnce(
            lambda: [World.load(own, "train", recording, settings.seed) for own in settings.mix],
            settings.tuning, settings.seed, say,
        )  # fmt: skip

    def __call__(self, rule: str = "rule") -> Any:
        """The constants of a kind of rule, see :data:`~policies.league.RULES`."""
        if rule not in self._found:
            budget, name = self._settings, "rule" if rule == "rule" else f"rule {rule}"
            self._say(f"tuning the {name}: {budget.trials} trials of {budget.sessions} sessions")
            found, speedup = tune(self._worlds(), RULES[rule], budget, self._seed, self._progress)
            self._say(f"tuned {name}: {speedup:.3f}x on training sessions, {asdict(found)}")
            self._found[rule] = found
        return self._found[rule]

    def _progress(self, trial: int, best: float) -> None:
        if trial % 20 == 0:
            self._say(f"  trial {trial}/{self._settings.trials}  best {best:.3f}x")
