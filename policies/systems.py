"""Systems to compare: a controller and what it changes, once or at every threshold of a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from covspec_core.scenario import Scenario
from env.presets import build
from policies.baselines import changed, read_changes
from policies.factory import make_controller
from policies.settings import ControllerSettings


@dataclass(frozen=True)
class SystemSettings:
    """How a system is made; values of one entry under ``experiment.systems``.

    Attributes:
        controller: Name of the group ``controller``, or the folder of a learned one.
        values: Settings of the controller that differ from its file.
        scenario: Fields of the scenario that differ, as in a controller's file.
        thresholds: Of the gate, ``gate_threshold`` of the controller; one system each.
        lossless: Whether it writes the target's own text, so that the edge's answers are its own.
    """

    controller: str
    values: Mapping[str, Any] = field(default_factory=dict)
    scenario: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()
    lossless: bool = False

    def __post_init__(self) -> None:
        if not all(threshold >= 0 for threshold in self.thresholds):
            raise InvalidSetting(f"thresholds must be >= 0, got {self.thresholds}")
        if self.thresholds and self.lossless:
            raise InvalidSetting("a lossless system has no thresholds; its gate is off")


@dataclass(frozen=True)
class System:
    """One way to answer, with everything that decides how.

    Attributes:
        name: In reports and of its file; ``FAMILY`` or ``FAMILY@THRESHOLD``.
        family: Entry that it was made from.
        threshold: Of its gate, if it is one of several.
        lossless: As in :class:`SystemSettings`.
        scenario: What is emulated for all.
        settings: Of its controller, and what that changes.
    """

    name: str
    family: str
    threshold: float | None
    lossless: bool
    scenario: Scenario
    settings: ControllerSettings

    @property
    def keep(self) -> float | None:
        """Share of visual tokens that its controller states, if it does."""
        return self.settings.values.get("keep")

    def controller(self, seed: int) -> tuple[Controller, Scenario]:
        """A controller, and the scenario in which it plays."""
        controller = make_controller(self.settings, self.scenario, seed, _untuned)
        return controller, changed(self.scenario, controller)


def _untuned(rule: str = "rule") -> Any:
    raise InvalidSetting(f"systems take no tuned controllers; give the constants of the {rule}")


def read_systems(scenario: Scenario, entries: Mapping[str, Any]) -> tuple[System, ...]:
    """All systems of a composed configuration, every controller tried.

    Args:
        scenario: What is emulated for all.
        entries: ``SystemSettings`` by family; ``None`` strikes one out.

    Raises:
        InvalidSetting: If a system cannot be made.
    """
    found: list[System] = []
    for family, values in entries.items():
        if not isinstance(values, Mapping | None):
            raise InvalidSetting(f"system {family} must be a mapping or null, got {values!r}")
        if values is not None:
            found += _family(scenario, family, build(SystemSettings, values, f"system {family}"))
    for system in found:
        system.controller(0)
    return tuple(found)


def _family(scenario: Scenario, family: str, settings: SystemSettings) -> list[System]:
    usual, made = ControllerSettings.named(settings.controller), []
    changes = {**usual.changes, **read_changes(settings.scenario, f"system {family}")}
    for threshold in settings.thresholds or (None,):
        own = {} if threshold is None else {"gate_threshold": threshold}
        name = family if threshold is None else f"{family}@{threshold:g}"
        values = {**usual.values, **settings.values, **own}
        controller = replace(usual, name=name, values=values, changes=changes)
        made.append(System(name, family, threshold, settings.lossless, scenario, controller))
    return made
