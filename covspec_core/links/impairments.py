"""What other things do to a link: lost packets, and other users of the cell and of the server.

Both classes change the table of another channel, whose draws come first from the generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from covspec_core.links.channels import Channel
from covspec_core.links.processes import population
from covspec_core.links.table import FloatArray, LinkTable
from covspec_core.rules import check


@dataclass(frozen=True)
class LossyLink:
    """Lost packets, sent again until they arrive (selective repeat).

    Each attempt is lost with probability ``p``, independently. A transfer then takes ``1/(1-p)``
    as long (Lin and Costello, 2004, section 22.1), and its last packet arrives ``k retry_s``
    later, where ``k`` is geometric with mean ``p/(1-p)``, drawn for each slot and direction.

    Attributes:
        link: The link without losses.
        loss_up: ``p`` of the uplink.
        loss_down: ``p`` of the downlink.
        retry_s: Time until a lost packet is sent again.
        slot_s: How often the delays are drawn, at least; longer slots of the link are divided.
    """

    link: Channel
    loss_up: float
    loss_down: float
    retry_s: float = field(default=0.008, kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        check(self, "in [0, 1)", "loss_up", "loss_down")
        check(self, ">= 0", "retry_s")
        check(self, "above 0", "slot_s")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slot_s, up_bps, down_bps, rtt_s = divided(
            self.link.realise(rng, n, duration_s), self.slot_s
        )
        good_up, good_down = 1 - self.loss_up, 1 - self.loss_down
        retries = rng.geometric(good_up, up_bps.shape) + rng.geometric(good_down, up_bps.shape) - 2
        rtt_s = rtt_s + self.retry_s * retries
        return LinkTable(slot_s, good_up * up_bps, good_down * down_bps, rtt_s)


@dataclass(frozen=True)
class SharedLink:
    """Other users, who take their shares of the cell and their turns at the server.

    Their number ``k(t)`` is that of the queue M/M/inf: Poisson with mean ``mean_users`` and
    autocorrelation ``exp(-lag / stay_s)`` (Takacs, 1962). The cell is shared equally, so rates
    are divided by ``1 + k`` (processor sharing: Kleinrock, Queueing Systems II, 1976, chapter 4).
    The server takes users in turns of ``turn_s``, so each answer waits ``k turn_s`` more, as part
    of the round trip.

    Attributes:
        link: The link of a user who is alone.
        mean_users: Other active users on average.
        stay_s: How long each of them stays active on average.
        turn_s: Turn of each at the server; 0 if they share the cell alone.
        share_cell: Whether they share the cell at all.
        slot_s: How often users come and go, at least; longer slots of the link are divided.
    """

    link: Channel
    mean_users: float
    stay_s: float
    turn_s: float = field(default=0.0, kw_only=True)
    share_cell: bool = field(default=True, kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        check(self, ">= 0", "mean_users", "turn_s")
        check(self, "above 0", "stay_s", "slot_s")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slot_s, up_bps, down_bps, rtt_s = divided(
            self.link.realise(rng, n, duration_s), self.slot_s
        )
        keep = math.exp(-slot_s / self.stay_s)
        users = population(rng, n, up_bps.shape[1], self.mean_users, keep)
        share = 1 / (1 + users) if self.share_cell else np.ones(users.shape)
        return LinkTable(slot_s, share * up_bps, share * down_bps, rtt_s + self.turn_s * users)


def divided(table: LinkTable, slot_s: float) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """The columns of a table whose slots are divided until none is longer than ``slot_s``.

    Returns:
        Length of the new slots, then uplink and downlink in bit/s and round trips in s,
        ``[n, new slots]`` each.
    """
    parts = max(1, math.ceil(table.slot_s / slot_s - 1e-9))
    up_bps, down_bps, rtt_s = (
        np.repeat(column, parts, axis=1) for column in (table.up_bps, table.down_bps, table.rtt_s)
    )
    return table.slot_s / parts, up_bps, down_bps, rtt_s
