"""Folders of runs: never overwritten, never used twice at once, written whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from covspec_core.errors import FolderInUse, RunConflict
from covspec_core.provenance import provenance


def new_run(runs_dir: Path, name: str | None, label: str) -> Path:
    """Make a run's folder.

    Args:
        runs_dir: Where runs live.
        name: Wanted name, or ``None`` for time and label.
        label: What the run is about.

    Raises:
        RunConflict: If a folder of the wanted name is there already.
    """
    if name is not None:
        folder = runs_dir / str(name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            message = f"run folder {folder} is there already; resume={folder} goes on"
            raise RunConflict(message) from None
        return folder
    stem, tries = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{label}", 1
    while True:
        folder = runs_dir / (stem if tries == 1 else f"{stem}-{tries}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            tries += 1
        else:
            return folder


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the lock ends with the process, however that ends.

    Raises:
        FolderInUse: If another living process holds it.
    """
    with (folder / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise FolderInUse(f"{folder} is in use by process {lock.read()}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process does what must be done by one at a time in a folder."""
    with (folder / "alone.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a living process holds a folder."""
    try:
        with claimed(folder):
            return False
    except FolderInUse:
        return True


def point_latest(folder: Path) -> None:
    """Let ``latest`` beside the folder lead to it."""
    link = folder.parent / "latest"
    fresh = folder.parent / f".latest-{os.getpid()}"
    fresh.symlink_to(folder.name)
    fresh.replace(link)


MADE: Final = "made.json"


def note_process(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Note who works in a folder; the provenance of every process that did, this one last."""
    path = folder / MADE
    made = json.loads(path.read_text())["provenance"] if path.is_file() else []
    made.append(provenance(seed))
    write_json(path, {"provenance": made})
    return made


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write whole or not at all."""
    write_text(path, json.dumps(values, indent=2))


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all: on a full disk the old file stays as it is."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
