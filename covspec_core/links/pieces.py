"""Pieces of measured traces without unknown rates, and how they are cut and laid on a slot grid.

A row of a trace holds from the time of the row before to its own; if that is longer than the
trace's hold limit, the log has a hole there. NaN means unknown, a measured zero is an outage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting
from covspec_core.links.table import FloatArray

_BPS_PER_MBPS = 1e6
_S_PER_MS = 1e-3


@dataclass(frozen=True, slots=True)
class Cutting:
    """How a trace becomes pieces without unknown rates.

    Attributes:
        fill_s: Unknown stretches up to this long keep the last known rate; at longer ones the
            trace is cut. 6 s bridges the ping pauses of the Irish 5G traces.
        min_piece_s: Shorter pieces are dropped.
        up_share: Uplink rate over downlink rate, for traces without any uplink. The measured
            traces with both have 0.18 to 1.6, those of the training split 0.47 and 0.80.
        measured_rtt: Use measured round trips where a trace has them. Switch it off for traces
            whose round trips contain the queue of their own download.
    """

    fill_s: float = 6.0
    min_piece_s: float = 30.0
    up_share: float = 0.5
    measured_rtt: bool = True

    def __post_init__(self) -> None:
        for name in ("fill_s", "min_piece_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InvalidSetting(f"{name} must be finite and >= 0, got {getattr(self, name)!r}")
        if not 0 < self.up_share < np.inf:
            raise InvalidSetting(f"up_share must be finite and above 0, got {self.up_share!r}")


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a trace in which both rates are known, in ``k`` intervals.

    Attributes:
        name: Where it comes from.
        edges_s: Borders of the intervals, increasing from 0, ``[k + 1]``.
        up_bps: Rate from device to edge in each interval, ``[k]``.
        down_bps: Rate from edge to device, ``[k]``.
        rtt_s: Round trip, NaN throughout if it was not measured, ``[k]``.
    """

    name: str
    edges_s: FloatArray
    up_bps: FloatArray
    down_bps: FloatArray
    rtt_s: FloatArray

    @property
    def length_s(self) -> float:
        """Time the piece covers."""
        return float(self.edges_s[-1])

    def windows(
        self, start_s: FloatArray, slot_s: float, slots: int
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Windows cut out of the piece, which repeats after its end.

        Args:
            start_s: Where each window starts, >= 0, ``[m]``.
            slot_s: Length of a slot.
            slots: Slots of a window.

        Returns:
            Uplink and downlink in bit/s, averaged over each slot so that bits are conserved, and
            the round trip in s at the slot's start (NaN if not measured), each ``[m, slots]``.
        """
        border_s = start_s[:, None] + slot_s * np.arange(slots + 1)
        laps = np.floor(border_s / self.length_s)
        inside_s = np.maximum(border_s - laps * self.length_s, 0.0)
        up_bps, down_bps = (
            np.diff(np.interp(inside_s, self.edges_s, sent) + laps * sent[-1]) / slot_s
            for sent in self._sent_bits
        )
        interval = np.searchsorted(self.edges_s, inside_s[:, :-1], side="right") - 1
        rtt_s = self.rtt_s[np.minimum(interval, self.rtt_s.size - 1)]
        # Rounding may leave a trace of a negative rate where the piece has none.
        return np.maximum(up_bps, 0.0), np.maximum(down_bps, 0.0), rtt_s

    def on_slots(self, slot_s: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The piece once on whole slots: as :meth:`windows`, each ``[slots]``."""
        slots = max(1, int(self.length_s / slot_s + 1e-9))
        up_bps, down_bps, rtt_s = self.windows(np.zeros(1), slot_s, slots)
        return up_bps[0], down_bps[0], rtt_s[0]

    @cached_property
    def _sent_bits(self) -> tuple[FloatArray, FloatArray]:
        """Bits carried up and down from the start to each edge, ``[k + 1]`` each."""
        width_s = np.diff(self.edges_s)
        up, down = (np.cumsum(rate * width_s) for rate in (self.up_bps, self.down_bps))
        return np.append(0.0, up), np.append(0.0, down)


def cut(name: str, rows: FloatArray, hold_limit_s: float, cutting: Cutting) -> list[Piece]:
    """Pieces of one trace; none if it has no downlink rates.

    Args:
        name: Where the rows come from.
        rows: Time in s, uplink and downlink in Mbit/s, SNR in dB, round trip in ms, ``[rows, 5]``.
        hold_limit_s: Longest interval for which a row holds.
        cutting: How to cut.
    """
    time_s, up, down, _, rtt_ms = rows.T
    if np.isnan(up).all():
        up = cutting.up_share * down
    # The first row has none before it: by the format, traces start at time 0.
    width_s = np.diff(time_s, prepend=min(0.0, time_s[0]))
    known = np.isfinite(up) & np.isfinite(down) & (width_s <= hold_limit_s)
    source = _source(known, width_s, cutting.fill_s)
    rtt_s = _held(rtt_ms) * _S_PER_MS if cutting.measured_rtt else np.full(len(rows), np.nan)
    pieces = []
    for first, stop in _spells((source >= 0) & (width_s > 0)):
        held = source[first:stop]
        edges_s = np.append(0.0, np.cumsum(width_s[first:stop]))
        up_bps, down_bps = up[held] * _BPS_PER_MBPS, down[held] * _BPS_PER_MBPS
        pieces.append(Piece(name, edges_s, up_bps, down_bps, rtt_s[first:stop]))
    return [piece for piece in pieces if piece.length_s >= cutting.min_piece_s]


def _source(known: NDArray[np.bool_], width_s: FloatArray, fill_s: float) -> NDArray[np.intp]:
    """Row whose rates each interval takes: its own, the last known, or -1 if unknown, ``[k]``."""
    bridged = known | (_spell_s(known, width_s) <= fill_s)
    return np.where(bridged, _last_true(known), -1)


def _spells(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First index and end of each run of true flags."""
    change = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [(int(first), int(stop)) for first, stop in change.reshape(-1, 2)]


def _spell_s(known: NDArray[np.bool_], width_s: FloatArray) -> FloatArray:
    """Length of the run of equal flags to which each interval belongs, ``[k]``."""
    run = np.cumsum(np.diff(known, prepend=known[0]))
    length_s: FloatArray = np.bincount(run, weights=width_s)[run]
    return length_s


def _last_true(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Index of the last true flag up to each place, -1 before the first, ``[k]``."""
    return np.maximum.accumulate(np.where(flags, np.arange(flags.size), -1))


def _held(values: FloatArray) -> FloatArray:
    """Each value until the next known one; the first known one also before itself, ``[k]``."""
    known = np.isfinite(values)
    if not known.any():
        return values
    held: FloatArray = values[np.maximum(_last_true(known), np.argmax(known))]
    return held
