"""Train a controller and judge it: ``python train.py scenario=bursty seed=3``."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from policies.console import run_entry, say
from policies.training_run import TrainingRun, open_run


class Interrupt:
    """Asks a training to stop after the rollout in hand; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        say("stopping after this rollout; once more to stop at once")
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main(config: dict[str, Any]) -> None:
    """Open or resume a run, train, judge, report."""
    with open_run(config) as run:
        _train(run)


def _train(run: TrainingRun) -> None:
    interrupt = Interrupt()
    if not run.train(lambda: interrupt.asked):
        say(f"interrupted; go on with: python train.py resume={run.folder}")
        raise SystemExit(130)
    report = run.judge()
    say(Path(report).read_text())
    say(f"report: {report}")


if __name__ == "__main__":
    run_entry("train", main)
