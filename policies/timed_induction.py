"""Backward induction over (position, mode, clock) for one request of one session.

The value of a state is the least expected **end of the session**. Its clock is the moment when

* an awake device with some tokens ready begins its round,
* a streaming edge ended its last burst (what the device got follows from that),
* a request began that is fresh, or that the edge alone has answered so far.

A block that is sent at a moment costs the same from every state, so its value is worked out once
per position and length; where the device stood only shifts when it is sent. Of several branch
widths the narrowest that holds the bonus token leaves most tokens ready, and more ready tokens
never cost more: it is the only one tried. Times between grid points are read linearly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covspec_core.rounds import Floats, Ints
from policies.clock import Grid, Moments, read
from policies.clock_costs import Blocks, Bursts, Costs
from policies.known import Text


class Tables(NamedTuple):
    """Best choices of a request, as indices of draft lengths; widths follow from the text.

    Attributes:
        start_s: Least expected end of the session if it begins then, ``[K, N]``.
        opening: Choice behind 0, 1, ... bursts since the request began, ``[B, K, N]``.
        awake: Choice by position and ready tokens, ``[T, R, K, N]``.
        streaming: Choice by position and bursts in a row, ``[T, B, K, N]``.
    """

    start_s: Floats
    opening: Ints
    awake: NDArray[np.int8]
    streaming: NDArray[np.int8]


class Rounds:
    """What rounds of a session lead to, located on the grid once for all positions.

    Args:
        costs: Of the session.
        grid: The clock.
        lengths: Draft lengths above 0 that may be asked for, ascending.
        can_wait: Whether the edge may go on alone.
    """

    def __init__(self, costs: Costs, grid: Grid, lengths: Ints, can_wait: bool) -> None:
        self.costs, self.grid, self.lengths, self.can_wait = costs, grid, lengths, can_wait
        self.longest = int(lengths[-1])
        self.sent = Landing.of(costs.sent, grid)
        self.asked = self._bursts(costs.asked)
        self.streamed = self._bursts(costs.streamed)
        steps = np.arange(self.longest + 1)[:, None, None] * costs.step_s[:, None]
        self.drafted = [grid.locate(grid.times_s + s) for s in steps]

    def first(self, image_bytes: int) -> Landing:
        """The same for first blocks."""
        return Landing.of(self.costs.first(image_bytes), self.grid)

    def caught_up(self, heard_s: Floats, lag: int) -> Moments:
        """When a device that can start at moments ``[N]`` has read what the edge wrote alone."""
        return self.at(heard_s + lag * self.costs.catch_up_s)

    def at(self, time_s: Floats) -> Moments:
        """Moments ``[N]`` on the grid, the same for every keep level."""
        shape = len(self.costs.keeps), len(self.grid.times_s)
        return self.grid.locate(np.broadcast_to(time_s, shape))

    def _bursts(self, bursts: Bursts) -> list[tuple[Moments, Moments]]:
        return [(self.at(edge), self.at(got)) for edge, got in zip(*bursts, strict=True)]


class Landing(NamedTuple):
    """Blocks whose verdicts are located on the grid, one entry a length."""

    stood: list[Moments]
    refused: list[Moments]
    steps: Ints

    @staticmethod
    def of(blocks: Blocks, grid: Grid) -> Landing:
        """Locate them."""
        return Landing(
            [grid.locate(t) for t in blocks.stood_s],
            [grid.locate(t) for t in blocks.refused_s],
            blocks.steps,
        )


class Induction:
    """One request at all keep levels.

    Args:
        rounds: Of the session.
        text: What is known, a row for each of the ``K`` levels.
        width: Index of the width to draft ahead with if the bonus token is at a position,
            ``[K, T]``; -1 if none holds it.
        then_s: Least expected end of the session if the request ends then, ``[N]``.
        image_bytes: Of the request.
    """

    def __init__(
        self, rounds: Rounds, text: Text, width: Ints, then_s: Floats, image_bytes: int
    ) -> None:
        self._rounds, self._text, self._width = rounds, text, width
        self._total, n = int(text.length[0]), len(rounds.grid.times_s)
        self._burst = rounds.costs.asked.edge_s.shape[0]
        self._most = -(-self._total // self._burst)
        k, behind = len(rounds.costs.keeps), self._total + rounds.longest + 2
        self._then_s = np.tile(then_s, (k, 1))
        self._awake_s = np.empty((behind, rounds.longest + 1, k, n))
        self._awake_s[self._total :] = self._then_s
        self._streaming_s = np.empty((self._total, self._most + 1, k, n))
        self._image_bytes = image_bytes
        self._drafting: dict[int, tuple[Floats, Ints]] = {}

    def solve(self) -> Tables:
        """All choices, from the last position back to the first."""
        shape, total = self._awake_s.shape[2:], self._total
        awake = np.zeros((total, self._rounds.longest + 1, *shape), dtype=np.int8)
        streaming = np.zeros((total, self._most + 1, *shape), dtype=np.int8)
        for position in range(total - 1, 0, -1):
            self._position(position, awake[position], streaming[position])
        start_s, opening = self._open()
        return Tables(start_s, opening, awake, streaming)

    def _open(self) -> tuple[Floats, Ints]:
        """Least expected end by a request's begin, and choices behind bursts since then."""
        rounds = self._rounds
        blocks = self._sent(0, rounds.first(self._image_bytes))
        best_s, first = blocks.min(0), blocks.argmin(0)
        if not rounds.can_wait:
            return best_s, first.astype(np.int8)[None]
        opening = rounds.costs.opening(self._image_bytes, self._total)
        choice = np.zeros((self._most, *best_s.shape), dtype=np.int8)
        alone_s = read(self._then_s, rounds.at(opening.received_s[-1]))
        for bursts in range(self._most - 1, 0, -1):
            able_s = np.maximum(opening.received_s[bursts - 1], opening.device_s)
            own_s, own = self._own(bursts * self._burst, able_s, bursts)
            choice[bursts] = np.where(own_s < alone_s, own, 0)
            alone_s = np.minimum(own_s, alone_s)
        choice[0] = np.where(best_s < alone_s, first + 1, 0)
        return np.minimum(best_s, alone_s), choice

    def _position(self, position: int, awake: Ints, streaming: Ints) -> None:
        """Values and choices of all states at a position."""
        rounds, each = self._rounds, np.arange(len(self._rounds.lengths))
        sent = self._sent(position, rounds.sent)
        drafted = np.stack([read(sent, at) for at in rounds.drafted])
        length = self._cut(position)
        alone = self._alone(position, 1, rounds.asked)[None] if rounds.can_wait else None
        for ready in range(rounds.longest + 1):
            options = drafted[np.maximum(length - ready, 0), each]
            if alone is not None:
                asked = alone if ready else read(alone, rounds.drafted[1])
                options = np.concatenate([asked, options])
            awake[ready] = options.argmin(0)
            self._awake_s[position, ready] = options.min(0)
        if rounds.can_wait:
            whole = drafted[length, each]
            self._drafting[position] = whole.min(0), whole.argmin(0) + 1
            self._stream(position, streaming)

    def _stream(self, position: int, streaming: Ints) -> None:
        """States behind 1, 2, ... bursts in a row."""
        for bursts in range(1, position // self._burst + 1):
            own_s, own = self._own(position, self._rounds.costs.heard_s, bursts)
            alone_s = self._alone(position, bursts + 1, self._rounds.streamed)
            self._streaming_s[position, bursts] = np.minimum(own_s, alone_s)
            streaming[bursts] = np.where(own_s < alone_s, own, 0)

    def _own(self, position: int, able_s: Floats, bursts: int) -> tuple[Floats, Ints]:
        """End of the session if a device that can start at moments ``[N]`` drafts, its choice."""
        draft_s, choice = self._drafting[position]
        at = self._rounds.caught_up(able_s, bursts * self._burst)
        return read(draft_s, at), np.take_along_axis(choice, at.nearest, 1)

    def _alone(self, position: int, bursts: int, found: list[tuple[Moments, Moments]]) -> Floats:
        """End of the session if the edge goes on alone, ``[K, N]``."""
        left = self._total - position
        edge, received = found[min(left, self._burst) - 1]
        if left <= self._burst:
            return read(self._then_s, received)
        return read(self._streaming_s[position + self._burst, bursts], edge)

    def _cut(self, position: int) -> Ints:
        """Lengths of the blocks that are sent, ``[E]``."""
        return np.minimum(self._rounds.lengths, self._text.limit - position)

    def _sent(self, position: int, landing: Landing) -> Floats:
        """Expected end of the session if a block of each length is sent then, ``[E, K, N]``."""
        chance, total = self._text.chance, self._total
        stands = np.ones((len(chance), 1))
        mass, refusal_s = np.zeros_like(stands), np.zeros_like(self._then_s)
        ends_s, done = [], position
        for length in self._cut(position):
            for i in range(done, min(position + length, total)):
                here = stands * (1 - chance[:, i, None])
                refusal_s = refusal_s + here * self._awake_s[i + 1, 0]
                mass, stands = mass + here, stands * chance[:, i, None]
                done = i + 1
            entry = int(np.searchsorted(self._rounds.costs.lengths, length))
            stood_s = self._stood(position + length, landing, entry)
            ends_s.append(read(refusal_s, landing.refused[entry], mass) + stands * stood_s)
        return np.stack(ends_s)

    def _stood(self, bonus: int, landing: Landing, entry: int) -> Floats:
        """End of the session behind a block that stands, ``[K, N]``."""
        at = landing.stood[entry]
        if bonus + 1 >= self._total:
            return read(self._then_s, at)
        width = self._width[:, bonus]
        levels = np.arange(len(width))
        steps = landing.steps[entry][np.maximum(width, 0), levels]
        ready = np.where(width[:, None] >= 0, steps, 0)
        behind = self._awake_s[bonus + 1]
        jump = ready * behind[0].size + at.flat
        low, high = behind.take(jump), behind.take(jump + 1)
        found: Floats = low + at.share * (high - low) + at.beyond_s
        return found
