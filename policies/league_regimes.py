"""Regimes of a league: those trained on, and held-out ones in groups given in its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from covspec_core.errors import InvalidSetting
from covspec_core.scenario import Scenario
from policies.console import say
from policies.mixes import TRACES_DIR, read_regimes, require_same_choices
from policies.report import ALL

TRAINED: Final = "trained_on"
"""Group of the regimes of the training mix."""


@dataclass(frozen=True)
class Regimes:
    """What is played.

    Attributes:
        mix: Scenarios of training and tuning.
        scenarios: Of every regime, by name.
        groups: Names of the regimes in each group.
    """

    mix: tuple[Scenario, ...]
    scenarios: dict[str, Scenario]
    groups: dict[str, tuple[str, ...]]


def grouped_regimes(config: Mapping[str, Any], held_out: Mapping[str, Any]) -> Regimes:
    """Regimes of a composed configuration; those whose measurements are missing are left out aloud.

    Args:
        config: Composed configuration.
        held_out: Values of the group ``scenario`` by the name of a group; ``None`` strikes it out.

    Raises:
        InvalidSetting: If a name is used twice, a value is impossible or choices differ.
    """
    mix, scenarios = read_regimes(config)
    groups = {TRAINED: tuple(scenarios)}
    for group, values in held_out.items():
        if values is None or _unmeasured(group, values):
            continue
        _, made = read_regimes({**config, "scenario": {**values, "train_on": None}})
        require_same_choices(mix[0], made)
        taken = (set(scenarios) | {ALL, TRAINED, *held_out}) & set(made)
        if taken:
            raise InvalidSetting(
                f"experiment.held_out.{group}: regimes need names of their own, got {sorted(taken)}"
            )
        scenarios, groups[group] = scenarios | made, tuple(made)
    return Regimes(mix, scenarios, groups)


def _unmeasured(group: str, values: Mapping[str, Any]) -> bool:
    """Whether all links of a group replay measurements that are not at hand; a line says so."""
    missing = all(link.get("traces_dir", "") is None for link in values["links"].values())
    if missing:
        say(f"group {group} is left out: it needs measured traces, set {TRACES_DIR}")
    return missing
