"""Scenarios of a composed configuration: one, side by side in a training mix, or held out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from covspec_core.errors import InvalidSetting
from covspec_core.scenario import Scenario
from env.codec import Codec
from env.presets import COMPOSED, build, build_scenario, preset
from policies.console import say

ROUNDS = (
    "gate", "max_skipped", "post_verify", "pre_verify", "edge_burst", "reads_along", "requests",
)  # fmt: skip
"""Fields of a scenario that say what a round and a session are, beside the choices."""
TRACES_DIR = "COVSPEC_TRACES_DIR"
"""Environment variable with the folder of measured traces, read by files of ``conf/link``."""


@dataclass(frozen=True)
class Part:
    """What one scenario of a mix has of its own; see a file of ``conf/scenario`` with parts.

    Attributes:
        protocol: File of the group ``protocol``; that of the run if ``None``.
        base: File of the group ``profile``; that of the run if ``None``.
        profile: Values laid over it.
        links: Links of the mix that it keeps to; all if empty.
        device_factor: Range instead of the scenario's.
        edge_factor: The same for the edge.
    """

    protocol: str | None = None
    base: str | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    device_factor: tuple[float, ...] | None = None
    edge_factor: tuple[float, ...] | None = None

    def scenario(self, values: Mapping[str, Any], links: Mapping[str, Any]) -> Scenario:
        """The scenario of this part within a composed configuration."""
        unknown = sorted(set(self.links) - set(links))
        if unknown:
            raise InvalidSetting(f"links of a part must be among {sorted(links)}, got {unknown}")
        choices = {k: v for k, v in values["scenario"].items() if k not in COMPOSED}
        own = {"device_factor": self.device_factor, "edge_factor": self.edge_factor}
        profile = values["profile"] if self.base is None else preset("profile", self.base)
        return build_scenario(
            {**profile, **self.profile},
            {name: link for name, link in links.items() if name in (self.links or links)},
            values["protocol"] if self.protocol is None else preset("protocol", self.protocol),
            **choices | {name: factor for name, factor in own.items() if factor is not None},
        )


def read_mix(values: Mapping[str, Any]) -> dict[str, Scenario]:
    """The scenarios of a composed configuration by part; none if it has no parts.

    Raises:
        InvalidSetting: If a name is unknown or a value is wrong.
    """
    links = known_links(values["scenario"]["links"])
    parts = values["scenario"]["parts"]
    return {
        name: build(Part, part or {}, f"scenario.parts.{name}").scenario(values, links)
        for name, part in parts.items()
    }


def known_links(links: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Links whose measurements are at hand; a line says which are left out.

    Raises:
        InvalidSetting: If none is left.
    """
    missing = [name for name, link in links.items() if link.get("traces_dir", "") is None]
    if missing and len(missing) == len(links):
        raise InvalidSetting(f"{missing} need measured traces: set {TRACES_DIR} to their folder")
    for name in missing:
        say(f"regime {name} is left out: it needs measured traces, set {TRACES_DIR}")
    return {name: link for name, link in links.items() if name not in missing}


def read_scenarios(values: Mapping[str, Any]) -> tuple[Scenario, dict[str, Scenario]]:
    """The scenario of a composed configuration, and that of each of its links alone."""
    choices = dict(values["scenario"])
    del choices["train_on"]
    if choices.pop("parts"):
        raise InvalidSetting("scenario must have no parts here, got a mix; train.py takes it")
    links = known_links(choices.pop("links"))
    kind = values["protocol"]
    whole = build_scenario(values["profile"], links, kind, **choices)
    alone = {
        regime: build_scenario(values["profile"], {regime: link}, kind, **choices)
        for regime, link in links.items()
    }
    return whole, alone


def read_regimes(
    values: Mapping[str, Any],
) -> tuple[tuple[Scenario, ...], dict[str, Scenario]]:
    """Scenarios to train on, and those to judge; held-out ones name what to train on instead.

    Raises:
        InvalidSetting: If a value is wrong, or a controller would choose among other things where
            it is judged than where it is trained or tuned.
    """
    other = values["scenario"]["train_on"]
    parts = read_mix(values)
    if other is not None:
        mix, _ = read_regimes({**values, "scenario": other})
        regimes = parts or read_scenarios(values)[1]
        require_same_choices(mix[0], regimes)
        return mix, regimes
    if parts:
        return tuple(parts.values()), parts
    whole, alone = read_scenarios(values)
    return (whole,), alone


def require_same_choices(trained: Scenario, regimes: Mapping[str, Scenario]) -> None:
    """Refuse to judge in regimes what was trained and tuned with other choices or rounds.

    Raises:
        InvalidSetting: If a choice differs, or what a round is.
    """
    wanted = _fixed_in(trained)
    for regime, scenario in regimes.items():
        for name, value in _fixed_in(scenario).items():
            if value != wanted[name]:
                raise InvalidSetting(
                    f"scenario.{name} of regime {regime} must be {wanted[name]}, that of "
                    f"scenario.train_on, got {value}; set scenario.train_on.{name} too, or "
                    "scenario.train_on=null"
                )


def _fixed_in(scenario: Scenario) -> dict[str, Any]:
    """What must be the same wherever a controller is trained, tuned and judged."""
    rounds = {name: getattr(scenario, name) for name in ROUNDS}
    return Codec.of(scenario).to_dict() | rounds
