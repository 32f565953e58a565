"""A training run from open folder to written report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from covspec_core.engine import Controller
from covspec_core.errors import RunConflict
from covspec_core.images import load_image
from covspec_core.provenance import ROOT, provenance
from covspec_core.recording import Recording
from covspec_core.reduction import ReductionSettings, reduction
from covspec_core.replay import require_laws
from covspec_core.scenario import Scenario
from env.play import World
from policies import figures
from policies.algorithms.settings import PPOSettings, Settings, read_algorithm
from policies.card import write_card
from policies.checkpoints import CHECKPOINT
from policies.console import say
from policies.factory import TunedOnce, make_controller
from policies.judging import judge_mix
from policies.launcher import open_launcher
from policies.learned import LearnedController, load_controller
from policies.report import Judged, build_report, judge_all, write_report
from policies.runs import (
    claimed,
    new_run,
    point_latest,
    write_json,
    write_text,
)
from policies.settings import ControllerSettings, RunSettings, read_run
from policies.timeline_figure import draw_timeline
from policies.tracking import Tracker
from policies.training import VALIDATION_SEED, Trainer, codec_at

SAVE_EVERY_S = 20.0
UNITS = {"round": "rounds", "token": "steps"}
"""What a training's progress counts, by level."""
LEARNED = "learned"
FIGURES = ("speed.png", "learning.png", "timeline.png", "kept.png")
EXAMPLE = ROOT / "assets" / "examples" / "kitchen.png"
QUESTION = "how many large circles are there?"


@contextmanager
def open_run(config: dict[str, Any]) -> Iterator[TrainingRun]:
    """A new run's folder, or that of an interrupted one, held by this process.

    Raises:
        InvalidSetting: If a setting is unknown or impossible; no folder is made then.
        BrokenRecording: If the recording cannot be read, or was made with other settings; likewise.
        RunConflict: If the folder belongs to another run.
    """
    resumed = config.pop("resume")
    if resumed is not None:
        folder = Path(resumed).resolve()
        if not (folder / "config.yaml").is_file():
            raise RunConflict(f"{resumed} holds no run to go on with")
        config = yaml.safe_load((folder / "config.yaml").read_text())
    settings, algorithm = read_run(config), read_algorithm(config["algorithm"])
    codec_at(settings.level, settings.scenario, algorithm)
    recording = settings.model.recorded()
    for scenario in (*settings.mix, *settings.regimes.values()):
        require_laws(recording, scenario.protocol)
    if resumed is None:
        label = f"{'-'.join(settings.regimes)}_seed{settings.seed}"
        label = label if len(settings.regimes) == 1 else f"all_seed{settings.seed}"
        folder = new_run(Path(config["runs_dir"]), config["name"], label)
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    with claimed(folder):
        yield TrainingRun(folder, config, settings, algorithm, recording, resumed is not None)


class TrainingRun:
    """One run: its settings, worlds, trainer and folder.

    Args:
        folder: Of the run.
        config: Composed configuration.
        settings: The same, typed.
        algorithm: Settings of the algorithm.
        recording: To train and to be judged on.
        resumed: Whether to go on from the folder's checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        settings: RunSettings,
        algorithm: Settings,
        recording: Recording,
        resumed: bool,
    ) -> None:
        self.folder, self._config, self._settings = folder, config, settings
        self._recording, self._resumed = recording, resumed
        self._train, self._validation = (
            [World.load(own, split, recording, seed) for own in settings.mix]
            for split, seed in (("train", settings.seed), ("validation", VALIDATION_SEED))
        )
        sessions = settings.judging.validation_sessions
        self._tuned = TunedOnce(lambda: self._train, settings.tuning, settings.seed, say)
        self._trainer = Trainer(
            algorithm, self._train, self._validation, settings.reward, settings.seed, sessions,
            self._teacher(algorithm), settings.observation, settings.level,
        )  # fmt: skip
        self._rivals = self._make_rivals()
        if resumed and (folder / CHECKPOINT).exists():
            self._trainer.resume(folder)

    def _teacher(self, algorithm: Settings) -> Callable[[Scenario], Controller] | None:
        if not isinstance(algorithm, PPOSettings):
            return None
        chosen = ControllerSettings.named(algorithm.teacher)
        return partial(make_controller, chosen, seed=self._settings.seed, tuned=self._tuned)

    def _make_rivals(self) -> dict[str, Callable[[Scenario], Controller]]:
        """Makers of the controllers to judge; a wrong one fails now, not after the training."""
        scenario, seed = self._settings.scenario, self._settings.seed
        makers: dict[str, Callable[[Scenario], Controller]] = {}
        for chosen in self._settings.controllers:
            name = str(chosen.values["path"]) if chosen.name == LEARNED else chosen.name
            makers[name] = partial(make_controller, chosen, seed=seed, tuned=self._tuned)
            if chosen.kind != "tuned":
                makers[name](scenario)
        return makers

    def train(self, should_stop: Callable[[], bool]) -> bool:
        """Train with progress, figures and checkpoints; whether it came to its end."""
        self._saved_at = time.monotonic()
        say(f"run folder: {self.folder}")
        tracking = self._settings.tracking
        resumed_at = self._trainer.steps if self._resumed else None
        with Tracker(self.folder, tracking, self._config, resumed_at) as self._tracker:
            complete = self._trainer.run(self._after_rollout, should_stop)
            self._trainer.save(self.folder)
        if complete:
            self._controller().save(self.folder / "policy")
        return complete

    def _after_rollout(self, row: dict[str, float]) -> None:
        self._tracker.log(self._trainer.steps, row)
        if "validation_speedup" in row:
            say(self._line(row))
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._trainer.save(self.folder)
            self._saved_at = time.monotonic()

    def _line(self, row: dict[str, float]) -> str:
        total = self._trainer.settings.total_steps
        left = (total - row["steps"]) / max(row["steps"] / row["seconds"], 1e-9)
        best = self._trainer.progress.best
        return (
            f"{row['steps'] / 1e6:6.2f}M of {total / 1e6:.2f}M {UNITS[self._settings.level]}"
            f"  {row['steps_per_s'] / 1e3:5.1f}k/s  {max(left, 0):4.0f} s left"
            f"  validation {row['validation_speedup']:.3f}x (best worth {best:.3f})"
        )

    def _controller(self) -> LearnedController:
        meta = {
            "provenance": provenance(self._settings.seed),
            "algorithm": asdict(self._trainer.settings),
            "observation": asdict(self._settings.observation),
            "level": self._settings.level,
            "training_seconds": self._trainer.progress.seconds,
            "validation_worth": self._trainer.progress.best,
            "trained_on": self._trained_on(),
        }
        return self._trainer.controller(meta)

    def _trained_on(self) -> dict[str, list[str]]:
        """Names of the links and parts of the training mix, and its protocols."""
        scenario = self._config["scenario"]
        own = scenario["train_on"] or scenario
        protocols = dict.fromkeys(s.protocol.name for s in self._settings.mix)
        return {
            "links": list(own["links"]),
            "parts": list(own["parts"]),
            "protocols": list(protocols),
        }

    def judge(self) -> Path:
        """Judge all controllers on held-out links and requests; the path of the report."""
        settings = self._settings
        learned = load_controller(self.folder / "policy")
        controllers = {**self._rivals, LEARNED: lambda _: learned}
        split = settings.judging.split
        worlds = {
            regime: World.load(scenario, split, self._recording, settings.seed)
            for regime, scenario in settings.regimes.items()
        }
        sessions = settings.judging.sessions
        with open_launcher(settings.launcher) as launcher:
            judged = judge_all(controllers, worlds, sessions, settings.seed, say, launcher)
        made = provenance(settings.seed)
        report = build_report(judged, made, self._config, settings.seed)
        write_report(report, self.folder, FIGURES)
        results = {"provenance": made, "results": report["controllers"][LEARNED]}
        write_json(self.folder / "policy" / "results.json", results)
        write_card(self.folder / "policy", learned, report)
        point_latest(self.folder)
        self._draw(judged, controllers, worlds)
        return self.folder / "report.md"

    def _draw(
        self,
        judged: Judged,
        controllers: dict[str, Callable[[Scenario], Controller]],
        worlds: dict[str, World],
    ) -> None:
        figures.speed_by_regime(judged, self.folder / "speed.png")
        rules = [name for name in ("tuned_rule", "paper_rule") if name in controllers]
        sessions, seed = self._settings.judging.validation_sessions, self._settings.seed
        rivals: dict[str, float] = {
            name: float(
                judge_mix(self._validation, controllers[name], sessions, seed).speedup.mean()
            )
            for name in rules
        }
        history = self._trainer.progress.history
        figures.learning_curve(history, rivals, self.folder / "learning.png")
        world = next(iter(worlds.values()))
        draw_timeline(
            world, controllers[LEARNED](world.scenario), seed, self.folder / "timeline.png"
        )
        self._draw_kept(world.scenario.keep_levels)

    def _draw_kept(self, keeps: tuple[float, ...]) -> None:
        # Imported here: transformers takes seconds, and only this figure needs a model.
        from covspec_core.models.loading import hide_progress
        from covspec_core.pairs import load_draft

        hide_progress()
        model, image = self._settings.model, load_image(EXAMPLE)
        draft = load_draft(
            model.draft, model.reduction, model.target, model.device, model.dtype, model.decoder
        )
        states = draft.visual_states(draft.prompt(image, QUESTION))
        order = reduction(ReductionSettings.of(model.reduction))(states, np.random.default_rng(0))
        some = [keep for keep in keeps if 0 < keep < 1]
        path = self.folder / "kept.png"
        figures.kept_tokens_over_image(image, order, some, QUESTION, path)
