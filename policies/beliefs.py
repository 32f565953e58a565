"""What a rule believes: what its last round taught, what the next one costs, what will stand."""

from __future__ import annotations

from typing import Any

import numpy as np

from covspec_core.rounds import CHANCES, Bools, Floats, Ints, Status
from covspec_core.scenario import Scenario
from covspec_core.wire import again_bytes, download_bytes

_SPREAD = np.stack(
    [np.interp(np.arange(CHANCES[-1] + 1), (0, *CHANCES), row) for row in np.eye(len(CHANCES) + 1)]
)
"""Interpolates what is foreseen for 0 and ``CHANCES`` tokens to every number between."""


def checked(status: Status, gated: bool) -> Bools:
    """Sessions whose last round was surely judged by the edge, shape ``[B]``.

    Args:
        status: After the round.
        gated: Whether a block could skip its check.
    """
    judged = status["accepted"] + status["rejected"]
    called = (status["drafted"] > 0) & (status["skipped_run"] == 0) & (judged > 0)
    if gated:
        # A block that ended its request may have skipped its check; the status cannot tell.
        called &= (status["fresh"] == 0) | (status["rejected"] > 0)
    return called


def foreseen(status: Status) -> Floats:
    """Chance that the next 0, 1, 2, ... drafted tokens stand, as the acceptance head sees it.

    Returns:
        Shape ``[B, CHANCES[-1] + 1]``; means nothing where the device is not awake.
    """
    known = [np.ones(len(status)), *(status[f"chance_{n}"] for n in CHANCES)]
    chances: Floats = np.stack(known, axis=1) @ _SPREAD
    return chances


class RoundTimes:
    """Seconds of a round as far as a status tells: costs of the profile on the link as reported.

    Args:
        scenario: Costs and protocol.
        keep: Share of visual tokens that the draft sees.
    """

    def __init__(self, scenario: Scenario, keep: float) -> None:
        self._profile, self._keep = scenario.profile, keep
        self._burst = scenario.edge_burst
        vocab = scenario.profile.vocab_size
        self._law_bits = 8.0 * float(download_bytes(scenario.protocol, True, vocab))
        # The rest of a law that comes in parts may be needed or not: a rule goes by the first part.
        self._asks = scenario.protocol.law_asked
        self._again_bits = [8.0 * size for size in again_bytes(scenario.protocol, vocab)]

    def law_s(self, status: Status) -> Floats:
        """Seconds of a rejection's messages, shape ``[B, 1]``."""
        seconds: Floats = self._law_bits / status["down_bps"]
        if self._asks:
            up_bits, down_bits = self._again_bits
            again_s = up_bits / status["up_bps"] + down_bits / status["down_bps"]
            seconds = seconds + again_s + status["rtt_s"]
        return seconds[:, None]

    def seconds(
        self,
        status: Status,
        length: Ints,
        refused: Any,
        delay_scale: float = 1.0,
        ready_scale: float = 1.0,
    ) -> Floats:
        """Seconds of a round of every length.

        Args:
            status: Before the round.
            length: Draft lengths, shape ``[n]`` or ``[B, n]``; 0 is the edge alone.
            refused: Seconds that a rejection's message is expected to take, up to ``[B, n]``.
            delay_scale: Factor on the round trip.
            ready_scale: Factor on the tokens that a branch left ready.

        Returns:
            Shape ``[B, n]``.
        """
        profile = self._profile
        device, edge = status["device_factor"][:, None], status["edge_factor"][:, None]
        steps = np.maximum(length - ready_scale * status["ready"][:, None], 0)
        trip = delay_scale * status["rtt_s"][:, None]
        draft_s = profile.draft_s(self._keep) * device * steps
        check_s = profile.verify_s(length + 1) * edge + trip + refused
        alone_s = profile.edge_step_s * edge * self._burst
        alone_s = alone_s + np.where(status["streaming"][:, None] > 0, 0.0, trip)
        return np.where(length == 0, alone_s, draft_s + check_s)
