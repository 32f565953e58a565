"""Answers on disk, one JSON line each, so that an interrupted measurement goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from covspec_core.errors import RunConflict
from policies.answers import Row
from policies.model_settings import ModelSettings
from policies.runs import MADE, write_json, write_text
from policies.systems import System

Place = tuple[str, int]
"""Set and number of a question."""


class AnswerStore:
    """Rows of every system, in a folder that remembers what they were made with.

    Args:
        folder: Where they are or will be.
        model: The pair, and how it decodes.
        systems: Who answers; others may have answered before and others may follow.
        seed: Of everything.
        made: Provenance of this process.

    Raises:
        RunConflict: If the folder holds answers that were made with something else.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelSettings,
        systems: Sequence[System],
        seed: int,
        made: Mapping[str, Any],
    ) -> None:
        self._folder = folder
        named = (model.draft, model.target, *([model.head] if model.head else []))
        same = {"model": repr(model), "pair": {n: digest(n) for n in named}, "seed": seed}
        own = {system.name: _identity(system) for system in systems}
        known: dict[str, Any] = {"same": same, "systems": {}, "provenance": []}
        if (folder / MADE).exists():
            known = json.loads((folder / MADE).read_text())
        if known["same"] != same:
            differs = sorted(key for key in same if known["same"].get(key) != same[key])
            raise RunConflict(f"{folder} holds answers made with another {' and '.join(differs)}")
        others = sorted(n for n, text in own.items() if known["systems"].get(n, text) != text)
        if others:
            raise RunConflict(f"{folder} holds answers of other systems named {', '.join(others)}")
        known["systems"] |= own
        known["provenance"].append(dict(made))
        write_json(folder / MADE, known)
        self.provenance: list[dict[str, Any]] = known["provenance"]

    def path(self, system: str) -> Path:
        """File of a system's rows."""
        return self._folder / f"{system}.jsonl"

    def rows(self, system: str) -> dict[Place, Row]:
        """What a system has answered; a line that an interruption cut off is dropped."""
        path = self.path(system)
        if not path.exists():
            return {}
        text = path.read_text()
        whole, cut = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        if cut:
            write_text(path, whole)
        rows = map(json.loads, whole.splitlines())
        return {(row["set"], row["index"]): row for row in rows}

    def add(self, system: str, rows: Iterable[Row]) -> None:
        """Append rows, at once on disk."""
        with self.path(system).open("a") as file:
            file.write("".join(f"{json.dumps(row)}\n" for row in rows))


def digest(name: str) -> str:
    """SHA-256 over a file, or the names and bytes of a folder's files; a hub name as it is."""
    path = Path(name)
    if not path.exists():
        return name
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(path)).encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _identity(system: System) -> str:
    learned = system.settings.values.get("path")
    return repr(system) if learned is None else f"{system!r} {digest(str(learned))}"
