"""Systems to compare: a protocol, a controller and limits, once or at every threshold of a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from covspec_core.scenario import Scenario
from env.presets import build
from policies.factory import make_controller
from policies.settings import ControllerSettings, read_scenarios


@dataclass(frozen=True)
class SystemSettings:
    """How a system is made; values of one entry under ``experiment.systems``.

    Attributes:
        controller: Name of the group ``controller``, or the folder of a learned one.
        protocol: Name of the group ``protocol``.
        values: Settings of the controller that differ from its file.
        scenario: Fields of the scenario that differ.
        thresholds: Of the gate, ``gate_threshold`` of the controller; one system each.
        lossless: Whether it writes the target's own text, so that the edge's answers are its own.
    """

    controller: str
    protocol: str = "decoupled"
    values: Mapping[str, Any] = field(default_factory=dict)
    scenario: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()
    lossless: bool = False

    def __post_init__(self) -> None:
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
        scenario: What is emulated.
        settings: Of its controller.
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
        """A controller, and the scenario as it needs it."""
        controller = make_controller(self.settings, self.scenario, seed, _untuned)
        changes = getattr(controller, "changes", {})
        return controller, replace(self.scenario, **changes)


def _untuned(rule: str = "rule") -> Any:
    raise InvalidSetting(f"systems take no tuned controllers; give the constants of the {rule}")


def read_systems(config: Mapping[str, Any], entries: Mapping[str, Any]) -> tuple[System, ...]:
    """All systems of a composed configuration, every controller tried.

    Args:
        config: The whole configuration, for scenario, profile and link.
        entries: ``SystemSettings`` by family.

    Raises:
        InvalidSetting: If a system cannot be made.
    """
    found: list[System] = []
    for family, values in entries.items():
        if values is None:  # struck out on the command line
            continue
        found += _family(config, family, build(SystemSettings, values, f"system {family}"))
    for system in found:
        system.controller(0)
    return tuple(found)


def _family(config: Mapping[str, Any], family: str, settings: SystemSettings) -> list[System]:
    choices = {**config["scenario"], **settings.scenario}
    changed = {**config, "scenario": choices, "protocol": {"name": settings.protocol}}
    scenario, _ = read_scenarios(changed)
    usual = ControllerSettings.named(settings.controller)
    made = []
    for threshold in settings.thresholds or (None,):
        own = {} if threshold is None else {"gate_threshold": threshold}
        name = family if threshold is None else f"{family}@{threshold:g}"
        controller = replace(usual, name=name, values={**usual.values, **settings.values, **own})
        made.append(System(name, family, threshold, settings.lossless, scenario, controller))
    return made
