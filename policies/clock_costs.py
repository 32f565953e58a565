"""When a round that begins at a moment of a grid is over, asked of the engine itself.

Of a session's rounds the link makes the seconds depend on the clock, and on nothing else but

* for a block, when it is sent (the edge has been free since the last verdict), its length, and
  whether it stands; where the device stood before only shifts the moment of sending;
* for a burst, when it is asked for, or when the edge ended the last one;
* for the first round of a request, and for bursts in a row from there on, when the request
  begins, since its image travels first and device and edge read it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from covspec_core import timeline
from covspec_core.rounds import Actions, Floats, Ints, RoundResult
from covspec_core.sessions import Sessions
from covspec_core.wire.sizes import STREAM_BYTES
from env.play import World
from policies.one_round import NEVER_S
from policies.scripted import Scripted


class Blocks(NamedTuple):
    """Blocks of certain lengths, ``E`` of them.

    Attributes:
        stood_s: The verdict is there and the block stands, ``[E, K, N]``.
        refused_s: The same if a token is refused, ``[E, K, N]``.
        steps: Steps drafted ahead on 1, 2, ... of the scenario's widths, ``[E, W, K, N]``.
    """

    stood_s: Floats
    refused_s: Floats
    steps: Ints


class Bursts(NamedTuple):
    """Bursts of 1, 2, ... tokens, ``[burst, N]`` each.

    Attributes:
        edge_s: The edge is done.
        received_s: The last token is at the device.
    """

    edge_s: Floats
    received_s: Floats


class Opening(NamedTuple):
    """Bursts in a row from a request's begin on, until its answer ends.

    Attributes:
        received_s: The last token of the first 1, 2, ... bursts is at the device, ``[B, N]``.
        device_s: The device has read the request, ``[N]``.
    """

    received_s: Floats
    device_s: Floats


class Costs:
    """Rounds of one session at ``K`` keep levels on a grid of ``N`` moments.

    Args:
        world: Scenario and links.
        seed: Of the session.
        times_s: The grid, ``[N]``.
        lengths: Of blocks, ascending, ``[E]``.
    """

    def __init__(self, world: World, seed: np.uint64, times_s: Floats, lengths: Ints) -> None:
        self._world, self._seed, self.lengths = world, seed, lengths
        self.times_s, self.keeps = times_s, np.array(world.scenario.keep_levels)
        self._burst = world.scenario.edge_burst
        one = np.zeros(1, np.int64)
        path = self._sessions(Scripted(one > 0, one, one), 1).path
        self.device_factor = float(path.device_factor[0])
        profile = world.scenario.profile
        self.step_s = profile.draft_s(self.keeps) * self.device_factor
        self.catch_up_s = profile.catch_up_s * self.device_factor
        self.sent = self._blocks(None)
        self.asked, self.streamed = self._bursts(False), self._bursts(True)
        _, self.heard_s = path.rows(np.zeros(len(times_s), np.int64)).download_end_s(
            times_s, np.full(len(times_s), STREAM_BYTES)
        )

    def first(self, image_bytes: int) -> Blocks:
        """First blocks of a request that begins at each moment."""
        return self._blocks(image_bytes)

    def opening(self, image_bytes: int, tokens: int) -> Opening:
        """An answer of so many tokens, to a request that begins at each moment."""
        size = len(self.times_s)
        script = Scripted(np.zeros(size, bool), np.zeros(size, np.int64), np.zeros(size, np.int64))
        play, received_s = self._fresh(self.times_s, image_bytes, script), []
        device_s, keep = play.device_ready_s.copy(), np.full(size, self.keeps[0])
        nothing = np.zeros(size, np.int64)
        for left in range(tokens, 0, -self._burst):
            script.burst[:] = min(left, self._burst)
            received_s.append(self._in_time(self._play(play, keep, nothing, nothing)))
        # What follows a burst that never ends never ends.
        return Opening(np.maximum.accumulate(received_s), device_s)

    def _blocks(self, image_bytes: int | None) -> Blocks:
        widths = np.array(self._world.scenario.branch_widths)
        # Column 0 is the refused block, the others stand on each width.
        shape = len(self.lengths), 1 + len(widths), len(self.keeps), len(self.times_s)
        length, column, level, moment = (axis.ravel() for axis in np.indices(shape))
        refused, nothing = column == 0, np.zeros(length.size, np.int64)
        time_s, keep = self.times_s[moment], self.keeps[level]
        script = Scripted(refused, nothing, nothing)
        if image_bytes is None:
            play = self._awake(time_s, keep, script)
        else:
            play = self._fresh(time_s, image_bytes, script)
        width = np.where(refused, 0, widths[column - 1])
        result = self._play(play, keep, self.lengths[length], width)
        received_s = self._in_time(result).reshape(shape)
        steps = result.branch_steps.reshape(shape)[:, 1:]
        return Blocks(received_s[:, 1], received_s[:, 0], steps)

    def _bursts(self, streaming: bool) -> Bursts:
        tokens = np.repeat(np.arange(1, self._burst + 1), len(self.times_s))
        time_s = np.tile(self.times_s, self._burst)
        keep, nothing = np.full(tokens.size, self.keeps[0]), np.zeros(tokens.size, bool)
        play = self._awake(time_s, keep, Scripted(nothing, tokens, np.zeros_like(tokens)))
        if streaming:
            play.place.awake[:], play.streaming[:] = False, True
            play.place.ready[:] = 0
            _, play.now_s = play.path.download_end_s(time_s, np.full(tokens.size, STREAM_BYTES))
        asked, shape = np.zeros_like(tokens), (self._burst, -1)
        result = self._play(play, keep, asked, asked)
        received_s = self._in_time(result)
        edge_s = np.where(received_s < NEVER_S, result.verified_s, NEVER_S)
        return Bursts(edge_s.reshape(shape), received_s.reshape(shape))

    def _in_time(self, result: RoundResult) -> Floats:
        """Ends of rounds; those that would outlast the deadline never end.

        The device may draft before a block is sent, which the deadline counts as well.
        """
        longest = self.lengths[-1] * self.step_s.max()
        late = result.received_s - result.started_s > self._world.scenario.deadline_s - longest
        return np.where(late, NEVER_S, result.received_s)

    def _play(self, play: Sessions, keep: Floats, length: Ints, width: Ints) -> RoundResult:
        return play.play(Actions(keep, length, width, np.full(play.size, np.inf)))

    def _awake(self, time_s: Floats, keep: Floats, script: Scripted) -> Sessions:
        """Devices with a block ready to be sent, edges that wait for it."""
        play = self._sessions(script, len(time_s))
        play.now_s = play.device_ready_s = play.edge_ready_s = time_s
        play.place.position[:], play.place.keep = 1, keep.copy()
        play.place.awake[:] = play.owed[:] = True
        play.place.ready[:] = self._world.scenario.draft_lengths[-1]
        return play

    def _fresh(self, time_s: Floats, image_bytes: int, script: Scripted) -> Sessions:
        play = self._sessions(script, len(time_s))
        play.now_s = time_s
        play.device_ready_s, play.edge_ready_s = timeline.request_start(
            self._world.scenario.profile, play.path, time_s, np.full(len(time_s), image_bytes)
        )
        return play

    def _sessions(self, script: Scripted, size: int) -> Sessions:
        scenario = replace(self._world.scenario, deadline_s=np.inf, max_skipped=0)
        play = Sessions(scenario, self._world.links, script, size)
        play.begin(np.arange(size), np.full(size, self._seed, dtype=np.uint64))
        return play
