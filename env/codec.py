"""Layout and ranges of observations and actions: here and nowhere else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction, InvalidSetting, InvalidStatus, PolicyMismatch
from covspec_core.rounds import (
    CHANCES,
    GATE_OFF,
    STATUS_FIELDS,
    Actions,
    Bools,
    Floats,
    Ints,
    Status,
    constant,
)
from covspec_core.scenario import Scenario

VERSION = 4
RANGES: dict[str, tuple[float, float]] = {
    "up_bps": (1e3, 1e10),
    "down_bps": (1e3, 1e10),
    "rtt_s": (1e-3, 10.0),
    "device_factor": (0.1, 10.0),
    "edge_factor": (0.1, 10.0),
    "device_wait_s": (0.0, 2.0),
    "edge_wait_s": (0.0, 4.0),
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
BLOCK_RANGES: dict[str, tuple[float, float]] = {
    "block": (0.0, 16.0),
    "standing": (0.0, 1.0),
    "reach": (0.0, 1.0),
}
"""The same at token level, of the block in hand: its tokens, the foreseen chance that all of them
stand, and that of one token more."""
LEVELS: Final = ("round", "token")
GO_ON, SEND, GIVE_UP = range(3)
"""Choices behind a drafted token."""
LOGARITHMIC = frozenset(
    (
        "up_bps", "down_bps", "rtt_s", "device_factor", "edge_factor", "cover_rank",
        "token_bytes", "refusal_bytes", "edge_step_s", "draft_cost", "keep_cost", "position_cost",
    )
)  # fmt: skip


@cache
def _loops() -> ModuleType:
    """Compiled loops, which load numba: the first observation does."""
    from env import loops

    return loops


class _Ranges(NamedTuple):
    """How statuses become observations, shape ``[F]`` each; see :func:`env.loops.scale_all`."""

    columns: Ints
    logs: Bools
    shift: Floats
    scale: Floats


class _Choices(NamedTuple):
    """What indices stand for: names of optional parts, and as :func:`env.loops.choose_all` asks."""

    optional: tuple[str, ...]
    counts: Ints
    levels: Floats


@dataclass(frozen=True)
class Codec:
    """Turns statuses into observations, and indices into actions.

    Attributes:
        keep_levels: Shares of visual tokens to choose from.
        draft_lengths: Draft lengths to choose from.
        branch_widths: Branch widths to choose from.
        gate_threshold: Gate of every action; infinity is off.
        gate_levels: Gates to choose from instead, a further part of an action; none by default.
        entropy_levels: Entropies that end a block, likewise; without them none does.
        stop_levels: Chances below which a block ends, likewise.
        level: When decisions fall, one of ``LEVELS``: before a round, or behind every token of it.
        fields: Status fields of an observation, in order; at token level those of the block too.
        version: Of the ranges in this module.
    """

    keep_levels: tuple[float, ...]
    draft_lengths: tuple[int, ...]
    branch_widths: tuple[int, ...]
    gate_threshold: float = GATE_OFF
    gate_levels: tuple[float, ...] = ()
    entropy_levels: tuple[float, ...] = ()
    stop_levels: tuple[float, ...] = ()
    level: str = "round"
    fields: tuple[str, ...] = tuple(RANGES)
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise PolicyMismatch(f"codec needs a level of {LEVELS}, got {self.level!r}")
        ranges = RANGES | (BLOCK_RANGES if self.level == "token" else {})
        unknown = [name for name in self.fields if name not in ranges]
        if unknown or self.version != VERSION:
            raise PolicyMismatch(
                f"codec needs version {VERSION} and known fields, got version {self.version}"
                f" and unknown fields {unknown}"
            )
        # Every choice is looked at here, none when it is chosen.
        most = max(self.sizes)
        looked_at = {
            "gate_threshold": np.full(most, self.gate_threshold),
            "draft_length": np.resize(self.draft_lengths, most),
        } | self._padded
        Actions(**{name: values for name, values in looked_at.items() if name != "choice"})

    @cached_property
    def _padded(self) -> dict[str, NDArray[Any]]:
        """Choices of every part, repeated until all have as many."""
        most = max(self.sizes)
        return {name: np.resize(levels, most) for name, levels in self.parts.items()}

    @cached_property
    def _ranges(self) -> _Ranges:
        names, ranges = [*STATUS_FIELDS, *BLOCK_RANGES], RANGES | BLOCK_RANGES
        low, high = np.array([ranges[name] for name in self.fields]).T
        logs = np.array([name in LOGARITHMIC for name in self.fields])
        low, high = (np.log(b, out=b.copy(), where=logs) for b in (low, high))
        columns = np.array([names.index(name) for name in self.fields])
        return _Ranges(columns, logs, low, 1.0 / (high - low))

    @cached_property
    def _choices(self) -> _Choices:
        levels = np.array(list(self._padded.values()), dtype=np.float64)
        return _Choices(tuple(self.parts)[3:], np.array(self.sizes), levels)

    @staticmethod
    def of(scenario: Scenario) -> Codec:
        """The codec of a scenario's choices."""
        return Codec(
            scenario.keep_levels,
            scenario.draft_lengths,
            scenario.branch_widths,
            scenario.gate_threshold,
            scenario.gate_levels,
            scenario.entropy_levels,
            scenario.stop_levels,
        )

    def at(self, level: str) -> Codec:
        """The codec of the same choices at a level; at token level with all its fields.

        Raises:
            InvalidSetting: If the level has no such choices.
        """
        if level == self.level:
            return self
        for name in ("gate_levels", "entropy_levels"):
            if getattr(self, name):
                raise InvalidSetting(
                    f"scenario.{name} must be empty at token level, got {getattr(self, name)}"
                )
        fields = (*RANGES, *BLOCK_RANGES)
        # A controller that is asked behind every token needs no thresholds to stop it.
        return replace(self, level=level, fields=fields, stop_levels=())

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Codec:
        """A codec as :meth:`to_dict` wrote it.

        Raises:
            PolicyMismatch: If a part is missing, unknown or of another version.
        """
        try:
            own: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
            }
            return Codec(**own)
        except (AttributeError, TypeError, ValueError) as error:
            raise PolicyMismatch(f"no codec of this version: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return asdict(self)

    @property
    def parts(self) -> dict[str, tuple[float, ...]]:
        """Choices of every part of an action, by its name in ``Actions``; optional ones last."""
        if self.level == "token":
            choices = (GO_ON, SEND, GIVE_UP)
            return {"choice": choices, "keep": self.keep_levels, "branch_width": self.branch_widths}
        parts: dict[str, tuple[float, ...]] = {
            "keep": self.keep_levels,
            "draft_length": self.draft_lengths,
            "branch_width": self.branch_widths,
            "gate_threshold": self.gate_levels,
            "entropy_stop": self.entropy_levels,
            "chance_stop": self.stop_levels,
        }
        return {name: levels for name, levels in parts.items() if levels}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of every part."""
        return tuple(len(levels) for levels in self.parts.values())

    @property
    def observation_space(self) -> spaces.Box[np.float32]:
        """Bounded observations, shape ``[F]``."""
        return spaces.Box(0.0, 1.0, (len(self.fields),), np.float32)

    @property
    def action_space(self) -> spaces.MultiDiscrete:
        """Indices of keep level, draft length, branch width and optional ``parts``.

        At token level those of choice, keep level and branch width.
        """
        return spaces.MultiDiscrete(list(self.sizes))

    def encode(self, status: Status, blocks: Floats | None = None) -> NDArray[np.float32]:
        """Observations of every session, shape ``[B, F]``.

        Args:
            status: What is known.
            blocks: At token level, the blocks in hand as ``BLOCK_RANGES`` names them, ``[B, 3]``.

        Raises:
            InvalidStatus: If a value is NaN or infinite.
        """
        told = status.values if blocks is None else np.concatenate([status.values, blocks], axis=1)
        observations = np.empty((len(status), len(self.fields)), np.float32)
        row = _loops().scale_all(told, *self._ranges, observations)
        if row >= 0:
            values = told[row, self._ranges.columns]
            column = np.flatnonzero(~np.isfinite(values))[0]
            value = values[column]
            raise InvalidStatus(f"status {self.fields[column]} must be finite, got {value}")
        return observations

    def index(self, actions: Actions) -> NDArray[np.int64]:
        """Indices of actions, shape ``[B, P]``: the inverse of :meth:`decode`.

        Raises:
            InvalidAction: If a value is none of the choices.
        """
        columns = []
        for name, choices in self.parts.items():
            values = getattr(actions, name)
            same = np.isclose(values[:, None], choices)
            wrong = ~same.any(1)
            if wrong.any():
                raise InvalidAction(f"{name} must be one of {choices}, got {values[wrong][0]}")
            columns.append(same.argmax(1))
        return np.stack(columns, axis=1)

    def values(self, indices: NDArray[np.integer]) -> Floats:
        """What indices ``[B, P]`` choose in every part, shape ``[P, B]``.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        indices, row = np.asarray(indices), 0
        _, counts, levels = self._choices
        if indices.dtype.kind in "iu" and indices.shape[1:] == counts.shape:
            whole = np.ascontiguousarray(indices, dtype=np.int64)
            chosen = np.empty((len(counts), len(indices)))
            row = _loops().choose_all(whole, counts, levels, chosen)
        if row >= 0:
            raise InvalidAction(f"an action must lie in MultiDiscrete{self.sizes}, got {indices}")
        return chosen

    def decode(self, indices: NDArray[np.integer]) -> Actions:
        """Actions of every session from indices, shape ``[B, P]``, at round level.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        assert self.level == "round"
        chosen = self.values(indices)
        optional = dict(zip(self._choices.optional, chosen[3:], strict=True))
        return Actions.known(
            keep=chosen[0],
            draft_length=chosen[1].astype(np.int64),
            branch_width=chosen[2].astype(np.int64),
            **{"gate_threshold": constant(len(indices), self.gate_threshold)} | optional,
        )

    def idle(self, indices: NDArray[np.integer]) -> Bools:
        """Whether nothing is sent by the actions ``[B, P]``, so that no branch width counts."""
        if self.level == "token":
            return indices[:, 0] != SEND
        return np.array(self.draft_lengths)[indices[:, 1]] == 0

    def masks(
        self, status: Status, left: Ints | None = None, branches: bool = True
    ) -> NDArray[np.bool_]:
        """Choices that are not pointless, all parts in a row, shape ``[B, sum of sizes]``.

        Masked are keep levels other than the one in use, unless a request is fresh; draft lengths
        that would be cut to what the answer has left, as a shorter one is; and all widths but one
        where nothing is drafted on branches. What is pointless only beside some choice of another
        part, such as a width beside draft length 0, no mask by parts can say.

        Args:
            status: What is known.
            left: Tokens that the answers may still have, shape ``[B]``; no length is masked if
                ``None``, as a deployed controller is not told.
            branches: Whether the scenario drafts ahead on branches.
        """
        masks = {name: np.ones((len(status), len(v)), bool) for name, v in self.parts.items()}
        same = np.isclose(status["keep"][:, None], self.keep_levels)
        masks["keep"] = (status["fresh"] > 0)[:, None] | same
        if left is not None:
            lengths = np.array(self.draft_lengths)
            enough = np.minimum(np.searchsorted(lengths, left), len(lengths) - 1)
            masks["draft_length"] = lengths <= lengths[enough][:, None]
        if not branches:
            masks["branch_width"][:, 1:] = False
        return np.concatenate(list(masks.values()), axis=1)
