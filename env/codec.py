"""Layout and ranges of observations and actions: here and nowhere else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction, InvalidStatus, PolicyMismatch
from covspec_core.rounds import CHANCES, GATE_OFF, STATUS_FIELDS, Actions, Status, constant
from covspec_core.scenario import Scenario

VERSION = 3
RANGES: dict[str, tuple[float, float]] = {
    "up_bps": (1e3, 1e10),
    "down_bps": (1e3, 1e10),
    "rtt_s": (1e-3, 10.0),
    "device_factor": (0.1, 10.0),
    "edge_factor": (0.1, 10.0),
    "cover_rank": (1.0, 1e3),
    "up_trend": (-4.0, 4.0),
    "down_trend": (-4.0, 4.0),
    "acceptance": (0.0, 1.0),
    "accepted": (0.0, 16.0),
    "drafted": (0.0, 16.0),
    "rejected": (0.0, 1.0),
    "margin": (0.0, 1.0),
    "margin_mean": (0.0, 1.0),
    "entropy": (0.0, 6.0),
    "entropy_mean": (0.0, 6.0),
    "hit_rate": (0.0, 1.0),
    "ready": (0.0, 16.0),
    "awake": (0.0, 1.0),
    "next_margin": (0.0, 1.0),
    "next_entropy": (0.0, 6.0),
    **{f"chance_{n}": (0.0, 1.0) for n in CHANCES},
    "skipped_run": (0.0, 64.0),
    "tokens": (0.0, 160.0),
    "fresh": (0.0, 1.0),
    "keep": (0.0, 1.0),
    "streaming": (0.0, 1.0),
    "prompt_tokens": (0.0, 64.0),
    "relevance_entropy": (0.0, 8.0),
    "activity_mean": (0.0, 2.0),
    "token_bytes": (1.0, 1e7),
    "refusal_bytes": (1.0, 1e7),
    "edge_step_s": (1e-2, 1.0),
    "draft_cost": (1e-2, 1.0),
    "keep_cost": (1e-3, 1.0),
    "position_cost": (1e-3, 1.0),
}
"""Value of each status field that becomes 0, and the one that becomes 1; clipped beyond."""
LOGARITHMIC = frozenset(
    (
        "up_bps", "down_bps", "rtt_s", "device_factor", "edge_factor", "cover_rank",
        "token_bytes", "refusal_bytes", "edge_step_s", "draft_cost", "keep_cost", "position_cost",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Codec:
    """Turns statuses into observations, and indices into actions.

    Attributes:
        keep_levels: Shares of visual tokens to choose from.
        draft_lengths: Draft lengths to choose from.
        branch_widths: Branch widths to choose from.
        gate_threshold: Gate of every action; infinity is off.
        gate_levels: Gates to choose from instead, a fourth part of an action; none by default.
        fields: Status fields of an observation, in order.
        version: Of the ranges in this module.
    """

    keep_levels: tuple[float, ...]
    draft_lengths: tuple[int, ...]
    branch_widths: tuple[int, ...]
    gate_threshold: float = GATE_OFF
    gate_levels: tuple[float, ...] = ()
    fields: tuple[str, ...] = tuple(RANGES)
    version: int = VERSION

    def __post_init__(self) -> None:
        unknown = [name for name in self.fields if name not in RANGES]
        if unknown or self.version != VERSION:
            raise PolicyMismatch(
                f"codec needs version {VERSION} and known fields, got version {self.version}"
                f" and unknown fields {unknown}"
            )
        names = list(STATUS_FIELDS)
        columns = np.array([names.index(name) for name in self.fields])
        low, high = np.array([RANGES[name] for name in self.fields]).T
        logs = np.array([name in LOGARITHMIC for name in self.fields])
        low, high = (np.log(b, out=b.copy(), where=logs) for b in (low, high))
        for name, value in (
            ("_columns", columns),
            ("_logs", logs),
            ("_shift", low),
            ("_scale", 1.0 / (high - low)),
            ("_keeps", np.array(self.keep_levels, dtype=float)),
            ("_lengths", np.array(self.draft_lengths, dtype=np.int64)),
            ("_widths", np.array(self.branch_widths, dtype=np.int64)),
            ("_gates", np.array(self.gate_levels or (self.gate_threshold,))),
            ("_counts", np.array(self.sizes)),
        ):
            object.__setattr__(self, name, value)
        parts = self._keeps, self._lengths, self._widths, self._gates
        most = max(len(part) for part in parts)
        padded = [np.resize(part, most) for part in parts]
        Actions(*padded)  # every choice is looked at here, none when it is chosen
        levels = np.array(padded[: len(self.sizes)], dtype=np.float64)
        object.__setattr__(self, "_levels", levels)

    @staticmethod
    def of(scenario: Scenario) -> Codec:
        """The codec of a scenario's choices."""
        return Codec(
            scenario.keep_levels,
            scenario.draft_lengths,
            scenario.branch_widths,
            scenario.gate_threshold,
            scenario.gate_levels,
        )

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Codec:
        """A codec as :meth:`to_dict` wrote it.

        Raises:
            PolicyMismatch: If a part is missing, unknown or of another version.
        """
        try:
            return Codec(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise PolicyMismatch(f"no codec of this version: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return asdict(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of keep levels, draft lengths and branch widths (and of gates to choose from)."""
        parts = (self.keep_levels, self.draft_lengths, self.branch_widths, self.gate_levels)
        return tuple(len(part) for part in parts if part)

    @property
    def observation_space(self) -> spaces.Box:
        """Bounded observations, shape ``[F]``."""
        return spaces.Box(0.0, 1.0, (len(self.fields),), np.float32)

    @property
    def action_space(self) -> spaces.MultiDiscrete:
        """Indices of keep level, draft length and branch width (and gate), ``P`` parts."""
        return spaces.MultiDiscrete(self.sizes)

    def encode(self, status: Status) -> NDArray[np.float32]:
        """Observations of every session, shape ``[B, F]``.

        Raises:
            InvalidStatus: If a value is NaN or infinite.
        """
        from env.loops import scale_all

        observations = np.empty((len(status), len(self.fields)), np.float32)
        ranges = self._columns, self._logs, self._shift, self._scale
        row = scale_all(status.values, *ranges, observations)
        if row >= 0:
            values = status.values[row, self._columns]
            column = np.flatnonzero(~np.isfinite(values))[0]
            value = values[column]
            raise InvalidStatus(f"status {self.fields[column]} must be finite, got {value}")
        return observations

    def index(self, actions: Actions) -> NDArray[np.int64]:
        """Indices of actions, shape ``[B, P]``: the inverse of :meth:`decode`.

        Raises:
            InvalidAction: If a value is none of the choices.
        """
        parts = (
            ("keep", actions.keep, self._keeps),
            ("draft_length", actions.draft_length, self._lengths),
            ("branch_width", actions.branch_width, self._widths),
            ("gate_threshold", actions.gate_threshold, self._gates),
        )
        columns = []
        for name, values, choices in parts[: len(self.sizes)]:
            same = np.isclose(values[:, None], choices)
            wrong = ~same.any(1)
            if wrong.any():
                raise InvalidAction(f"{name} must be one of {choices}, got {values[wrong][0]}")
            columns.append(same.argmax(1))
        return np.stack(columns, axis=1)

    def decode(self, indices: NDArray[np.integer]) -> Actions:
        """Actions of every session from indices, shape ``[B, P]``.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        from env.loops import choose_all

        indices, row = np.asarray(indices), 0
        if indices.dtype.kind in "iu" and indices.shape[1:] == self._counts.shape:
            whole = np.ascontiguousarray(indices, dtype=np.int64)
            chosen = np.empty((len(self._counts), len(indices)))
            row = choose_all(whole, self._counts, self._levels, chosen)
        if row >= 0:
            raise InvalidAction(f"an action must lie in MultiDiscrete{self.sizes}, got {indices}")
        return Actions.known(
            keep=chosen[0],
            draft_length=chosen[1].astype(np.int64),
            branch_width=chosen[2].astype(np.int64),
            gate_threshold=chosen[3]
            if self.gate_levels
            else constant(len(indices), self.gate_threshold),
        )

    def masks(self, status: Status) -> NDArray[np.bool_]:
        """Choices that make a difference, part after part, shape ``[B, sum of sizes]``.

        Within a request the keep level stands, so all others are as good as the one at hand.
        """
        allowed = np.ones((len(status.values), sum(self.sizes)), dtype=bool)
        held = np.isclose(status["keep"][:, None], self._keeps) & (status["fresh"] == 0)[:, None]
        stands = held.any(1)
        allowed[stands, : len(self.keep_levels)] = held[stands]
        return allowed
