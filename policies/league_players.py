"""Players of a league: rules tuned once, and controllers trained with several seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar

from covspec_core.errors import InvalidSetting
from covspec_core.scenario import Scenario
from policies.answer_store import digest
from policies.launcher import Launcher, LauncherSettings
from policies.league import RULES
from policies.league_pieces import Match, load
from policies.runs import write_json
from policies.settings import ControllerSettings, TuningSettings
from policies.tuning import tune

NOT_TRAINING: Final = (
    "experiment", "output", "controllers", "runs_dir", "name", "resume", "seed", "tensorboard",
    "wandb", "launcher",
)  # fmt: skip
"""Parts of a composed configuration that do not tell one kind of training from another."""
T = TypeVar("T")
R = TypeVar("R")


def watched(
    part: str,
    function: Callable[[T], R],
    tasks: Sequence[T],
    launcher: Launcher,
    line: Callable[[T, R], str],
    say: Callable[[str], None],
) -> Iterator[tuple[T, R]]:
    """Every task done, with one line each about it and the time left, and the time of the part."""
    began = monotonic()
    for done, (place, result) in enumerate(launcher.each(_apply, function, tasks), start=1):
        task = tasks[place]
        spent = monotonic() - began
        left_min = spent / done * (len(tasks) - done) / 60
        say(f"{part} {done}/{len(tasks)}: {line(task, result)}  {left_min:.1f} min left")
        yield task, result
    if tasks:
        say(f"{part}: {monotonic() - began:.0f} s")


def _apply(function: Callable[[T], R], task: T) -> R:
    return function(task)


@dataclass(frozen=True)
class Search:
    """Constants of a rule to be searched.

    Attributes:
        rule: A name of ``RULES``.
        mix: Scenarios of the training mix.
        match: The pair and the seed.
        budget: Of the search, the same for all rules.
    """

    rule: str
    mix: tuple[Scenario, ...]
    match: Match
    budget: TuningSettings

    @property
    def identity(self) -> str:
        """Changes with everything that the constants depend on, but for the code."""
        recorded = digest(self.match.model.recording)
        return hashlib.sha256(f"{self!r} {recorded}".encode()).hexdigest()


def search(task: Search) -> tuple[dict[str, Any], float]:
    """Constants and their mean speed-up on training sessions."""
    worlds = [load(own, task.match, "train") for own in task.mix]
    found, speedup = tune(worlds, RULES[task.rule], task.budget, task.match.seed)
    return asdict(found), speedup


def tuned(
    folder: Path, searches: Sequence[Search], launcher: Launcher, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Constants of every rule, kept in ``tuned.json``; what stands there is not searched again."""
    path = folder / "tuned.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    left = [s for s in searches if known.get(s.rule, {}).get("identity") != s.identity]

    def line(task: Search, found: tuple[dict[str, Any], float]) -> str:
        return f"{task.rule} {found[1]:.3f}x on training sessions"

    for task, (constants, speedup) in watched("tuning", search, left, launcher, line, say):
        known[task.rule] = {"identity": task.identity, "constants": constants, "speedup": speedup}
        write_json(path, known)
    return {s.rule: known[s.rule] for s in searches}


def with_constants(
    controller: ControllerSettings, found: Mapping[str, Mapping[str, Any]]
) -> ControllerSettings:
    """A tuned rule as the rule with the constants that were found; any other unchanged."""
    if controller.kind != "tuned":
        return controller
    rule = str(controller.values.get("rule", "rule"))
    return replace(controller, kind=rule, values=dict(found[rule]["constants"]))


def training_configs(config: Mapping[str, Any], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Configuration of one training a seed, as ``train.py`` would compose it.

    A run's name has a digest of its settings: a league that goes on finds what it trained, and
    other settings never meet it.
    """
    own = {key: value for key, value in config.items() if key not in ("experiment", "output")}
    own["algorithm"] = config["algorithm"] | {"threads": 1}
    own |= {"launcher": asdict(LauncherSettings()), "controllers": []}
    told = json.dumps(kind_of(own), sort_keys=True)
    name = hashlib.sha256(told.encode()).hexdigest()[:10]
    return [
        own | {"seed": seed, "name": f"learned_{name}_seed{seed}", "resume": None} for seed in seeds
    ]


def kind_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one kind of training from another in its configuration."""
    told = {key: value for key, value in config.items() if key not in NOT_TRAINING}
    if not config["algorithm"].get("imitation_rounds"):
        told.pop("tuning")  # There is no teacher whose constants it could change.
    return told | {"judging": config["judging"]["validation_sessions"]}


def policy_of(config: Mapping[str, Any]) -> Path:
    """Folder of the controller that a training leaves behind."""
    return Path(config["runs_dir"]) / config["name"] / "policy"


def train(config: dict[str, Any]) -> Path:
    """Train, or go on with it; the folder of the controller."""
    # Imported here: torch and Stable-Baselines3 take seconds that judging has no use for.
    from policies.jobs import opened

    with opened(config) as run:
        run.train(lambda: False)
    return policy_of(config)


def trained(
    configs: Sequence[dict[str, Any]], launcher: Launcher, say: Callable[[str], None]
) -> list[Path]:
    """Folders of the controllers, one a configuration; finished trainings stay as they are."""
    left = [c for c in configs if not (policy_of(c) / "controller.json").is_file()]
    for _ in watched("training", train, left, launcher, lambda c, _: str(c["name"]), say):
        pass
    return [policy_of(config) for config in configs]


def finished(name: str, folders: Sequence[str]) -> list[Path]:
    """Folders of controllers that were trained before: runs, or their ``policy``.

    Raises:
        InvalidSetting: If one holds no controller.
    """
    found = [Path(f) if (Path(f) / "controller.json").is_file() else Path(f) / "policy"
             for f in folders]  # fmt: skip
    missing = [str(f) for f in found if not (f / "controller.json").is_file()]
    if missing or not found:
        raise InvalidSetting(f"experiment.finished.{name} needs folders of trained controllers, "
                             f"got {missing or folders}")  # fmt: skip
    return found
