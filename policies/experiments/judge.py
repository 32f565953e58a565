"""Judges the named controllers on one split: ``evaluate.py controllers=[...]``."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from covspec_core.provenance import provenance
from env.play import World
from policies import figures
from policies.bounds import BOUNDS
from policies.console import say
from policies.experiments import Findings
from policies.factory import TunedOnce, make_controller
from policies.launcher import open_launcher
from policies.report import build_report, judge_all, judge_bounds, markdown, write_report
from policies.runs import new_run
from policies.settings import RunSettings, read_run
from policies.tracking import Tracker


def read_controllers_and_bounds(config: dict[str, Any]) -> tuple[list[str], RunSettings]:
    """Names of bounds among the controllers, and the settings of a run with the others."""
    names = config["controllers"]
    if not isinstance(names, list):
        return [], read_run(config)
    bounds = [name for name in BOUNDS if name in names]
    return bounds, read_run(config | {"controllers": [n for n in names if n not in bounds]})


def run(config: dict[str, Any]) -> Findings:
    """Judge, and write a report into a run folder."""
    bounds, settings = read_controllers_and_bounds(config)
    recording = settings.model.recorded()
    tuned = TunedOnce.of(settings, recording, say)
    controllers = {
        c.name: partial(make_controller, c, seed=settings.seed, tuned=tuned)
        for c in settings.controllers
    }
    for chosen in settings.controllers:
        if chosen.kind != "tuned":
            controllers[chosen.name](settings.scenario)  # A wrong one fails before anything runs.
    worlds = {
        regime: World.load(scenario, settings.judging.split, recording, settings.seed)
        for regime, scenario in settings.regimes.items()
    }
    for name, world in product(bounds, worlds.values()):
        BOUNDS[name](world, 1, settings.seed)  # so does a bound that a regime does not have
    folder = new_run(Path(config["runs_dir"]), config["name"], "evaluation")
    with open_launcher(settings.launcher) as launcher:
        play = worlds, settings.judging.sessions, settings.seed, say, launcher
        judged = judge_all(controllers, *play) | judge_bounds(bounds, *play)
    report = build_report(judged, provenance(settings.seed), config, settings.seed)
    figures.speed_by_regime(judged, folder / "speed.png")
    write_report(report, folder, ["speed.png"])
    with Tracker(folder, settings.tracking, config) as tracker:
        tracker.log(
            0, {f"{n}/speedup": r["all"]["speedup"] for n, r in report["controllers"].items()}
        )
    say(f"report: {folder / 'report.md'}")
    return Findings(report, markdown(report))
