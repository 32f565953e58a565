"""Typed settings of the entry scripts: everything is checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from covspec_core.errors import InvalidSetting
from covspec_core.recording import SPLITS
from covspec_core.scenario import Scenario
from env.actions import LEVELS
from env.presets import build, preset
from env.rewards import RewardWeights
from policies.baselines import read_changes
from policies.launcher import LauncherSettings
from policies.league import RULES
from policies.memory import ObservationSettings
from policies.mixes import read_regimes
from policies.model_settings import ModelSettings
from policies.tracking import TrackingSettings


@dataclass(frozen=True)
class TuningSettings:
    """Search budget of every tuned rule.

    Attributes:
        trials: Sets of constants to try.
        sessions: Sessions each is played on.
        finalists: Best trials that are judged again.
        final_sessions: Other sessions that they are judged on.
    """

    trials: int
    sessions: int
    finalists: int
    final_sessions: int

    def __post_init__(self) -> None:
        _at_least_one("tuning", self)


@dataclass(frozen=True)
class JudgingSettings:
    """How much is played to judge.

    Attributes:
        sessions: Sessions per regime.
        validation_sessions: Sessions per validation while training.
        split: Split that is reported.
    """

    sessions: int
    validation_sessions: int
    split: str = "test"

    def __post_init__(self) -> None:
        _at_least_one("judging", self)
        if self.split not in SPLITS:
            raise InvalidSetting(f"judging.split must be one of {SPLITS}, got {self.split!r}")


def _at_least_one(where: str, settings: Any) -> None:
    for name, value in vars(settings).items():
        if isinstance(value, int) and value < 1:
            raise InvalidSetting(f"{where}.{name} must be >= 1, got {value}")


OUTPUTS = ("text", "json")
KINDS = ("edge_only", "device_only", "random", *RULES, "tuned", "learned")


@dataclass(frozen=True)
class ControllerSettings:
    """One controller by name.

    Attributes:
        name: Name in reports.
        kind: One of ``KINDS``.
        values: The remaining settings of its kind.
        changes: Fields of the scenario that a baseline has otherwise.
    """

    name: str
    kind: str
    values: Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidSetting(f"controller kind must be one of {KINDS}, got {self.kind!r}")
        if self.kind in RULES:
            build(RULES[self.kind].constants, self.values, f"controller {self.name}")
            return
        own = {"device_only": {"keep"}, "learned": {"path"}, "tuned": {"rule"}}
        allowed = own.get(self.kind, set())
        unknown = sorted(set(self.values) - allowed)
        if unknown:
            raise InvalidSetting(
                f"controller {self.name} allows {sorted(allowed)}, got unknown {unknown}"
            )
        if self.values.get("rule", "rule") not in RULES:
            raise InvalidSetting(
                f"controller {self.name}: rule must be one of {sorted(RULES)}, "
                f"got {self.values['rule']!r}"
            )

    @staticmethod
    def of(values: Mapping[str, Any], name: str) -> ControllerSettings:
        """From the values of a file of the group ``controller``."""
        rest = dict(values)
        kind, changes = str(rest.pop("kind", None)), rest.pop("scenario", {})
        return ControllerSettings(name, kind, rest, read_changes(changes, f"controller {name}"))

    @staticmethod
    def named(name: str) -> ControllerSettings:
        """From a name of the group, or the folder of a learned controller.

        Raises:
            InvalidSetting: If it is neither.
        """
        if Path(name).is_dir():
            return ControllerSettings("learned", "learned", {"path": name})
        if "/" in name:
            raise InvalidSetting(f"there is no controller folder {name!r}; run train.py first")
        return ControllerSettings.of(layered("controller", name), name)


def layered(group: str, name: str) -> dict[str, Any]:
    """A file of a group, laid over those in its defaults list."""
    values = preset(group, name)
    merged: dict[str, Any] = {}
    for base in values.pop("defaults", []):
        merged |= layered(group, base)
    return merged | values


@dataclass(frozen=True)
class RunSettings:
    """Everything a run needs, checked.

    Attributes:
        mix: The scenarios to train on side by side, with equal choices.
        regimes: What is judged: the scenario of each link alone, or each part of a mix.
        model: The pair.
        controllers: To judge.
        tuning: Search budget of every tuned rule.
        judging: How much is played.
        tracking: Where figures go.
        reward: Weights while learning.
        observation: What a learned controller sees.
        level: When it decides, one of :data:`env.actions.LEVELS`.
        launcher: Where independent pieces of work run.
        seed: Of everything.
    """

    mix: tuple[Scenario, ...]
    regimes: dict[str, Scenario]
    model: ModelSettings
    controllers: tuple[ControllerSettings, ...]
    tuning: TuningSettings
    judging: JudgingSettings
    tracking: TrackingSettings
    reward: RewardWeights
    observation: ObservationSettings
    level: str
    launcher: LauncherSettings
    seed: int

    @property
    def scenario(self) -> Scenario:
        """The first of the mix, which has the choices of all."""
        return self.mix[0]


def read_seed(values: Mapping[str, Any]) -> int:
    """The seed of everything, in the range that NumPy, torch and SB3 all take."""
    seed = values["seed"]
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise InvalidSetting(f"seed must be a whole number in [0, 2**32), got {seed!r}")
    return seed


def read_output(values: Mapping[str, Any]) -> str:
    """What goes to standard output."""
    if values["output"] not in OUTPUTS:
        raise InvalidSetting(f"output must be one of {OUTPUTS}, got {values['output']!r}")
    return str(values["output"])


def read_controllers(names: Any) -> tuple[ControllerSettings, ...]:
    """Controllers by name or folder; a second folder goes by its path in reports.

    Raises:
        InvalidSetting: If one is unknown or named twice, or is tuned elsewhere than it plays.
    """
    if not isinstance(names, list):
        raise InvalidSetting(f"controllers must be a list of names, got {names!r}")
    chosen: dict[str, ControllerSettings] = {}
    for name in map(str, names):
        settings = ControllerSettings.named(name)
        if settings.name in chosen:
            settings = replace(settings, name=name)
        if settings.name in chosen:
            raise InvalidSetting(f"controllers must be named once each, got {name!r} twice")
        if settings.kind == "tuned" and settings.changes:
            raise InvalidSetting(
                f"controller {name} is tuned in the run's scenario, so it must not change it, "
                f"got scenario {sorted(settings.changes)}"
            )
        chosen[settings.name] = settings
    return tuple(chosen.values())


def _read_level(name: Any) -> str:
    if name not in LEVELS:
        raise InvalidSetting(f"level must be one of {LEVELS}, got {name!r}")
    return str(name)


def read_run(values: Mapping[str, Any]) -> RunSettings:
    """Settings of ``train.py`` or ``evaluate.py`` from its composed configuration.

    Raises:
        InvalidSetting: If a name is unknown or a value impossible.
    """
    mix, regimes = read_regimes(values)
    return RunSettings(
        mix=mix,
        regimes=regimes,
        model=build(ModelSettings, values["model"], "model"),
        controllers=read_controllers(values["controllers"]),
        tuning=build(TuningSettings, values["tuning"], "tuning"),
        judging=build(JudgingSettings, values["judging"], "judging"),
        tracking=TrackingSettings.of(values),
        reward=build(RewardWeights, values.get("reward", {}), "reward"),
        observation=ObservationSettings.of(values.get("observation", {})),
        level=_read_level(values.get("level", "round")),
        launcher=build(LauncherSettings, values["launcher"], "launcher"),
        seed=read_seed(values),
    )
