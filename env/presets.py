"""Named scenarios: the YAML files under ``conf/`` as typed objects, without Hydra.

The same files are the choices of the Hydra groups ``profile``, ``link`` and ``protocol``, so that
``gymnasium.make("CoVSpec-v0", link="bursty")`` and ``train.py scenario=bursty`` mean one thing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import (
    AwgnLink,
    Channel,
    ConstantLink,
    GilbertElliottLink,
    RayleighLink,
)
from covspec_core.links.fading import RicianLink, ShadowedLink
from covspec_core.links.impairments import LossyLink, SharedLink
from covspec_core.links.markov import MarkovLink
from covspec_core.links.mixture import AsymmetricLink, MixtureLink
from covspec_core.links.mobility import MobilityLink
from covspec_core.links.network import NetworkLink
from covspec_core.links.traces import CsvLink, MahimahiLink, NpzLink, TraceLink
from covspec_core.profile import HardwareProfile
from covspec_core.provenance import ROOT, require_source_tree
from covspec_core.scenario import Scenario
from covspec_core.wire import WireProtocol, protocol

CONF = ROOT / "conf"
RECORDING = ROOT / "assets" / "recording.npz"

CHANNELS: dict[str, type] = {
    "constant": ConstantLink,
    "awgn": AwgnLink,
    "rayleigh": RayleighLink,
    "rician": RicianLink,
    "shadowed": ShadowedLink,
    "gilbert_elliott": GilbertElliottLink,
    "markov": MarkovLink,
    "mobility": MobilityLink,
    "network": NetworkLink,
    "lossy": LossyLink,
    "shared": SharedLink,
    "asymmetric": AsymmetricLink,
    "trace": TraceLink,
    "npz": NpzLink,
    "csv": CsvLink,
    "mahimahi": MahimahiLink,
}

COMPOSED = ("links", "parts", "train_on")
"""What a file of ``conf/scenario`` holds beside the fields of a scenario."""
UNSET = "???"
"""Hydra's mark in a file for a value that the user has to give."""
_ENVIRONMENT = re.compile(r"\$\{oc\.env:(\w+),null\}")

T = TypeVar("T")


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass from plain values.

    Args:
        cls: The dataclass.
        values: Its fields by name, as a YAML file holds them; those that are ``UNSET`` are missing.
        where: Where they stand, for errors.

    Raises:
        InvalidSetting: If a name is unknown, one is missing, or the class refuses a value.
    """
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    values = {name: value for name, value in values.items() if value != UNSET}
    _require_names(known, values, where)
    hints = get_type_hints(cls)
    typed = {name: _typed(v, hints[name], f"{where}.{name}") for name, v in values.items()}
    for name, value in typed.items():
        if not _fits(value, hints[name]):
            kind = known[name].type
            raise InvalidSetting(f"{where}: {name} must be a value of type {kind}, got {value!r}")
    try:
        return cls(**typed)
    except TypeError as error:
        raise InvalidSetting(f"{where}: {error}") from error


def _require_names(known: Mapping[str, Field[Any]], values: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidSetting(f"{where} allows {sorted(known)}, got unknown {unknown}")
    missing = [
        name
        for name, field in known.items()
        if field.init
        and name not in values
        and field.default is MISSING
        and field.default_factory is MISSING
    ]
    if missing:
        raise InvalidSetting(f"{where} needs {missing}, got only {sorted(values)}")


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Lists as tuples, and what is written as a mapping as the class that a field asks for."""
    if isinstance(value, list):
        return tuple(_typed(part, None, where) for part in value)
    if isinstance(value, Mapping) and hint is Channel:
        if value.get("kind") == "trace":
            raise InvalidSetting(f"{where}.kind must stand alone, as it has splits, got 'trace'")
        return build_link(value, where)
    if isinstance(value, Mapping) and is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if hint is Channel and not hasattr(value, "realise"):
        raise InvalidSetting(f"{where} must be a link, a mapping with its kind, got {value!r}")
    return value


_PLAIN: dict[Any, type] = {float: Real, int: Integral, str: str, bool: bool, NoneType: NoneType}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of a type; what is not plain is left to the class."""
    parts = get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(part, parts[0]) for part in value)
    if get_origin(hint) is UnionType:
        return any(_fits(value, part) for part in parts)
    is_flag = isinstance(value, bool) and hint in (float, int)
    kind = hint if is_dataclass(hint) and isinstance(hint, type) else _PLAIN.get(hint, object)
    return not is_flag and isinstance(value, kind)


def build_link(values: Mapping[str, Any], where: str = "link") -> Channel:
    """A channel from plain values; ``kind`` names its class.

    Raises:
        InvalidSetting: If the kind is unknown or a value is wrong.
    """
    rest = dict(values)
    kind = rest.pop("kind", None)
    if kind not in CHANNELS:
        raise InvalidSetting(f"{where}.kind must be one of {sorted(CHANNELS)}, got {kind!r}")
    channel: Channel = build(CHANNELS[kind], rest, f"{where} ({kind})")
    return channel


@dataclass(frozen=True)
class ProtocolSettings:
    """A file of the group ``protocol``; see :func:`covspec_core.wire.protocol`."""

    name: str
    law_format: str = "fp32"
    top: int | None = None

    def made(self) -> WireProtocol:
        """The protocol."""
        return protocol(self.name, self.law_format, self.top)


def build_scenario(
    profile: Mapping[str, Any],
    links: Mapping[str, Mapping[str, Any]],
    protocol_values: Mapping[str, Any],
    **choices: Any,
) -> Scenario:
    """A scenario from plain values; several links are mixed in equal shares.

    Args:
        profile: Fields of :class:`~covspec_core.profile.HardwareProfile`.
        links: What :func:`build_link` takes, by the name of a link.
        protocol_values: Fields of :class:`ProtocolSettings`.
        **choices: Other fields of :class:`~covspec_core.scenario.Scenario`.

    Raises:
        InvalidSetting: If a name is unknown or a value is wrong.
    """
    channels = {name: build_link(link, f"link {name}") for name, link in links.items()}
    if not channels:
        raise InvalidSetting("a scenario needs at least one link, got none")
    link = next(iter(channels.values())) if len(channels) == 1 else MixtureLink(channels)
    parts = {
        "profile": build(HardwareProfile, profile, "profile"),
        "link": link,
        "protocol": build(ProtocolSettings, protocol_values, "protocol").made(),
    }
    return build(Scenario, parts | choices, "scenario")


def preset(group: str, name: str) -> dict[str, Any]:
    """One YAML file of a configuration group.

    Raises:
        InvalidSetting: If the group has no such file, or ``conf/`` is missing.
    """
    require_source_tree()
    path = CONF / group / f"{name}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in (CONF / group).glob("*.yaml"))
        raise InvalidSetting(f"{group} must be one of {names}, got {name!r}")
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    return {name: _resolved(value) for name, value in values.items()}


def _resolved(value: Any) -> Any:
    """A value that a file leaves to the environment; unset if it is not there."""
    asked = _ENVIRONMENT.fullmatch(value) if isinstance(value, str) else None
    return os.environ.get(asked[1], UNSET) if asked else value


def named_scenario(
    link: str | list[str] = "paper",
    profile: str = "paper",
    protocol_name: str = "decoupled",
    **choices: Any,
) -> Scenario:
    """A scenario from the names of configuration files, other choices as in every run.

    Args:
        link: A file of ``conf/link``, or several, mixed in equal shares.
        profile: A file of ``conf/profile``.
        protocol_name: A file of ``conf/protocol``.
        **choices: Fields of :class:`~covspec_core.scenario.Scenario` instead of those of
            ``conf/scenario/base.yaml``.

    Raises:
        InvalidSetting: If a name is unknown or a value is wrong.
    """
    names = [link] if isinstance(link, str) else link
    links = {name: preset("link", name) for name in names}
    kind = preset("protocol", protocol_name)
    base = {k: v for k, v in preset("scenario", "base").items() if k not in COMPOSED}
    return build_scenario(preset("profile", profile), links, kind, **base | choices)
