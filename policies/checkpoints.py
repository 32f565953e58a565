"""Checkpoints: written whole, checked when read."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

from covspec_core.errors import RunConflict

CHECKPOINT = "checkpoint.pkl"
DIGEST_BYTES = hashlib.sha256().digest_size


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interrupted write leaves the last one intact."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pickle.dumps(state)
    partial = folder / f"{CHECKPOINT}.partial"
    partial.write_bytes(hashlib.sha256(written).digest() + written)
    partial.replace(folder / CHECKPOINT)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The state that was written.

    Raises:
        RunConflict: If it is missing or damaged.
    """
    path = folder / CHECKPOINT
    try:
        written = path.read_bytes()
        if hashlib.sha256(written[DIGEST_BYTES:]).digest() != written[:DIGEST_BYTES]:
            raise ValueError("its checksum is wrong")
        state: dict[str, Any] = pickle.loads(written[DIGEST_BYTES:])
    except Exception as error:  # A damaged pickle raises whatever its bytes happen to mean.
        raise RunConflict(f"{path} is no readable checkpoint: {error}") from error
    return state
