"""Where a figure comes from: commit, command, seed, versions and hardware."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from covspec_core.errors import InvalidSetting

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("numpy", "torch", "transformers", "gymnasium", "stable-baselines3", "hydra-core")


def require_source_tree() -> None:
    """``conf/`` and ``assets/`` lie beside the packages and are not installed with them.

    Raises:
        InvalidSetting: If they are not there.
    """
    missing = [name for name in ("conf", "assets") if not (ROOT / name).is_dir()]
    if missing:
        raise InvalidSetting(
            f"{ROOT} must hold conf/ and assets/, got no {' and no '.join(missing)}: "
            "install the source tree with `pip install -e .`"
        )


def provenance(seed: int) -> dict[str, Any]:
    """What every figure carries.

    Args:
        seed: Of the measurement.
    """
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "command": _command(),
        "seed": seed,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "time": f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}",
    }


def _command() -> str:
    """How this process was started: a script by its name, a module as ``python -m``."""
    module = sys.modules["__main__"].__spec__
    program = [Path(sys.argv[0]).name] if module is None else ["-m", module.name]
    return shlex.join(["python", *program, *sys.argv[1:]])


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
