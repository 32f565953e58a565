"""Links whose rates change with time, as tables, and the arithmetic of transfers over them.

A :class:`LinkTable` holds many independent links, one per row, on a common grid of time slots.
Every method takes one row and one moment per session, with a leading batch axis ``B``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Stands in for a rate of 0 in divisions: no bits then take no time, and one bit takes for ever.
_NO_RATE = 1e-200


class Direction(StrEnum):
    """Way of a transfer: from device to edge (up) or back (down)."""

    UP = "up"
    DOWN = "down"


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

    def rate_bps(self, direction: Direction, row: IntArray, time_s: FloatArray) -> FloatArray:
        """Rate in bit/s at a moment of each row, shapes ``[B]``."""
        _, slot = self._locate(time_s)
        return self._lane(direction).rate_bps.take(row * self.slots + slot)

    def rtt_s_at(self, row: IntArray, time_s: FloatArray) -> FloatArray:
        """Round-trip delay in seconds at a moment of each row, shapes ``[B]``."""
        _, slot = self._locate(time_s)
        return self.rtt_s.take(row * self.slots + slot)

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
        lane, (origin_s, slot) = self._lane(direction), self._locate(start_s)
        rate_bps = lane.rate_bps.take(row * self.slots + slot)
        end_s: FloatArray = start_s + 8.0 * payload_bytes / np.maximum(rate_bps, _NO_RATE)
        # Most transfers end in the slot in which they start; only the others are worth a search.
        border_s = np.maximum(origin_s + (slot + 1) * self.slot_s, start_s)
        late = np.flatnonzero(end_s > border_s)
        if late.size:
            offset_s = start_s[late] - origin_s[late] - slot[late] * self.slot_s
            bits = rate_bps[late] * offset_s + 8.0 * payload_bytes[late]
            elapsed_s = lane.reach_s(row[late], slot[late], bits)
            end_s[late] = np.maximum(origin_s[late] + elapsed_s, start_s[late])
        return end_s

    def _locate(self, time_s: FloatArray) -> tuple[FloatArray, IntArray]:
        """Start of the period that holds each moment, and the slot within it, ``[B]``."""
        never = np.isinf(time_s)
        if never.any():  # what follows a transfer without end; any slot will do
            time_s = np.where(never, 0.0, time_s)
        origin_s = np.floor(time_s / self.period_s) * self.period_s
        slot = ((time_s - origin_s) / self.slot_s).astype(np.intp)
        return origin_s, np.minimum(slot, self.slots - 1)  # rounding may reach the period's end

    def _lane(self, direction: Direction) -> _Lane:
        return self._up if direction == Direction.UP else self._down

    @cached_property
    def _up(self) -> _Lane:
        return _Lane(self.up_bps, self.slot_s)

    @cached_property
    def _down(self) -> _Lane:
        return _Lane(self.down_bps, self.slot_s)


class _Lane:
    """One direction of a table, laid out for look-ups by flat index.

    Attributes:
        rate_bps: Rates, ``[n slots]``.
        sent_bits: Bits carried from a row's first slot to each slot border, ``[n (slots + 1)]``.
    """

    def __init__(self, rate_bps: FloatArray, slot_s: float) -> None:
        n, self._slots = rate_bps.shape
        self._slot_s = slot_s
        self.rate_bps = rate_bps.reshape(-1)
        sent_bits = np.zeros((n, self._slots + 1))
        np.cumsum(rate_bps * slot_s, axis=1, out=sent_bits[:, 1:])
        self.sent_bits = sent_bits.reshape(-1)

    def reach_s(self, row: IntArray, slot: IntArray, bits: FloatArray) -> FloatArray:
        """Time, from the period's start, at which ``bits`` more than at a slot's start are sent.

        Args:
            row: Link, ``[M]``.
            slot: Slot at whose start the counting begins, ``[M]``.
            bits: How many bits, above 0, ``[M]``.
        """
        base = row * (self._slots + 1)
        total = self.sent_bits.take(base + self._slots)
        target = self.sent_bits.take(base + slot) + bits
        # Whole periods first. ceil - 1, since a transfer may end exactly where a period does.
        periods = np.ceil(target / np.maximum(total, _NO_RATE)) - 1.0
        target = np.minimum(target - periods * total, total)
        low = self._last_below(base, np.where(periods > 0, 0, slot), target)
        rate_bps = self.rate_bps.take(row * self._slots + low)
        rest_s = (target - self.sent_bits.take(base + low)) / np.maximum(rate_bps, _NO_RATE)
        end_s = (periods * self._slots + low) * self._slot_s + rest_s
        return np.where(total > 0, end_s, np.inf)

    def _last_below(self, base: IntArray, low: IntArray, target: FloatArray) -> IntArray:
        """Last slot border at which less than ``target`` bits are sent, from ``low`` on, ``[M]``.

        Strictly less, so the slot that follows the border has a rate. The stride doubles until
        it passes every target and is halved again: transfers mostly end a few slots further on.
        """
        stride = 1
        while (self._sent(base, low + stride) < target).any():
            stride *= 2
        while stride > 1:
            stride //= 2
            low = np.where(self._sent(base, low + stride) < target, low + stride, low)
        return low

    def _sent(self, base: IntArray, border: IntArray) -> FloatArray:
        return self.sent_bits.take(base + np.minimum(border, self._slots))


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
