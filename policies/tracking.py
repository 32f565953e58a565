"""Figures of a run: always one JSON line a row, TensorBoard and W&B on request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

from covspec_core.errors import InvalidSetting
from env.presets import build
from policies.runs import write_text

MODES = ("disabled", "offline", "online")


@dataclass(frozen=True)
class WandbSettings:
    """Weights & Biases.

    Attributes:
        mode: ``disabled``, ``offline`` or ``online``.
        project: Project name.
        entity: Team or user; the default one if ``None``.
        group: Group of runs.
        tags: Tags of the run.
    """

    mode: str = "disabled"
    project: str = "covspec"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidSetting(f"wandb.mode must be one of {MODES}, got {self.mode!r}")


@dataclass(frozen=True)
class TrackingSettings:
    """Where figures go beside ``metrics.jsonl``.

    Attributes:
        tensorboard: Write event files.
        wandb: Weights & Biases.
    """

    tensorboard: bool
    wandb: WandbSettings

    @staticmethod
    def of(values: Mapping[str, Any]) -> TrackingSettings:
        """From the composed configuration."""
        own = {name: values[name] for name in ("tensorboard", "wandb")}
        return build(TrackingSettings, own, "logger")


class Tracker:
    """Writes rows of figures to every sink; a context manager.

    Args:
        folder: Of the run.
        settings: Sinks.
        config: Composed configuration, for W&B.
        resumed_at: Step at which an interrupted run goes on: rows beyond it are forgotten, as
            they come again. ``None`` for a new run.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrackingSettings,
        config: Mapping[str, Any],
        resumed_at: int | None = None,
    ) -> None:
        path = folder / "metrics.jsonl"
        if resumed_at is not None and path.exists():
            _forget_after(path, resumed_at)
        self._lines = path.open("a")
        self._board: Any = None
        if settings.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            purge_step = None if resumed_at is None else resumed_at + 1
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)
        self._wandb = _start_wandb(folder, settings.wandb, config, resumed_at is not None)

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """One row of figures at a step."""
        self._lines.write(json.dumps({"step": step, **row}) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(row), step=step)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=int(kind is not None))


def _forget_after(path: Path, step: int) -> None:
    """Keep whole rows up to a step; a process that was killed may have left half a row."""
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if row["step"] <= step:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def _start_wandb(
    folder: Path, settings: WandbSettings, config: Mapping[str, Any], resumed: bool
) -> Any:
    if settings.mode == "disabled":
        return None
    import wandb

    return wandb.init(
        mode=cast("Literal['offline', 'online']", settings.mode),
        project=settings.project,
        entity=settings.entity,
        group=settings.group,
        tags=list(settings.tags),
        dir=str(folder),
        id=folder.resolve().name,
        name=folder.resolve().name,
        resume="allow" if resumed else None,
        config=dict(config),
    )
