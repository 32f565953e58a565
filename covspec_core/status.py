"""Bookkeeping of what a device knows: running means over rounds, and the status they make."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covspec_core.links.table import Direction
from covspec_core.rounds import Bools, Floats, Ints, RoundResult, Status
from covspec_core.source import Facts
from covspec_core.timeline import Path

ACCEPTANCE_START = 0.9
HIT_RATE_START = 0.5
NEW_SHARE = 0.2
"""Weight of the newest round in every running mean, and their first values (papers/covspec.md
gives none; these are its section 3 defaults)."""
DOWN_BPS = 1e3
"""A link that is down is reported with this rate, so that logarithms stay finite."""


class StatusTracker:
    """Running means of ``B`` sessions over their rounds, as columns of a status.

    Args:
        size: Number of sessions.
        fixed: Fields that stay as they are, see
            :func:`covspec_core.constants.status_constants`.
    """

    def __init__(self, size: int, fixed: dict[str, float]) -> None:
        self._status, self._blank = Status.blank(size), Status.blank(1)
        for name, value in fixed.items():
            self._blank[name] = value
        self._mean_log_rate = np.zeros((2, size))

    def begin(self, rows: Ints, path: Path) -> None:
        """Forget the past of some sessions, which start on these links."""
        status, own = self._status, path.rows(rows)
        status.values[rows] = self._blank.values
        for name, value in (
            ("acceptance", ACCEPTANCE_START),
            ("hit_rate", HIT_RATE_START),
            ("device_factor", own.device_factor),
            ("edge_factor", own.edge_factor),
            ("rtt_s", own.table.rtt_s_at(own.row, own.offset_s)),
        ):
            status[name][rows] = value
        self._mean_log_rate[:, rows] = np.log(_reported_bps(own, np.zeros(len(rows))))

    def update(self, result: RoundResult, facts: Facts, path: Path) -> None:
        """Take in what a round showed."""
        status = self._status
        log_rates = np.log(_reported_bps(path, result.started_s))
        self._mean_log_rate += NEW_SHARE * (log_rates - self._mean_log_rate)
        judged = result.accepted + result.rejected
        self._average("acceptance", result.accepted / np.maximum(judged, 1), judged > 0)
        self._average("hit_rate", result.hit * 1.0, result.branch_steps > 0)
        rtt_s = path.table.rtt_s_at(path.row, _last_slot_s(path, result.received_s))
        self._average("rtt_s", rtt_s, np.True_)
        status["accepted"] = result.accepted + result.skipped
        status["drafted"] = result.drafted
        status["rejected"] = result.rejected
        for name in ("margin", "margin_mean", "entropy", "entropy_mean"):
            status[name] = np.where(result.drafted > 0, getattr(facts, name), status[name])

    def _average(self, name: str, value: NDArray[np.floating], when: Bools | np.bool_) -> None:
        column = self._status[name]
        column += np.where(when, NEW_SHARE * (value - column), 0.0)

    def read(self, path: Path, now_s: Floats) -> Status:
        """A copy of what is known now, link report included; the other columns are the caller's."""
        rates = _reported_bps(path, now_s)
        log_rates = np.log(rates)
        trends = log_rates - self._mean_log_rate
        status = Status(self._status.values.copy())
        status["up_bps"], status["down_bps"] = rates
        status["up_trend"], status["down_trend"] = trends
        return status


def _last_slot_s(path: Path, now_s: Floats) -> Floats:
    """A moment in the last whole slot: what a modem can have measured by now."""
    return np.maximum(path.offset_s + now_s - path.table.slot_s, 0.0)


def _reported_bps(path: Path, now_s: Floats) -> Floats:
    moment = _last_slot_s(path, now_s)
    rates = [path.table.rate_bps(way, path.row, moment) for way in Direction]
    return np.maximum(np.stack(rates), DOWN_BPS)
