"""Right answers against speed, live: ``evaluate.py experiment=accuracy``.

A system that leaves the target's law alone writes the edge's own text, so its answers are as right.
That is checked on some questions, and only systems that may differ answer them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

from covspec_core.errors import InvalidSetting, RunConflict
from covspec_core.provenance import provenance
from env.presets import build
from policies.accuracy_page import markdown
from policies.accuracy_report import (
    REFERENCE,
    SEEN,
    UNSEEN,
    Answers,
    groups_of,
    summary,
)
from policies.answer_store import AnswerStore
from policies.answers import SETS, Task, answered
from policies.console import say
from policies.experiments import Findings
from policies.mixes import read_scenarios
from policies.model_settings import ModelSettings
from policies.runs import MADE, claimed, new_run, write_json, write_text
from policies.settings import read_seed
from policies.systems import System, read_systems

CHUNK: Final = 20
"""Questions of one task: what an interruption loses at most, for every process."""
SAY_EVERY_S: Final = 10.0


@dataclass(frozen=True)
class AccuracySettings:
    """What is asked of whom; values of ``conf/experiment/accuracy.yaml``.

    Attributes:
        name: Of the experiment.
        systems: ``SystemSettings`` by family; ``edge_only`` is the reference of all.
        questions: Of every set.
        checked: Questions of every set that lossless systems answer.
        sets: Names among ``policies.answers.SETS``.
        temperature: Of both laws; 0 is greedy.
        workers: Processes of one thread each; 0 works in this one.
        shown: Systems to show by kind of question; those struck out of ``systems`` are here too.
        pruning: Pairs of a system that sees few visual tokens and the same with all, whose
            failures are shown as pictures; struck out likewise.
        pictures: How many of each.
        resume: Folder of an interrupted measurement to go on with.
    """

    name: str
    systems: Mapping[str, Any]
    questions: int = 1000
    checked: int = 100
    sets: tuple[str, ...] = SETS
    temperature: float = 0.0
    workers: int = 1
    shown: tuple[str, ...] = (REFERENCE,)
    pruning: tuple[tuple[str, ...], ...] = ()
    pictures: int = 6
    resume: str | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.sets) - set(SETS))
        if unknown or not self.sets:
            raise InvalidSetting(f"experiment.sets must be among {SETS}, got {self.sets}")
        for name, least in (("questions", 1), ("checked", 1), ("pictures", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise InvalidSetting(
                    f"experiment.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if any(len(pair) != 2 for pair in self.pruning):
            raise InvalidSetting(f"experiment.pruning must hold pairs, got {self.pruning}")
        if self.systems.get(REFERENCE) is None:
            raise InvalidSetting(f"experiment.systems must hold {REFERENCE}, got {[*self.systems]}")


def run(config: dict[str, Any]) -> Findings:
    """Answer, grade, and write a report into a run folder."""
    settings = build(AccuracySettings, config["experiment"], "experiment")
    scenario, _ = read_scenarios(config)
    systems, seed = read_systems(scenario, settings.systems), read_seed(config)
    pruning = _pairs(settings, systems)
    shown = tuple(_named(settings, "shown", settings.shown, systems))
    settings = replace(settings, shown=shown)
    model = build(ModelSettings, config["model"], "model")
    model = replace(model, temperature=settings.temperature)
    folder = _folder(config, settings)
    with claimed(folder):
        made = provenance(seed)
        store = AnswerStore(folder, model, systems, seed, made)
        say(f"answers go to {folder}; if interrupted, experiment.resume={folder} goes on")
        measure(store, tasks(store, systems, settings, model, seed), settings.workers)
        found = _answers(store, systems, settings)
        report = {"provenance": store.provenance, "config": config}
        report |= summary(systems, found, settings.sets, pruning, seed)
        drawn = _draw(report, found, systems, settings, model, seed, folder)
        write_json(folder / "report.json", report)
        text = markdown(report, drawn)
        write_text(folder / "report.md", text)
    say(f"report: {folder / 'report.md'}")
    return Findings(report, text)


def _named(
    settings: AccuracySettings, field: str, names: Iterable[str], systems: Sequence[System]
) -> list[str]:
    """Names of systems that are measured; those of a family that was struck out are left out."""
    made = [system.name for system in systems]
    struck = {family for family, values in settings.systems.items() if values is None}
    wanted = [name for name in names if name.split("@")[0] not in struck]
    unknown = sorted(set(wanted) - set(made))
    if unknown:
        raise InvalidSetting(f"experiment.{field} must name systems of {made}, got {unknown}")
    return wanted


def _pairs(settings: AccuracySettings, systems: Sequence[System]) -> dict[str, str]:
    """Systems with few visual tokens, and the same with all."""
    named = [_named(settings, "pruning", pair, systems) for pair in settings.pruning]
    return {pair[0]: pair[1] for pair in named if len(pair) == 2}


def _folder(config: Mapping[str, Any], settings: AccuracySettings) -> Path:
    if settings.resume is None:
        return new_run(Path(config["runs_dir"]), config["name"], "accuracy")
    folder = Path(settings.resume)
    if not (folder / MADE).is_file():
        raise RunConflict(f"{folder} holds no answers to go on with")
    return folder


def tasks(
    store: AnswerStore, systems: Sequence[System], settings: AccuracySettings,
    model: ModelSettings, seed: int,
) -> list[Task]:  # fmt: skip
    """What is not answered yet, in chunks; the first questions of all systems and sets first."""
    todo: list[Task] = []
    for system in systems:
        known, count = store.rows(system.name), _count(system, settings)
        for name in settings.sets:
            left = [index for index in range(count) if (name, index) not in known]
            todo += [
                Task(system, model, name, tuple(left[start : start + CHUNK]), seed)
                for start in range(0, len(left), CHUNK)
            ]
    return sorted(todo, key=lambda task: task.indices[0])


def _count(system: System, settings: AccuracySettings) -> int:
    return min(settings.checked, settings.questions) if system.lossless else settings.questions


def measure(store: AnswerStore, todo: Sequence[Task], workers: int) -> None:
    """Play all tasks, keep their rows, and say how it goes."""
    total, done, began = sum(len(task.indices) for task in todo), 0, monotonic()
    said = began
    for task, rows in answered(todo, workers):
        store.add(task.system.name, rows)
        done, now = done + len(rows), monotonic()
        if now - said >= SAY_EVERY_S or done == total:
            said, rate = now, done / (now - began)
            left_min = (total - done) / rate / 60
            say(f"{task.system.name}, {task.set}: {done}/{total} answers  {rate:.1f}/s  "
                f"{left_min:.1f} min left")  # fmt: skip


def _answers(store: AnswerStore, systems: Sequence[System], settings: AccuracySettings) -> Answers:
    """Rows of every system and set, those of the chosen questions only, by number."""
    found: Answers = {}
    for system in systems:
        rows = store.rows(system.name)
        for name in settings.sets:
            numbers = range(_count(system, settings))
            found[system.name, name] = [rows[name, index] for index in numbers]
    return found


def _draw(
    report: Mapping[str, Any], found: Answers, systems: Sequence[System],
    settings: AccuracySettings, model: ModelSettings, seed: int, folder: Path,
) -> list[str]:  # fmt: skip
    """All figures; their names."""
    # Imported here: matplotlib takes a second that a wrong setting should not cost.
    from policies import accuracy_figures as figures
    from policies.failures import draw_failures

    groups, named = list(groups_of(settings.sets)), {system.name: system for system in systems}
    main = [group for group in (SEEN, UNSEEN) if group in groups] or groups[:1]
    figures.tradeoff(report, main, folder / "tradeoff.png")
    figures.tradeoff(report, settings.sets, folder / "tradeoff_by_set.png")
    figures.by_kind(report, main[0], settings.shown, folder / "kinds.png")
    drawn = ["tradeoff.png", "tradeoff_by_set.png", "kinds.png"]
    for few, stated in report["pruning"].items():
        path = folder / f"failures_{few}.png"
        pair = named[few], named[stated["whole"]]
        if draw_failures(found, *pair, settings.sets, model, seed, settings.pictures, path):
            drawn.append(path.name)
    return drawn
