"""What an observation shows: status fields, and how their values are scaled into [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidStatus
from covspec_core.rounds import CHANCES, STATUS_FIELDS, Floats

VERSION = 7
"""Of the ranges; a saved controller of another one is refused."""
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
"""Value of each field that becomes 0, and the one that becomes 1; clipped beyond. Units are those
of ``STATUS_FIELDS``."""
BLOCK_RANGES: dict[str, tuple[float, float]] = {
    "block": (0.0, 16.0),
    "standing": (0.0, 1.0),
    "reach": (0.0, 1.0),
}
"""The same at token level, of the block in hand: its tokens, the foreseen chance that all of them
stand, and that of one token more."""
_TOLD = [*STATUS_FIELDS, *BLOCK_RANGES]
LOGARITHMIC = frozenset(
    (
        "up_bps", "down_bps", "rtt_s", "device_factor", "edge_factor", "cover_rank",
        "token_bytes", "refusal_bytes", "edge_step_s", "draft_cost", "keep_cost", "position_cost",
    )
)  # fmt: skip
"""Fields that are scaled by their logarithm."""


@cache
def _scale_all() -> Callable[..., int]:
    """The compiled loop, which loads numba: the first observation does."""
    from env.loops import scale_all

    return scale_all


class Scaling:
    """Min-max scaling of a status into observations, of some fields by their logarithm.

    Args:
        fields: Names in ``RANGES`` or ``BLOCK_RANGES``, in the order of an observation.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        ranges = RANGES | BLOCK_RANGES
        low, high = np.array([ranges[name] for name in fields]).T
        logs = np.array([name in LOGARITHMIC for name in fields])
        low, high = (np.log(b, out=b.copy(), where=logs) for b in (low, high))
        self._columns = np.array([_TOLD.index(name) for name in fields])
        self._table = self._columns, logs, low, 1.0 / (high - low)

    def observations(self, values: Floats) -> NDArray[np.float32]:
        """Observations of every session, shape ``[B, F]``.

        Args:
            values: Columns as ``STATUS_FIELDS`` orders them, behind which may stand those of
                ``BLOCK_RANGES``; shape ``[B, C]``.

        Raises:
            InvalidStatus: If a value that is shown is NaN or infinite.
        """
        observations = np.empty((len(values), len(self._columns)), np.float32)
        row = _scale_all()(values, *self._table, observations)
        if row >= 0:
            column = next(c for c in self._columns if not np.isfinite(values[row, c]))
            raise InvalidStatus(f"status {_TOLD[column]} must be finite, got {values[row, column]}")
        return observations
