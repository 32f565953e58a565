"""Train a controller and judge it: ``python train.py scenario=bursty seed=3``."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from policies.console import run_entry, say
from policies.training_run import TrainingRun, open_run

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Within it, a signal asks to stop after the rollout in hand; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._usual = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        say("stopping after this rollout; once more to stop at once")
        self._restore()


def main(config: dict[str, Any]) -> None:
    """Open or resume a run, train, judge, report."""
    with open_run(config) as run:
        _train(run)


def _train(run: TrainingRun) -> None:
    with Interrupt() as interrupt:
        run.train(lambda: interrupt.asked)
    # Also behind the last rollout: judging takes minutes.
    if interrupt.asked:
        say(f"interrupted; go on with: python train.py resume={run.folder}")
        raise SystemExit(130)
    report = run.judge()
    say(Path(report).read_text())
    say(f"report: {report}")


if __name__ == "__main__":
    run_entry("train", main)
