"""Judge controllers: ``python evaluate.py controllers=[paper_rule,runs/latest/policy]``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from covspec_core.provenance import provenance
from covspec_core.recording import load_recording
from env.play import World
from policies import figures
from policies.console import run_entry, say
from policies.factory import TunedOnce, make_controller
from policies.report import build_report, judge_all, markdown, write_report
from policies.runs import new_run
from policies.settings import read_output, read_run
from policies.tracking import Tracker


def main(config: dict[str, Any]) -> None:
    """Judge the named controllers on one split and write a report."""
    settings, output = read_run(config), read_output(config)
    recording = load_recording(settings.model.recording)
    train = TunedOnce(
        lambda: World.load(settings.scenario, "train", recording, settings.seed),
        settings.tuning, settings.seed, say,
    )  # fmt: skip
    controllers = {
        c.name: make_controller(c, settings.scenario, settings.seed, train)
        for c in settings.controllers
    }
    worlds = {
        regime: World.load(scenario, settings.judging.split, recording, settings.seed)
        for regime, scenario in settings.regimes.items()
    }
    folder = new_run(Path(config["runs_dir"]), config["name"], "evaluation")
    judged = judge_all(controllers, worlds, settings.judging.sessions, settings.seed, say)
    report = build_report(judged, provenance(settings.seed), config, settings.seed)
    figures.speed_by_regime(judged, folder / "speed.png")
    write_report(report, folder, ["speed.png"])
    with Tracker(folder, settings.tracking, config) as tracker:
        tracker.log(
            0, {f"{n}/speedup": r["all"]["speedup"] for n, r in report["controllers"].items()}
        )
    print(json.dumps(report) if output == "json" else markdown(report))
    say(f"report: {folder / 'report.md'}")


if __name__ == "__main__":
    run_entry("evaluate", main)
