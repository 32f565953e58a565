"""An Optuna study over train.py's overrides: ``python -m policies.study conf/sweep/ppo.yaml``.

The same command again goes on with an interrupted study; started twice, both share the work.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from covspec_core.ending import clear_end
from covspec_core.provenance import provenance
from policies.console import composed, say
from policies.grid import split_launcher
from policies.jobs import run_jobs
from policies.launcher import open_launcher
from policies.runs import write_json
from policies.space import Space
from policies.trials import PRUNERS, Referee, Trials

TRIALS = 20
"""How many there are if nobody says it."""


def run_study(
    path: Path, name: str, trials: int | None, pruner: str | None, overrides: Sequence[str]
) -> Path:
    """Play trials until there are enough; the file with the best.

    Args:
        path: Sweep file.
        name: Of the study's folder below ``runs_dir``.
        trials: How many, those of earlier starts included; the sweep file's ``run_cap``, or
            ``TRIALS``, if ``None``.
        pruner: One of ``PRUNERS``; the sweep file's early end if ``None``.
        overrides: Of every training, and the launcher. A parameter of the file that is among them
            is not searched.
    """
    rest, launching = split_launcher(overrides)
    config = composed("train", rest)
    space = Space.load(path).without({word.partition("=")[0] for word in rest})
    folder = Path(config["runs_dir"]).resolve() / name
    referee = Referee(folder, space, pruner or ("hyperband" if space.stop else "none"))
    most = trials if trials is not None else space.run_cap or TRIALS
    book = Trials(referee, rest, most, int(config["seed"]))
    with book.working(), open_launcher(launching) as launcher:
        for done in run_jobs(launcher, book.jobs(), folder, referee, launching.worker_dir):
            ending = "" if done.complete else f", stopped at validation {len(done.values)}"
            say(f"{done.name}: best {book.tell(done):.3f}{ending}")
    return _write_best(book, folder)


def _write_best(book: Trials, folder: Path) -> Path:
    best = book.best()
    found = {"provenance": provenance(book.seed), **best}
    write_json(folder / "study.json", found)
    complete = best["trials"]["complete"]
    say(f"best of {complete} complete trials: {best['value']:.3f} ({best['metric']})")
    say(f"train it: {best['command']}")
    return folder / "study.json"


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and search."""
    parser = argparse.ArgumentParser("policies.study", description=__doc__)
    parser.add_argument("sweep", type=Path, help="a file of conf/sweep")
    told = f"earlier starts included; the sweep file's run_cap, or {TRIALS}, if not given"
    parser.add_argument("--trials", type=int, help=told)
    parser.add_argument("--name", help="of the study; that of the sweep file if not given")
    parser.add_argument("--pruner", choices=PRUNERS, help="the sweep file's if not given")
    parser.add_argument("overrides", nargs="*", help="of train.py, for every trial")
    given = parser.parse_intermixed_args(words)
    with clear_end("study"):
        name = given.name or f"study_{given.sweep.stem}"
        where = run_study(given.sweep, name, given.trials, given.pruner, given.overrides)
        say(f"study: {where}")


if __name__ == "__main__":
    main()
