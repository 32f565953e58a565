"""Several channels in one table: regimes side by side, or one for each direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import Channel, count_slots
from covspec_core.links.table import FloatArray, LinkTable


@dataclass(frozen=True, eq=False)
class MixtureLink:
    """Each link comes from one of several channels, in equal shares.

    Attributes:
        parts: Channels by regime; their slots must be multiples of the shortest one.
    """

    parts: Mapping[str, Channel]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InvalidSetting("a mixture needs at least one channel, got none")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`.channels.Channel`; regimes stand in blocks of one size.

        So there may be a few more than ``n``: as many as make the shares equal.
        """
        share = -(-n // len(self.parts))
        tables = [part.realise(rng, share, duration_s) for part in self.parts.values()]
        slot_s = min(table.slot_s for table in tables)
        slots = count_slots(n, duration_s, slot_s)
        grids = [regrid(table, slot_s, slots) for table in tables]
        return LinkTable(slot_s, *(np.concatenate(columns) for columns in zip(*grids, strict=True)))


@dataclass(frozen=True)
class AsymmetricLink:
    """A channel of its own for each direction, independent of each other.

    Attributes:
        up: Its uplink and its round trips are used.
        down: Its downlink is used. Slots must be multiples of the shorter one.
    """

    up: Channel
    down: Channel

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        up, down = (part.realise(rng, n, duration_s) for part in (self.up, self.down))
        slot_s = min(up.slot_s, down.slot_s)
        slots = count_slots(n, duration_s, slot_s)
        up_bps, _, rtt_s = regrid(up, slot_s, slots)
        return LinkTable(slot_s, up_bps, regrid(down, slot_s, slots)[1], rtt_s)


def regrid(table: LinkTable, slot_s: float, slots: int) -> list[FloatArray]:
    """Uplink, downlink and round trips on a grid of shorter slots, ``[n, slots]`` each.

    Raises:
        InvalidSetting: If the table changes and its slots are no multiples of the new ones.
    """
    factor = round(table.slot_s / slot_s)
    if table.slots > 1 and abs(table.slot_s / slot_s - factor) > 1e-6 * factor:
        raise InvalidSetting(
            f"slots of one table must be multiples of the shortest, {slot_s} s, got {table.slot_s}"
        )
    place = np.arange(slots) // factor % table.slots
    return [column[:, place] for column in (table.up_bps, table.down_bps, table.rtt_s)]
