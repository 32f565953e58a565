"""Baselines as settings: a controller, and the fields of a scenario that its source has otherwise.

No baseline has an engine of its own. ``conf/controller`` says each in YAML: the values of a rule,
and under ``scenario`` what it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Actions, Status
from covspec_core.scenario import Scenario
from env.presets import ProtocolSettings, build

GIVEN: Final = frozenset(
    (
        "profile", "link", "link_rows", "link_s", "device_factor", "edge_factor", "hardware_draw",
        "requests", "deadline_s",
    )
)  # fmt: skip
"""Fields that belong to the world, not to what is compared in it."""


class Elsewhere:
    """A controller that plays under settings of its own.

    Args:
        controller: Who decides.
        changes: Fields of the scenario to replace while it plays.
    """

    def __init__(self, controller: Controller, changes: Mapping[str, Any]) -> None:
        self._controller, self.changes = controller, dict(changes)
        self.foresees = bool(getattr(controller, "foresees", False))
        if hasattr(controller, "decide_within"):
            self.decide_within = controller.decide_within

    def begin(self, size: int) -> None:
        """Forget everything; ``size`` new sessions follow."""
        self._controller.begin(size)

    def decide(self, status: Status) -> Actions:
        """The controller's own decision."""
        return self._controller.decide(status)


def read_changes(values: Any, where: str) -> dict[str, Any]:
    """Fields of a scenario to replace, from plain values.

    Args:
        values: Names and values; the protocol by its name, or as in a file of its group.
        where: For messages.

    Raises:
        InvalidSetting: If a name is no field that may change.
    """
    if not isinstance(values, Mapping):
        raise InvalidSetting(f"{where}.scenario must name fields and values, got {values!r}")
    allowed = {field.name for field in fields(Scenario)} - GIVEN
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise InvalidSetting(f"{where}.scenario allows {sorted(allowed)}, got unknown {unknown}")
    changes = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    if "protocol" in changes:
        kind = changes["protocol"]
        kind = kind if isinstance(kind, Mapping) else {"name": kind}
        changes["protocol"] = build(ProtocolSettings, kind, f"{where}.scenario.protocol").made()
    return changes


def changed(scenario: Scenario, controller: Controller) -> Scenario:
    """The scenario in which a controller plays: its own settings laid over the common ones."""
    return replace(scenario, **getattr(controller, "changes", {}))
