"""A grid of trainings on any launcher: ``python -m policies.grid seed=0,1,2 launcher=ray``.

``python train.py -m seed=0,1,2`` plays the same grid one after another, as Hydra has it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting, RunConflict
from covspec_core.provenance import provenance
from policies.algorithms.settings import read_algorithm
from policies.console import composed, say
from policies.jobs import Job, run_jobs
from policies.launcher import LauncherSettings, open_launcher
from policies.runs import alone, write_json
from policies.settings import read_run


def combinations(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """What Hydra's multirun would play: every combination of comma-separated values.

    Raises:
        InvalidSetting: If an override cannot be read.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        said = " ".join(str(error).split())
        raise InvalidSetting(f"overrides must be Hydra's, got {list(overrides)}: {said}") from error
    each = []
    for override, word in zip(parsed, overrides, strict=True):
        swept = override.is_sweep_override()
        key = override.get_key_element()
        values = override.sweep_string_iterator() if swept else ()
        each.append([f"{key}={value}" for value in values] if swept else [word])
    return [tuple(chosen) for chosen in product(*each)]


def split_launcher(overrides: Sequence[str]) -> tuple[list[str], LauncherSettings]:
    """Overrides of the trainings, and where they run."""
    ours = [word for word in overrides if word.startswith(("launcher=", "launcher."))]
    settings = read_run(composed("train", ours)).launcher
    return [word for word in overrides if word not in ours], settings


def checked(job: Job) -> Job:
    """A job whose settings build, so that none fails after the others ran.

    Raises:
        InvalidSetting: If a setting is unknown or impossible.
    """
    read_run(job.config)
    read_algorithm(job.config["algorithm"])
    return job


def run_grid(name: str, overrides: Sequence[str]) -> Path:
    """Play a grid; the file that says what became of each of its trainings."""
    rest, launching = split_launcher(overrides)
    chosen = combinations(rest)
    folder = Path(composed("train", chosen[0])["runs_dir"]).resolve() / name
    jobs = [
        checked(Job.of(words, f"{name}_{number:03d}", folder))
        for number, words in enumerate(chosen)
    ]
    found = _begin(folder, jobs)
    with open_launcher(launching) as launcher:
        for done in run_jobs(launcher, jobs, folder, worker_dir=launching.worker_dir):
            found["jobs"][done.name]["best"] = max(done.values)
            say(f"{done.name}: best validation worth {max(done.values):.3f}")
            write_json(folder / "grid.json", found)
    return folder / "grid.json"


def _begin(folder: Path, jobs: list[Job]) -> dict[str, Any]:
    """The table of a new grid, or of the same one that was interrupted."""
    table = {job.name: {"overrides": list(job.overrides), "best": None} for job in jobs}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.json"
    with alone(folder):
        if not path.is_file():
            seed = int(jobs[0].config["seed"])
            made = provenance(seed)
            write_json(path, {"provenance": made, "jobs": table})
    found: dict[str, Any] = json.loads(path.read_text())
    known = {name: row["overrides"] for name, row in found["jobs"].items()}
    if known != {name: row["overrides"] for name, row in table.items()}:
        raise RunConflict(f"{path} is of another grid; choose another --name")
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and play the grid."""
    parser = argparse.ArgumentParser("policies.grid", description=__doc__)
    parser.add_argument("--name", default="grid", help="folder below runs_dir; the same goes on")
    parser.add_argument("overrides", nargs="+", help="overrides of train.py, swept by commas")
    given = parser.parse_args(words)
    with clear_end("grid"):
        say(f"grid: {run_grid(given.name, given.overrides)}")


if __name__ == "__main__":
    main()
