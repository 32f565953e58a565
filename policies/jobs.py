"""Trainings as pieces of work: on any machine, begun anew or resumed, artefacts brought back."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covspec_core.errors import FolderInUse
from policies.console import composed
from policies.launcher import Launcher
from policies.runs import point_latest
from policies.training_run import TrainingRun, open_run

PATIENCE_S = 60
"""How long a job waits for its folder: who held it on a dying machine may outlive that a little."""
LOCK = "run.lock"
Verdict = Callable[[str, int, float], bool]


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: Of its folder.
        overrides: Of ``train.py``; they make the same run alone.
        config: The composed configuration.
        metric: Figure of the validations that is reported.
        judged: Whether to judge on the held-out split and to write a report.
        token: File in ``runs_dir`` by which a machine sees that it shares the folder.
        worker_dir: Folder of runs for a machine that does not share it.
    """

    name: str
    overrides: tuple[str, ...]
    config: Mapping[str, Any]
    metric: str = "validation_worth"
    judged: bool = True
    token: str = ""
    worker_dir: str | None = None

    @staticmethod
    def of(overrides: Iterable[str], name: str, runs_dir: Path) -> Job:
        """Compose a job.

        Raises:
            InvalidSetting: If an override does not exist.
        """
        words = (*overrides, f"runs_dir={runs_dir}", f"name={name}")
        config = composed("train", words)
        # A job is a piece of work itself: it does its own work where it is.
        return Job(name, words, config | {"launcher": composed("train", ())["launcher"]})


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        name: Of its folder.
        complete: Whether it came to its end; if not, it was stopped by a verdict.
        values: The metric at every validation.
        files: The folder, packed, if the machine does not share it.
    """

    name: str
    complete: bool
    values: tuple[float, ...]
    files: bytes | None


def run_jobs(
    launcher: Launcher,
    jobs: Iterable[Job],
    runs_dir: Path,
    verdict: Verdict | None = None,
    worker_dir: str | None = None,
) -> Iterator[Done]:
    """Play jobs and bring their folders to ``runs_dir``; results as they become ready.

    Args:
        launcher: Where they run.
        jobs: Taken one by one, as there is room.
        runs_dir: Where runs live on this machine.
        verdict: Told name, number and metric of each validation; true stops the training. It is
            called on this machine.
        worker_dir: Where runs live on machines that do not share ``runs_dir``.
    """
    runs_dir.mkdir(parents=True, exist_ok=True)
    token = runs_dir / f".shared-{uuid.uuid4().hex}"
    token.touch()
    try:
        with launcher.answering(verdict or _go_on) as asked:
            sent = (replace(job, token=token.name, worker_dir=worker_dir) for job in jobs)
            for _, done in launcher.each(run_job, asked, sent):
                if done.files is not None:
                    _unpack(done.files, runs_dir / done.name)
                    point_latest(runs_dir / done.name)
                yield done
    finally:
        token.unlink()


def _go_on(name: str, number: int, value: float) -> bool:
    return False


def run_job(verdict: Verdict, job: Job) -> Done:
    """Train, resumed where a checkpoint is in reach, and judge if asked for."""
    runs_dir = Path(job.config["runs_dir"])
    shared = (runs_dir / job.token).is_file()
    if not shared and job.worker_dir is not None:
        runs_dir = Path(job.worker_dir)
    config = {**job.config, "runs_dir": str(runs_dir)}
    with _as_command("train.py", *job.overrides), opened(config) as run:
        watch = Watch(run.folder / "metrics.jsonl", job.metric, job.name, verdict)
        complete = run.train(watch)
        watch()
        if complete and job.judged and not (run.folder / "report.json").is_file():
            run.judge()
    files = None if shared else _packed(run.folder)
    return Done(job.name, complete, tuple(watch.values), files)


@contextmanager
def opened(config: Mapping[str, Any]) -> Iterator[TrainingRun]:
    """The run of a name, begun or gone on with; waits a little for one that a dying job holds."""
    folder = Path(config["runs_dir"]) / str(config["name"])
    if folder.is_dir() and not (folder / "config.yaml").is_file():
        shutil.rmtree(folder)  # Died before there was anything to go on with.
    own = {**config, "resume": str(folder) if folder.is_dir() else None}
    with ExitStack() as stack:
        yield _entered(stack, own)


def _entered(stack: ExitStack, config: dict[str, Any]) -> TrainingRun:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return stack.enter_context(open_run(dict(config)))
        except FolderInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


class Watch:
    """Hands the validations of a running training to a verdict.

    Args:
        path: The run's ``metrics.jsonl``, which has every row at once.
        metric: Figure to hand on.
        name: Of the job.
        verdict: See :func:`run_jobs`.
    """

    def __init__(self, path: Path, metric: str, name: str, verdict: Verdict) -> None:
        self.values: list[float] = []
        self._path, self._metric, self._name, self._verdict = path, metric, name, verdict
        self._place, self._over = 0, False

    def __call__(self) -> bool:
        """Whether the training should stop."""
        with self._path.open() as lines:
            lines.seek(self._place)
            rows = [json.loads(line) for line in lines.readlines()]
            self._place = lines.tell()
        for row in rows:
            if self._metric in row:
                self.values.append(row[self._metric])
                self._over |= self._verdict(self._name, len(self.values), self.values[-1])
        return self._over


@contextmanager
def _as_command(*words: str) -> Iterator[None]:
    """Figures that a job writes carry the command that makes this run alone."""
    before, sys.argv = sys.argv, list(words)
    try:
        yield
    finally:
        sys.argv = before


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != LOCK:
                tar.add(path, path.relative_to(folder))
    return packed.getvalue()


def _unpack(files: bytes, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(files)) as tar:
        tar.extractall(partial, filter="data")
    if folder.exists():
        shutil.rmtree(folder)  # An earlier try of the same job.
    partial.replace(folder)
