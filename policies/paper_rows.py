"""The rows of the paper's tables as settings of the engine, and how one is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from covspec_core.calibrate import thresholds
from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from covspec_core.recording import Recording
from covspec_core.scenario import Scenario
from covspec_core.stream import StreamConstants, StreamSize, draw_stream
from env.play import World
from env.presets import build, preset
from env.rewards import RewardWeights
from policies.algorithms.settings import Settings
from policies.baselines import Elsewhere
from policies.beliefs import checked
from policies.factory import TunedOnce, make_controller
from policies.judging import judge
from policies.learned import LearnedController
from policies.settings import ControllerSettings, TuningSettings
from policies.training import Trainer

COLUMNS: Final = ("speed", "accuracy", "comm", "price")
KEPT: Final = 1 / 12
"""Share of visual tokens of the paper: 64 of 768."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        row: What the table calls it.
        table: Which one.
        controller: Values as in a file of ``conf/controller``; none if the row is not modelled.
        reported: Its cells by column; the missing ones are dashes.
        contradicted: Columns that contradict the other rows.
        why: Why these cannot be met.
        checked: Share of tokens below the gate's threshold, which then follows from the stream.
        mean_of: Row whose checked blocks are on average as long as the fixed length here.
        reduction: How visual tokens are chosen, ``covspec`` or ``random``.
    """

    row: str
    table: str = "ours"
    controller: dict[str, Any] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)
    contradicted: tuple[str, ...] = ()
    why: str = ""
    checked: float | None = None
    mean_of: str | None = None
    reduction: str = "covspec"

    def __post_init__(self) -> None:
        unknown = sorted({*self.reported, *self.contradicted} - set(COLUMNS))
        if unknown:
            raise InvalidSetting(f"row {self.row} allows columns {COLUMNS}, got unknown {unknown}")
        if self.reduction not in ("covspec", "random"):
            raise InvalidSetting(
                f"row {self.row}: reduction must be covspec or random, got {self.reduction!r}"
            )


def read_rows(values: Mapping[str, Any], where: str) -> dict[str, Row]:
    """Rows by name, checked down to their controllers.

    Raises:
        InvalidSetting: If a name is unknown, a value is wrong, or a row refers to none.
    """
    rows = {name: build(Row, row, f"{where}.{name}") for name, row in values.items()}
    for name, row in rows.items():
        if row.controller:
            ControllerSettings.of(row.controller, name)
        if row.mean_of is not None and row.mean_of not in rows:
            raise InvalidSetting(
                f"{where}.{name}.mean_of must be one of {sorted(rows)}, got {row.mean_of!r}"
            )
    return rows


class Tables:
    """Plays rows on streams: the engine's own rounds, all rows on equal noise.

    Args:
        scenario: The paper's operating point.
        losses: Of each reduction: keep levels, and what pruning costs there; see ``draw_stream``.
        size: How much is drawn.
        tuning: Search budget of tuned rules.
        learning: How learned controllers are trained.
        seed: Of noise, sessions, search and training.
        say: Takes lines about search and training.
    """

    def __init__(
        self,
        scenario: Scenario,
        losses: Mapping[str, Mapping[float, float]],
        size: StreamSize,
        tuning: TuningSettings,
        learning: Settings,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._scenario, self._losses, self._size = scenario, losses, size
        self._tuning, self._learning, self._seed, self._say = tuning, learning, seed, say

    def play(
        self, rows: Mapping[str, Row], constants: StreamConstants, split: str, sessions: int
    ) -> dict[str, dict[str, float]]:
        """Figures of every row that is modelled, by its name.

        Args:
            rows: To play; a row whose length another decides comes behind it.
            constants: Of the stream.
            split: Whose noise is used.
            sessions: Of each row.

        Returns:
            ``speed``, ``comm`` in MiB, ``price`` and ``deviations`` in percent, ``length`` of the
            mean block that is checked.
        """
        drawn = {
            name: draw_stream(constants, losses, self._size, split, self._seed)
            for name, losses in self._losses.items()
            if any(row.reduction == name for row in rows.values())
        }
        found: dict[str, dict[str, float]] = {}
        for name, row in rows.items():
            if row.controller:
                settings = self._settings(name, row, constants, found)
                found[name] = self._row(settings, drawn[row.reduction], constants, split, sessions)
        return found

    def _settings(
        self, name: str, row: Row, constants: StreamConstants, found: Mapping[str, Any]
    ) -> ControllerSettings:
        values = dict(row.controller)
        if row.mean_of is not None:
            values["draft_length"] = round(found[row.mean_of]["length"])
        if row.checked is not None:
            losses = self._losses[row.reduction]
            train = draw_stream(constants, losses, self._size, "train", self._seed)
            gates = thresholds(train, values["keep"], row.checked)
            values["gate_threshold"] = gates[values["scenario"]["gate"]]["threshold"]
        return ControllerSettings.of(values, name)

    def _row(
        self,
        settings: ControllerSettings,
        drawn: Recording,
        constants: StreamConstants,
        split: str,
        sessions: int,
    ) -> dict[str, float]:
        controller = self._controller(settings, constants)
        counted = _Counted(controller)
        scores = judge(World.load(self._scenario, split, drawn), counted, sessions, self._seed)
        summary = scores.summary()
        return {
            "speed": summary["speedup"],
            "comm": summary["mb_per_1024_tokens"],
            "price": 100.0 * summary["price_saved"],
            "deviations": 100.0 * summary["deviation_rate"],
            "length": counted.mean_length,
        }

    def _controller(self, settings: ControllerSettings, constants: StreamConstants) -> Controller:
        """A row's controller, tuned or learned on the other splits' noise."""
        inside = replace(self._scenario, **settings.changes)

        def worlds(split: str = "train") -> list[World]:
            own = draw_stream(constants, self._losses["covspec"], self._size, split, self._seed)
            return [World.load(inside, split, own)]

        if settings.kind == "learned":
            return Elsewhere(self._learned(settings.name, worlds), settings.changes)
        tuned = TunedOnce(worlds, self._tuning, self._seed, self._say)
        return make_controller(settings, self._scenario, self._seed, tuned)

    def _learned(self, name: str, worlds: Callable[[str], list[World]]) -> LearnedController:
        reward = build(RewardWeights, preset("reward", "training"), "reward")
        trainer = Trainer(
            self._learning, worlds("train"), worlds("validation"), reward, self._seed,
            self._tuning.sessions,
        )  # fmt: skip
        self._say(f"training {name}: {self._learning.total_steps} rounds")
        trainer.run(lambda row: None)
        return trainer.controller()


class _Counted:
    """A controller whose checked blocks are counted: how long they are on average."""

    def __init__(self, controller: Any) -> None:
        self._controller, self._tokens, self._blocks = controller, 0, 0
        self.changes = getattr(controller, "changes", {})

    @property
    def mean_length(self) -> float:
        return self._tokens / max(self._blocks, 1)

    def begin(self, size: int) -> None:
        self._controller.begin(size)

    def decide(self, status: Any) -> Any:
        called = checked(status, gated=True)
        self._tokens += int(status["drafted"][called].sum())
        self._blocks += int(called.sum())
        return self._controller.decide(status)


def losses_of(recording: Recording, random_acceptance: float) -> dict[str, dict[float, float]]:
    """What pruning costs at every keep level, measured on a real pair, for each reduction.

    In log-odds of a refusal, as a share of what the paper's keep costs under ``covspec``. Random
    tokens are known at that keep alone, and stand in proportion elsewhere, where no row plays them.

    Args:
        recording: Of a pair under ``covspec``.
        random_acceptance: Mean acceptance of the pair with as many random tokens.
    """
    refused = 1.0 - recording.overlap.astype(np.float64).mean(axis=1)
    odds = dict(zip(recording.keep_levels, np.log(refused / (1 - refused)), strict=True))
    kept = min(odds, key=lambda keep: abs(keep - KEPT))
    span = odds[kept] - odds[1.0]
    random = np.log((1 - random_acceptance) / random_acceptance)
    covspec = {keep: float((own - odds[1.0]) / span) for keep, own in odds.items()}
    worse = float((random - odds[1.0]) / span)
    return {"covspec": covspec, "random": {keep: worse * own for keep, own in covspec.items()}}
