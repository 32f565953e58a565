"""When everything in a round happens. Pure functions on arrays with a leading session axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from covspec_core.links.table import Direction, LinkTable
from covspec_core.profile import HardwareProfile
from covspec_core.rounds import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The link and the speeds that belong to each session, shape ``[B]`` each.

    Attributes:
        table: Realised links.
        row: Row of the table.
        offset_s: Time in that row at which the session starts.
        device_factor: Seconds of device work over the profile's.
        edge_factor: Seconds of edge work over the profile's.
    """

    table: LinkTable
    row: Ints
    offset_s: Floats
    device_factor: Floats
    edge_factor: Floats

    def upload_end_s(self, start_s: Floats, payload_bytes: Ints) -> tuple[Floats, Floats]:
        """When a message has left the device, and when it is at the edge."""
        return self._transfer(Direction.UP, start_s, payload_bytes)

    def download_end_s(self, start_s: Floats, payload_bytes: Ints) -> tuple[Floats, Floats]:
        """When a message has left the edge, and when it is at the device."""
        return self._transfer(Direction.DOWN, start_s, payload_bytes)

    def _transfer(self, way: Direction, start_s: Floats, payload: Ints) -> tuple[Floats, Floats]:
        start = start_s + self.offset_s
        left = self.table.transfer_end_s(way, self.row, start, payload)
        delay = 0.5 * self.table.rtt_s_at(self.row, start)
        return left - self.offset_s, left - self.offset_s + delay

    def rows(self, index: Ints) -> Path:
        """The sessions of some rows only."""
        return Path(
            self.table,
            self.row[index],
            self.offset_s[index],
            self.device_factor[index],
            self.edge_factor[index],
        )


class Start(NamedTuple):
    """Times of a request's start: the device can draft, the edge can verify."""

    device_s: Floats
    edge_s: Floats


def request_start(profile: HardwareProfile, path: Path, now_s: Floats, image_bytes: Ints) -> Start:
    """Image upload and both prefills, which overlap."""
    _, arrived = path.upload_end_s(now_s, image_bytes)
    return Start(
        device_s=now_s + profile.device_prefill_s * path.device_factor,
        edge_s=arrived + profile.edge_prefill_s * path.edge_factor,
    )


class Trip(NamedTuple):
    """Times of one call; see :class:`~covspec_core.rounds.RoundResult`."""

    arrived_s: Floats
    verify_s: Floats
    verified_s: Floats
    received_s: Floats
    radio_s: Floats


def call(
    path: Path,
    sent_s: Floats,
    bytes_up: Ints,
    bytes_down: Ints,
    edge_ready_s: Floats,
    work_s: Floats,
    streaming: Bools,
) -> Trip:
    """Upload, edge work, download.

    A streaming edge does not wait to be asked: it goes on from where its last burst ended, so
    consecutive bursts cost no round trip.
    """
    left, arrived = path.upload_end_s(sent_s, bytes_up)
    begin = np.where(streaming, edge_ready_s, np.maximum(arrived, edge_ready_s))
    verified = begin + work_s * path.edge_factor
    gone, received = path.download_end_s(verified, bytes_down)
    # What a streaming edge sent while the device was busy is already there.
    received = np.maximum(received, sent_s)
    return Trip(arrived, begin, verified, received, (left - sent_s) + (gone - verified))


def call_again(path: Path, trip: Trip, again: Bools, bytes_up: int, bytes_down: int) -> Trip:
    """A second exchange behind a call, where one is needed; its work takes no time.

    Args:
        path: The link.
        trip: The call.
        again: Calls that a second exchange follows.
        bytes_up: Its message up.
        bytes_down: Its message down.
    """
    if not again.any():
        return trip
    start = trip.received_s
    left, arrived = path.upload_end_s(start, np.where(again, bytes_up, 0))
    gone, received = path.download_end_s(arrived, np.where(again, bytes_down, 0))
    radio_s = trip.radio_s + np.where(again, (left - start) + (gone - arrived), 0.0)
    return trip._replace(received_s=np.where(again, received, start), radio_s=radio_s)


def branch_steps(
    profile: HardwareProfile, path: Path, keep: Floats, width: Ints, window_s: Floats, most: int
) -> Ints:
    """Whole batched draft steps that fit into the wait for a verdict.

    The first step of the wait reads the block's last token, which names the candidates; every
    further one drafts one token on all branches.
    """
    step = profile.draft_s(keep) * path.device_factor
    steps = (window_s - step) // (step * profile.branch_factor(width))
    return np.where(width > 0, np.clip(steps, 0, most), 0).astype(np.int64)


def ahead_steps(
    profile: HardwareProfile, path: Path, keep: Floats, window_s: Floats, most: int
) -> Ints:
    """Whole draft steps that fit into the wait where the device just goes on behind its block."""
    step = profile.draft_s(keep) * path.device_factor
    return np.clip(window_s // step, 0, most).astype(np.int64)


def edge_only_s(
    profile: HardwareProfile, path: Path, image_bytes: Ints, tokens: Ints, id_bytes: int
) -> Floats:
    """Seconds in which the edge alone answers a session's requests.

    Args:
        profile: Costs.
        path: Links and speeds of ``B`` sessions.
        image_bytes: Image of each request, shape ``[B, requests]``.
        tokens: Length of each answer, shape ``[B, requests]``.
        id_bytes: Message in which one streamed token travels.
    """
    now = np.zeros(len(tokens))
    for image, count in zip(image_bytes.T, tokens.T, strict=True):
        edge = request_start(profile, path, now, image).edge_s
        end = edge + profile.edge_step_s * path.edge_factor * count
        _, now = path.download_end_s(end, np.full(len(now), id_bytes))
    return now
