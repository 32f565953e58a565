"""Search spaces: the sweep files of W&B (its "Sweep configuration" page), read for Optuna too."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from covspec_core.errors import InvalidSetting
from env.presets import build

if TYPE_CHECKING:
    import optuna

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
DISTRIBUTIONS = ("uniform", "log_uniform_values", "int_uniform", "q_uniform")
PARTS = {"program", "project", "name", "description", "method", "metric", "parameters"}
PARTS |= {"early_terminate", "command", "run_cap"}


def text(value: Any) -> str:
    """A value as an override has it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Attributes:
        values: As overrides have them.
    """

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise InvalidSetting(f"values must be one or more, each once, got {self.values}")

    def suggest(self, trial: optuna.Trial, name: str) -> str:
        """A trial's value as an override has it."""
        return str(trial.suggest_categorical(name, self.values))


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included.

    Attributes:
        min: Lower end.
        max: Upper end.
        distribution: One of ``DISTRIBUTIONS``; by the type of the ends if ``None``.
        q: Step of ``q_uniform``.
    """

    min: float | int
    max: float | int
    distribution: str | None = None
    q: float | int | None = None

    def __post_init__(self) -> None:
        if self.distribution is None:
            whole = isinstance(self.min, int) and isinstance(self.max, int)
            object.__setattr__(self, "distribution", "int_uniform" if whole else "uniform")
        if self.distribution not in DISTRIBUTIONS:
            raise InvalidSetting(
                f"distribution must be one of {DISTRIBUTIONS}, got {self.distribution!r}"
            )
        if not self.min < self.max or (self.distribution.startswith("log") and self.min <= 0):
            raise InvalidSetting(
                "a range needs min < max, above 0 if logarithmic, "
                f"got [{self.min}, {self.max}], {self.distribution}"
            )
        if (self.q is not None) != (self.distribution == "q_uniform"):
            raise InvalidSetting(f"q belongs to q_uniform, got {self.q} for {self.distribution}")

    def suggest(self, trial: optuna.Trial, name: str) -> str:
        """A trial's value as an override has it."""
        if self.distribution == "int_uniform":
            return text(trial.suggest_int(name, int(self.min), int(self.max)))
        log = self.distribution == "log_uniform_values"
        return text(trial.suggest_float(name, self.min, self.max, step=self.q, log=log))


@dataclass(frozen=True)
class Stop:
    """Hyperband's early end of trials (Li et al. 2018).

    Attributes:
        type: ``hyperband``.
        min_iter: Validations that every trial may make.
        eta: One in so many goes on.
    """

    type: str
    min_iter: int
    eta: int = 3

    def __post_init__(self) -> None:
        if self.type != "hyperband" or self.min_iter < 1 or self.eta < 2:
            raise InvalidSetting(
                "early_terminate needs type hyperband, min_iter >= 1 and eta >= 2, "
                f"got {self.type!r}, {self.min_iter} and {self.eta}"
            )


@dataclass(frozen=True)
class Metric:
    """What is searched for.

    Attributes:
        name: A figure of ``metrics.jsonl``.
        goal: One of ``GOALS``.
    """

    name: str
    goal: str

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise InvalidSetting(f"metric.goal must be one of {GOALS}, got {self.goal!r}")

    def best(self, values: Sequence[float]) -> float:
        """The best of a run's validations."""
        return max(values) if self.goal == "maximize" else min(values)


@dataclass(frozen=True)
class Space:
    """A sweep file.

    Attributes:
        method: One of ``METHODS``.
        metric: What is searched for.
        parameters: Overrides of ``train.py`` and where each is searched.
        stop: Early end of trials.
        run_cap: How many trials there are to be, if the file says it.
    """

    method: str
    metric: Metric
    parameters: Mapping[str, Choice | Range]
    stop: Stop | None
    run_cap: int | None = None

    def __post_init__(self) -> None:
        if self.run_cap is not None and self.run_cap < 1:
            raise InvalidSetting(f"run_cap must be >= 1, got {self.run_cap}")
        if self.method not in METHODS:
            raise InvalidSetting(f"method must be one of {METHODS}, got {self.method!r}")
        ranges = sorted(n for n, p in self.parameters.items() if isinstance(p, Range))
        if self.method == "grid" and ranges:
            raise InvalidSetting(f"method grid needs values for each parameter, not for {ranges}")
        if not self.parameters:
            raise InvalidSetting("parameters must be one or more, got none")

    @staticmethod
    def load(path: Path) -> Space:
        """Read a sweep file.

        Raises:
            InvalidSetting: If it is missing, or has something that cannot be searched here.
        """
        try:
            values = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            said = str(error).splitlines()[0]
            raise InvalidSetting(f"{path} must be a sweep file: {said}") from error
        given = set(values) if isinstance(values, dict) else {str(values)}
        lacking = sorted({"method", "metric", "parameters"} - given)
        if lacking or given - PARTS:
            unknown = sorted(given - PARTS)
            raise InvalidSetting(f"{path} lacks {lacking}, has unknown {unknown}; see conf/sweep/")
        stop = values.get("early_terminate")
        return Space(
            values["method"],
            build(Metric, values["metric"], f"{path}: metric"),
            {n: _parameter(p, f"{path}: {n}") for n, p in values["parameters"].items()},
            None if stop is None else build(Stop, stop, f"{path}: early_terminate"),
            values.get("run_cap"),
        )

    def without(self, names: Collection[str]) -> Space:
        """The space of the parameters that are not given by hand.

        Raises:
            InvalidSetting: If none is left.
        """
        left = {name: p for name, p in self.parameters.items() if name not in names}
        return replace(self, parameters=left)

    def grid(self) -> Iterator[dict[str, str]]:
        """Every combination of values."""
        choices = [p.values for p in self.parameters.values() if isinstance(p, Choice)]
        for combination in product(*choices):
            yield dict(zip(self.parameters, combination, strict=True))


def _parameter(values: Any, where: str) -> Choice | Range:
    if not isinstance(values, Mapping):
        raise InvalidSetting(f"{where} must be a mapping, such as value: {values}, got {values!r}")
    if set(values) == {"value"}:
        return Choice((text(values["value"]),))
    if set(values) == {"values"} and isinstance(values["values"], list):
        return Choice(tuple(text(value) for value in values["values"]))
    return build(Range, values, where)
