"""Transfers over a link whose rate changes with time: scalar functions of one message.

Columns of a link table stand side by side, one row a slot border: rates up and down, bits carried
up and down since the period began, round trip. So what a moment needs lies in one place.
"""

from __future__ import annotations

import numpy as np

from covspec_core.kernels.compiled import inner, loop

UP, DOWN, _SENT, RTT = 0, 1, 2, 4
_NO_RATE = 1e-200
"""Stands in for a rate of 0 in divisions: no bits then take no time, and one bit for ever."""


@inner
def locate(time_s, slot_s, slots):
    """Start of the period that holds a moment, and the slot within it."""
    if not np.isfinite(time_s):  # what follows a transfer without end; any slot will do
        return 0.0, 0
    period_s, origin_s = slots * slot_s, 0.0
    if not 0.0 <= time_s < period_s:
        origin_s = np.floor(time_s / period_s) * period_s
    # Rounding may reach the period's end.
    return origin_s, max(min(int((time_s - origin_s) / slot_s), slots - 1), 0)


@inner
def value_at(table, column, row, time_s, slot_s, slots):
    """A rate or a round trip at a moment."""
    _, slot = locate(time_s, slot_s, slots)
    return table[row * (slots + 1) + slot, column]


@inner
def carry(table, way, row, start_s, payload_bytes, slot_s, slots):
    """When the last bit has left, see ``LinkTable.transfer_end_s``; the round trip at the start."""
    origin_s, slot = locate(start_s, slot_s, slots)
    place = row * (slots + 1) + slot
    rate_bps, rtt_s = table[place, way], table[place, RTT]
    end_s = start_s + 8.0 * payload_bytes / max(rate_bps, _NO_RATE)
    # Most transfers end in the slot in which they start; only the others are worth a search.
    if end_s <= max(origin_s + (slot + 1) * slot_s, start_s):
        return end_s, rtt_s
    bits = rate_bps * (start_s - origin_s - slot * slot_s) + 8.0 * payload_bytes
    reach_s = _reach_s(table, way, row, slot, bits, slot_s, slots)
    return max(origin_s + reach_s, start_s), rtt_s


@inner
def _reach_s(table, way, row, slot, bits, slot_s, slots):
    """Time from the period's start at which so many more bits than at a slot's start are sent."""
    base, sent = row * (slots + 1), _SENT + way
    total = table[base + slots, sent]
    if total <= 0:
        return np.inf
    target = table[base + slot, sent] + bits
    # Whole periods first. ceil - 1, since a transfer may end exactly where a period does.
    periods = np.ceil(target / total) - 1.0
    target = min(target - periods * total, total)
    low = _last_below(table, sent, base, 0 if periods > 0 else slot, target, slots)
    rest_s = (target - table[base + low, sent]) / max(table[base + low, way], _NO_RATE)
    return (periods * slots + low) * slot_s + rest_s


@inner
def _last_below(table, sent, base, low, target, slots):
    """Last slot border, from ``low`` on, at which less than a number of bits are sent.

    Strictly less, so the slot that follows the border has a rate. The stride doubles until it
    passes the target and is halved again: transfers mostly end a few slots further on.
    """
    stride = 1
    while table[base + min(low + stride, slots), sent] < target:
        stride *= 2
    while stride > 1:
        stride //= 2
        if table[base + min(low + stride, slots), sent] < target:
            low += stride
    return low


@loop
def transfers(table, way, row, start_s, payload_bytes, slot_s, slots, end_s):
    """When the last bits of many messages have left, into ``end_s``, shape ``[B]``."""
    for b in range(len(row)):
        end_s[b], _ = carry(table, way, row[b], start_s[b], payload_bytes[b], slot_s, slots)


@loop
def values_at(table, column, row, time_s, slot_s, slots, values):
    """:func:`value_at` of many moments into ``values``, shape ``[B]``."""
    for b in range(len(row)):
        values[b] = value_at(table, column, row[b], time_s[b], slot_s, slots)
