"""The links and speeds of sessions, and when requests start and end on them: arrays ``[B]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from covspec_core.kernels import kernel
from covspec_core.links.table import Direction, LinkTable
from covspec_core.profile import HardwareProfile
from covspec_core.records import Records, profile_costs
from covspec_core.rounds import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The link and the speeds that belong to each session, shape ``[B]`` each.

    Attributes:
        table: Realised links.
        records: Sessions, see :data:`covspec_core.records.SESSION`; of them
            ``row`` is a row of the table, ``offset_s`` the time in it at which the session starts,
            ``device_factor`` and ``edge_factor`` are seconds of work over the profile's.
    """

    table: LinkTable
    records: Records

    @property
    def row(self) -> Ints:
        """Row of the table."""
        return self.records["row"]

    @property
    def offset_s(self) -> Floats:
        """Time in that row at which the session starts."""
        return self.records["offset_s"]

    @property
    def device_factor(self) -> Floats:
        """Seconds of device work over the profile's."""
        return self.records["device_factor"]

    @property
    def edge_factor(self) -> Floats:
        """Seconds of edge work over the profile's."""
        return self.records["edge_factor"]

    def download_end_s(self, start_s: Floats, payload_bytes: Ints) -> tuple[Floats, Floats]:
        """When a message has left the edge, and when it is at the device."""
        start = start_s + self.offset_s
        left = self.table.transfer_end_s(Direction.DOWN, self.row, start, payload_bytes)
        delay = 0.5 * self.table.rtt_s_at(self.row, start)
        return left - self.offset_s, left - self.offset_s + delay

    def rows(self, index: Ints) -> Path:
        """The sessions of some rows only, as they are now."""
        return Path(self.table, self.records[index])


class Start(NamedTuple):
    """Times of a request's start: the device can draft, the edge can verify."""

    device_s: Floats
    edge_s: Floats


def request_start(profile: HardwareProfile, path: Path, now_s: Floats, image_bytes: Ints) -> Start:
    """Image upload and both prefills, which overlap."""
    records, table = path.records.copy(), path.table
    records["now_s"] = now_s
    sizes = np.ascontiguousarray(image_bytes, dtype=np.int64)
    start_s = np.empty((2, len(records)))
    kernel().request_starts(records, sizes, profile_costs(profile, table), table.columns, start_s)
    return Start(*start_s)


def edge_only_s(costs: Records, path: Path, image_bytes: Ints, tokens: Ints) -> Floats:
    """Seconds in which the edge alone answers a session's requests.

    Args:
        costs: What a profile charges, see :func:`covspec_core.records.profile_costs`.
        path: Links and speeds of ``B`` sessions.
        image_bytes: Image of each request, shape ``[B, requests]``.
        tokens: Length of each answer, shape ``[B, requests]``.
    """
    sizes = (np.ascontiguousarray(column, dtype=np.int64) for column in (image_bytes, tokens))
    seconds = np.empty(len(tokens))
    kernel().edge_only(path.records, *sizes, costs, path.table.columns, seconds)
    return seconds
