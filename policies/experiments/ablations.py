"""What learning needs: ``evaluate.py experiment=ablations`` trains every study, seed by seed.

Every training is a run of its own in the experiment's folder, so an interrupted experiment goes on
within a training. All play the same sessions, so gains are paired in them; intervals draw sessions
and the seeds of both sides anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from covspec_core.errors import InvalidSetting, RunConflict
from covspec_core.rounds import Floats
from covspec_core.scenario import Scenario
from env.codec import Codec
from env.play import World
from env.presets import build
from policies.algorithms.settings import read_algorithm
from policies.console import say
from policies.experiments import Findings
from policies.factory import TunedOnce, make_controller
from policies.launcher import Launcher, open_launcher
from policies.league_players import kind_of, trained
from policies.learned import LearnedController, load_controller
from policies.measures import Draws, gain
from policies.memory import ObservationSettings
from policies.report import ALL, Judged, judge_all, made_by, table
from policies.runs import claimed, new_run, note_process, write_json, write_text
from policies.settings import RunSettings, layered, read_run


@dataclass(frozen=True)
class AblationSettings:
    """Values of ``conf/experiment/ablations.yaml``.

    Attributes:
        name: Of the experiment.
        reference: Study that all others are held against.
        seeds: Of the trainings.
        total_steps: Rounds of every training.
        reward: File of ``conf/reward`` to train with.
        studies: Names of an ``algorithm`` and an ``observation`` by study; ``None`` strikes out.
        teachers: Controllers that are judged beside them.
        threads: Of every training; those of its algorithm if ``None``.
        resume: Folder of an interrupted experiment to go on with.
    """

    name: str
    reference: str
    seeds: tuple[int, ...]
    total_steps: int
    reward: str
    studies: Mapping[str, Any]
    teachers: tuple[str, ...] = ()
    threads: int | None = None
    resume: str | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InvalidSetting(
                f"experiment.seeds must be different and >= 0, at least one, got {self.seeds}"
            )
        if self.studies.get(self.reference) is None:
            raise InvalidSetting(
                f"experiment.reference must be one of {sorted(self.chosen)}, got {self.reference!r}"
            )
        for name, study in self.chosen.items():
            if not isinstance(study, Mapping) or set(study) != {"algorithm", "observation"}:
                raise InvalidSetting(
                    f"experiment.studies.{name} needs an algorithm and an observation, got {study}"
                )
            read_algorithm(self.algorithm(name))
            ObservationSettings.of(layered("observation", study["observation"]))

    @property
    def chosen(self) -> dict[str, Any]:
        """Studies that are not struck out, the reference first."""
        every = {self.reference: self.studies.get(self.reference), **self.studies}
        return {name: study for name, study in every.items() if study is not None}

    def algorithm(self, study: str) -> dict[str, Any]:
        """The group ``algorithm`` of a study's trainings."""
        values = layered("algorithm", self.studies[study]["algorithm"])
        threads = values["threads"] if self.threads is None else self.threads
        return values | {"total_steps": self.total_steps, "threads": threads}


def run(config: dict[str, Any]) -> Findings:
    """Train what is not trained yet, judge all, write a table.

    Raises:
        InvalidSetting: If a setting is wrong; nothing is trained then.
        RunConflict: If a folder to go on with belongs to another experiment.
    """
    asked = build(AblationSettings, config["experiment"], "experiment")
    config = config | {"controllers": list(asked.teachers)}
    settings = read_run(config)
    for name in asked.chosen:
        read_run(_of_training(config, asked, name, asked.seeds[0], Path()))
    folder = _folder(config, asked)
    with claimed(folder), open_launcher(settings.launcher) as launcher:
        made = note_process(folder, settings.seed)
        trainings = [
            _of_training(config, asked, name, seed, folder)
            for seed in asked.seeds
            for name in asked.chosen
        ]
        for training in trainings:
            _require_same(folder / training["name"], training)
        trained(trainings, launcher, say)
        studies = _judged(settings, asked, folder, launcher)
        findings = _findings(studies, asked, made)
        write_json(folder / "ablations.json", findings.values)
        write_text(folder / "ablations.md", findings.text)
    say(f"report: {folder / 'ablations.md'}")
    return findings


def _folder(config: Mapping[str, Any], asked: AblationSettings) -> Path:
    if asked.resume is None:
        return new_run(Path(config["runs_dir"]), config["name"], asked.name)
    folder = Path(asked.resume)
    if not folder.is_dir():
        raise RunConflict(f"{folder} holds no experiment to go on with")
    return folder


def _of_training(
    config: Mapping[str, Any], asked: AblationSettings, study: str, seed: int, folder: Path
) -> dict[str, Any]:
    """The configuration of ``train.py`` for a study and a seed."""
    kept = {k: v for k, v in config.items() if k not in ("experiment", "output", "controllers")}
    return kept | {
        "algorithm": asked.algorithm(study),
        "observation": layered("observation", asked.studies[study]["observation"]),
        "reward": layered("reward", asked.reward),
        "controllers": [],
        "seed": seed,
        "runs_dir": str(folder),
        "name": f"{study}_seed{seed}",
        "resume": None,
    }


def _require_same(own: Path, config: Mapping[str, Any]) -> None:
    """What was begun before must be the training that is asked for."""
    if not (own / "config.yaml").is_file():
        return
    written = kind_of(yaml.safe_load((own / "config.yaml").read_text()))
    for name, value in kind_of(config).items():
        if written[name] != value:
            raise RunConflict(
                f"{own} was trained with {name}={written[name]}, now asked for {value}"
            )


class Study(NamedTuple):
    """What the seeds of a study reached on one split.

    Attributes:
        speedup: Of every session, shape ``[seeds, regimes, sessions]``.
        seconds: Mean seconds of a training; 0 for a rule.
    """

    speedup: Floats
    seconds: float

    @staticmethod
    def of(judged: Judged, seconds: float) -> Study:
        """The controllers of one study."""
        seeds = [[s.speedup for part, s in own.items() if part != ALL] for own in judged.values()]
        return Study(np.array(seeds), seconds)

    def draws(self, seed: int, whose: int) -> Draws:
        """Resamples of seeds and sessions."""
        seeds, _, sessions = self.speedup.shape
        return Draws.of(seeds, sessions, seed, whose=whose)


def _judged(
    settings: RunSettings, asked: AblationSettings, folder: Path, launcher: Launcher
) -> dict[str, Study]:
    """Every study and every teacher on the same sessions."""
    recording, seed = settings.model.recorded(), settings.seed
    worlds = {
        regime: World.load(scenario, settings.judging.split, recording, seed)
        for regime, scenario in settings.regimes.items()
    }
    tuned = TunedOnce.of(settings, recording, say)
    judging = worlds, settings.judging.sessions, seed, say, launcher
    found = {}
    for name in asked.chosen:
        runs = [folder / f"{name}_seed{each}" / "policy" for each in asked.seeds]
        judged = judge_all({run.parent.name: partial(_loaded, run) for run in runs}, *judging)
        took = [load_controller(run).meta["training_seconds"] for run in runs]
        found[name] = Study.of(judged, float(np.mean(took)))
    for chosen in settings.controllers:
        rule = partial(make_controller, chosen, seed=seed, tuned=tuned)
        judged = judge_all({chosen.name: rule}, *judging)
        found[chosen.name] = Study.of(judged, 0.0)
    return found


def _loaded(folder: Path, scenario: Scenario) -> LearnedController:
    return load_controller(folder, Codec.of(scenario))


def _findings(
    studies: Mapping[str, Study], asked: AblationSettings, made: Sequence[dict[str, Any]]
) -> Findings:
    reference, values, seed = studies[asked.reference], {}, made[-1]["seed"]
    theirs = reference.draws(seed, 0)
    for name, study in studies.items():
        # The reference's own seeds are drawn once, so that its gain over itself is none.
        own = theirs if study is reference else study.draws(seed, 1)
        values[name] = {
            "speedup": float(study.speedup.mean()),
            "seeds": [float(mean) for mean in study.speedup.mean((1, 2))],
            "training_s": study.seconds,
            "over_reference": gain(study.speedup, reference.speedup, own, theirs),
        }
    found = {"provenance": made[-1], "earlier": [*made[:-1]], "studies": values}
    return Findings(found, _page(made, values, asked))


def _page(
    made: Sequence[Mapping[str, Any]], values: Mapping[str, Any], asked: AblationSettings
) -> str:
    rows = [
        [
            name,
            f"{v['speedup']:.3f}",
            f"{min(v['seeds']):.3f} to {max(v['seeds']):.3f}",
            f"{v['over_reference']['gain_percent']:+.2f} %",
            "{:+.2f} to {:+.2f}".format(*v["over_reference"]["ci95"]),
            f"{v['training_s']:.0f}",
        ]
        for name, v in values.items()
    ]
    head = ["study", "speed", "of seeds", f"gain over {asked.reference}", "95 %", "training s"]
    lines = [
        "# What learning needs",
        "",
        *made_by(made),
        "",
        f"Trained on {asked.total_steps:,} rounds each, {len(asked.seeds)} seeds; speed over",
        "edge-only, mean over seeds and sessions, which are the same for all; intervals draw both.",
        "",
        *table(head, rows),
    ]
    return "\n".join(lines) + "\n"
