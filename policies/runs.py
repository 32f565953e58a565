"""Folders of runs: never overwritten, never used twice at once, always with provenance."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from covspec_core.errors import RunConflict

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "torch", "transformers", "gymnasium", "stable-baselines3", "hydra-core")


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
        folder = runs_dir / name
        if folder.exists():
            raise RunConflict(f"run folder {folder} is there already; resume={folder} goes on")
        folder.mkdir(parents=True)
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
    """Hold a folder for this process.

    Raises:
        RunConflict: If another living process holds it.
    """
    lock = folder / "run.lock"
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        holder = int(lock.read_text() or 0)
        if _alive(holder):
            raise RunConflict(f"{folder} is in use by process {holder}") from None
        lock.write_text(str(os.getpid()))
    else:
        os.write(handle, str(os.getpid()).encode())
        os.close(handle)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def point_latest(folder: Path) -> None:
    """Let ``latest`` beside the folder lead to it."""
    link = folder.parent / "latest"
    fresh = folder.parent / f".latest-{os.getpid()}"
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def provenance(seed: int) -> dict[str, Any]:
    """Commit, command, seed, versions and hardware: what every figure carries."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "command": " ".join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "time": f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}",
    }


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=2))
    partial.replace(path)
