"""Links whose rates change with time, as tables, and the arithmetic of transfers over them.

A :class:`LinkTable` holds many independent links, one per row, on a common grid of time slots.
Every method takes one row and one moment per session, with a leading batch axis ``B``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


class Direction(StrEnum):
    """Way of a transfer: from device to edge (up) or back (down)."""

    UP = "up"
    DOWN = "down"


_WAYS = {Direction.UP: 0, Direction.DOWN: 1}


@dataclass(frozen=True, eq=False)
class LinkTable:
    """Rates and round trips of ``n`` links over ``slots`` equal time slots, from time 0 on.

    Slot ``k`` covers ``[k slot_s, (k + 1) slot_s)``; after the last slot a table starts again.
    Arrays are copied and read-only.

    Attributes:
        slot_s: Length of a slot.
        up_bps: Rate from device to edge in bit/s, 0 while the link is down, ``[n, slots]``.
        down_bps: Rate from edge to device, ``[n, slots]``.
        rtt_s: Round-trip delay of an empty link, ``[n, slots]``.

    Raises:
        InvalidSetting: If shapes differ, or a value is negative or not finite.
    """

    slot_s: float
    up_bps: FloatArray
    down_bps: FloatArray
    rtt_s: FloatArray

    def __post_init__(self) -> None:
        if not 0 < self.slot_s < math.inf:
            raise InvalidSetting(f"slot_s must be finite and above 0, got {self.slot_s!r}")
        for name in ("up_bps", "down_bps", "rtt_s"):
            object.__setattr__(self, name, _frozen(name, getattr(self, name)))
            if getattr(self, name).shape != self.up_bps.shape:
                shape = getattr(self, name).shape
                raise InvalidSetting(f"{name} must have shape {self.up_bps.shape}, got {shape}")

    @property
    def n(self) -> int:
        """Number of links."""
        return int(self.up_bps.shape[0])

    @property
    def slots(self) -> int:
        """Number of slots of a period."""
        return int(self.up_bps.shape[1])

    @property
    def period_s(self) -> float:
        """Time after which every link starts again."""
        return self.slots * self.slot_s

    @cached_property
    def columns(self) -> FloatArray:
        """All of the table as :mod:`covspec_core.kernels.links` reads it.

        Rates up and down, bits carried up and down since the period began, and round trips, side
        by side for every slot border, shape ``[n (slots + 1), 5]``.
        """
        columns = np.zeros((self.n, self.slots + 1, 5))
        for way, rate_bps in enumerate((self.up_bps, self.down_bps)):
            columns[:, :-1, way] = rate_bps
            np.cumsum(rate_bps * self.slot_s, axis=1, out=columns[:, 1:, 2 + way])
        columns[:, :-1, 4] = self.rtt_s
        return columns.reshape(-1, 5)

    def rate_bps(self, direction: Direction, row: IntArray, time_s: FloatArray) -> FloatArray:
        """Rate in bit/s at a moment of each row, shapes ``[B]``."""
        return self._values_at(_WAYS[Direction(direction)], row, time_s)

    def rtt_s_at(self, row: IntArray, time_s: FloatArray) -> FloatArray:
        """Round-trip delay in seconds at a moment of each row, shapes ``[B]``."""
        return self._values_at(4, row, time_s)

    def _values_at(self, column: int, row: IntArray, time_s: FloatArray) -> FloatArray:
        from covspec_core.kernels.links import values_at

        where = _contiguous(row, np.int64), _contiguous(time_s, np.float64)
        values = np.empty(len(row))
        values_at(self.columns, column, *where, float(self.slot_s), self.slots, values)
        return values

    def transfer_end_s(
        self,
        direction: Direction,
        row: IntArray,
        start_s: FloatArray,
        payload_bytes: NDArray[np.integer] | FloatArray,
    ) -> FloatArray:
        """Time at which the last bit has left: the rate is integrated, the delay is not added.

        It is the earliest moment by which the link has carried the payload since ``start_s``;
        a transfer that fills the last slot before an outage ends where the outage begins.

        Args:
            direction: Way of the transfers.
            row: Link of each transfer, ``[B]``.
            start_s: Time of each first bit, ``[B]``; infinite for one that never starts.
            payload_bytes: Size on the wire, >= 0, ``[B]``.

        Returns:
            End of each transfer, ``[B]``: ``start_s`` for an empty payload, infinite where the
            row never has any rate in this direction.
        """
        from covspec_core.kernels.links import transfers

        messages = (
            _contiguous(row, np.int64),
            _contiguous(start_s, np.float64),
            _contiguous(payload_bytes, np.float64),
        )
        end_s, way = np.empty(len(row)), _WAYS[Direction(direction)]
        transfers(self.columns, way, *messages, float(self.slot_s), self.slots, end_s)
        return end_s


def _contiguous(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """As compiled loops take it: they are compiled for one kind of array."""
    return np.ascontiguousarray(values, dtype=kind)


def _frozen(name: str, values: FloatArray) -> FloatArray:
    """A checked, contiguous, read-only copy, ``[n, slots]``."""
    array = np.array(values, dtype=np.float64, order="C")
    if array.ndim != 2 or array.size == 0:
        raise InvalidSetting(f"{name} must have shape [n, slots], got {array.shape}")
    bad = ~((array >= 0) & (array < np.inf))
    if bad.any():
        raise InvalidSetting(f"{name} must be finite and >= 0, got {float(array[bad][0])}")
    array.flags.writeable = False
    return array
