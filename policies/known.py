"""What the oracles know: choices, requests, texts, chances and noise of sessions to come."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.table import LinkTable
from covspec_core.recording import Recording
from covspec_core.replay import ReplaySource
from covspec_core.rounds import Floats, Ints, Keys
from covspec_core.sessions import Sessions
from covspec_core.wire import WireProtocol
from env.play import World

_LINK = ("up_bps", "down_bps", "rtt_s")


class Choices(NamedTuple):
    """Draft lengths and branch widths that a controller may set, shape ``[C]`` each."""

    length: Ints
    width: Ints


def choices_of(world: World) -> Choices:
    """Those of a scenario; without a draft the width makes no difference."""
    scenario = world.scenario
    drafts = product([g for g in scenario.draft_lengths if g > 0], scenario.branch_widths)
    alone = [(0, 0)] if scenario.draft_lengths[0] == 0 else []
    length, width = np.array(alone + list(drafts)).T
    return Choices(length, width)


class Text(NamedTuple):
    """What is known of ``N`` requests at one keep level each; ``T`` is the longest answer.

    Attributes:
        chance: That a drafted token stands, 1 behind the answer's end, ``[N, T]``.
        rank: Place of the answer's token in the draft's law, ``[N, T]``.
        length: Answer tokens, ``[N]``.
        limit: Most answer tokens.
    """

    chance: Floats
    rank: Ints
    length: Ints
    limit: int


class Known(ReplaySource):
    """A replay that tells what it holds."""

    def __init__(self, recording: Recording, kind: WireProtocol, size: int) -> None:
        super().__init__(recording, kind, size)
        self._ahead = np.arange(int(recording.length.max()))

    def tell(self, keys: Keys, keep: Floats, knows_noise: bool) -> Text:
        """What is known of the requests under these keys, one row each."""
        rows = np.arange(len(keys))
        limit = int(self.begin(rows, keys).limit[0])
        self.prefill(rows, keep)
        index = np.minimum(self.texts["base"][:, None] + self._ahead, len(self.tokens) - 1)
        chance = (
            self.stands(keys, len(self._ahead)) if knows_noise else self.tokens["accept"][index]
        )
        total = self.texts["total"].copy()
        behind = self._ahead >= total[:, None]
        return Text(np.where(behind, 1.0, chance), self.tokens["rank"][index], total, limit)


def requests_of(world: World, seeds: Keys) -> tuple[Keys, Floats]:
    """Keys of the requests of sessions, ``[S, R]``, and seconds of the edge alone, ``[S]``."""
    rows = np.arange(len(seeds))
    source = Known(world.recording, world.scenario.protocol, len(seeds))
    play = Sessions(world.scenario, world.links, source, len(seeds))
    play.begin(rows, seeds)
    edge_only_s = play.edge_only_s(rows)
    return play.all_request_keys(rows), edge_only_s


def refuse_changing(world: World) -> None:
    """Links must be the same for ever.

    Raises:
        InvalidSetting: If one changes.
    """
    for name in _LINK:
        values = getattr(world.links, name)
        if (values != values[:, :1]).any():
            raise InvalidSetting(f"oracles need links that do not change, {name} does")


def frozen(world: World) -> World:
    """The same world with every link at its mean for ever.

    ``judge(world, law_oracle(frozen(world), n, seed), n, seed)`` plays the law oracle's plan on
    links that do change: what knowing texts and chances is worth there at least, but no bound.
    """
    links = world.links
    means = (getattr(links, name).mean(1, keepdims=True) for name in _LINK)
    return replace(world, links=LinkTable(links.period_s, *means))
