"""What one round costs from every state that a request can be in, asked of the engine itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Actions, Bools, Floats, Ints, Keys
from covspec_core.scenario import PER_REQUEST, Scenario
from covspec_core.sessions import Sessions
from covspec_core.wire.sizes import STREAM_BYTES
from env.play import World
from policies.scripted import Scripted


class Modes(NamedTuple):
    """States of a request besides its position, numbered.

    0 is fresh; then come an awake device with 0, 1, ... ready tokens, a streaming edge after
    1, 2, ... bursts in a row, and one after as many since the request began, when the device may
    still be reading it.

    Attributes:
        longest: Longest draft length, most ready tokens.
        bursts: Most bursts in a row.
        burst: Tokens of one.
    """

    longest: int
    bursts: int
    burst: int

    @staticmethod
    def of(scenario: Scenario, tokens: int) -> Modes:
        """The states in which answers of up to so many tokens can be."""
        burst = scenario.edge_burst
        return Modes(scenario.draft_lengths[-1], -(-tokens // burst), burst)

    @property
    def size(self) -> int:
        """How many there are."""
        return 2 + self.longest + 2 * self.bursts

    def number(self, position: Ints, streaming: Bools, ready: Ints, bursts: Ints) -> Ints:
        """States of sessions, shape ``[B]``, whose edge stands behind so many bursts in a row."""
        opening = position == bursts * self.burst
        after = self.streamed(np.minimum(bursts, self.bursts), opening)
        return np.where(position == 0, 0, np.where(streaming, after, 1 + ready))

    def streamed(self, bursts: Ints, opening: Bools) -> Ints:
        """States behind bursts in a row, which opened the request or not."""
        return self.longest + 1 + bursts + opening * self.bursts

    def in_a_row(self, mode: Ints) -> Ints:
        """Bursts in a row behind which states stand; 0 where the edge does not stream."""
        behind = mode - 2 - self.longest
        return np.where(behind < 0, 0, behind % self.bursts + 1)

    def opens(self, mode: Ints) -> Bools:
        """States in which the edge has written alone since the request began, fresh included."""
        return (mode == 0) | (mode > 1 + self.longest + self.bursts)


class Costs(NamedTuple):
    """Seconds of a round for ``N`` requests and ``M`` states.

    Attributes:
        check_s: Of a draft of 1, 2, ... tokens that stands or is refused, ``[N, M, lengths, 2]``.
        ready: Tokens that a branch hit would leave ready, ``[N, M, lengths, widths]``.
        burst_s: Of 1, 2, ... tokens of the edge alone, ``[N, M, burst]``.
    """

    check_s: Floats
    ready: Ints
    burst_s: Floats


def round_costs(world: World, seeds: Keys, image_bytes: Ints, keep: Floats, modes: Modes) -> Costs:
    """Play one round from every state, on links that never change.

    Args:
        world: Scenario and links.
        seeds: Of the session of each request, shape ``[N]``.
        image_bytes: Encoded image and question, shape ``[N]``.
        keep: Share of visual tokens, shape ``[N]``.
        modes: The states.

    Raises:
        InvalidSetting: If refusals cost more or less by chance, or blocks bring no bonus tokens.
    """
    refuse_unknown_rounds(world)
    scenario = world.scenario
    script = _Script.of(scenario, len(seeds), modes)
    play = _in_every_mode(world, script, seeds, image_bytes, keep, modes)
    before_s = play.now_s.copy()
    result = play.play(
        Actions(
            keep=keep[script.pair],
            draft_length=script.length,
            branch_width=script.width,
            gate_threshold=np.full(len(script.pair), np.inf),
        )
    )
    shape, widths = (len(seeds), modes.size, -1), len(scenario.branch_widths)
    late = result.seconds > scenario.deadline_s
    seconds = np.where(late, NEVER_S, result.received_s - before_s)
    seconds, ahead = seconds.reshape(shape), result.branch_steps.reshape(shape)
    n_drafts = modes.longest * (widths + 1)
    grid = (len(seeds), modes.size, modes.longest, widths + 1)
    drafts, ahead = seconds[..., :n_drafts].reshape(grid), ahead[..., :n_drafts].reshape(grid)
    return Costs(drafts[..., [0, -1]], ahead[..., :-1], seconds[..., n_drafts:])


def refuse_unknown_rounds(world: World) -> None:
    """Refusals must cost the same, standing blocks bring a bonus token, requests keep their keep.

    Raises:
        InvalidSetting: If not.
    """
    scenario, name = world.scenario, world.scenario.protocol.name
    if scenario.protocol.top:
        raise InvalidSetting(
            f"oracles need refusals that cost the same, protocol {name} has two kinds"
        )
    if scenario.pre_verify or scenario.post_verify:
        raise InvalidSetting("oracles need bonus tokens, pre_verify and post_verify must be off")
    if scenario.keep_control != PER_REQUEST:
        raise InvalidSetting(
            f"oracles need keep_control {PER_REQUEST}, got {scenario.keep_control!r}"
        )


NEVER_S = 1e9
"""A round that outlasts the scenario's deadline."""


class _Script(NamedTuple):
    """One row for every request, state and round: action and outcome, shape ``[rows]`` each."""

    pair: Ints
    mode: Ints
    length: Ints
    width: Ints
    refused: Bools
    burst: Ints

    @staticmethod
    def of(scenario: Scenario, pairs: int, modes: Modes) -> _Script:
        kinds = [
            (g, width, refused, 0)
            for g in range(1, modes.longest + 1)
            for width, refused in [*product(scenario.branch_widths, [False]), (0, True)]
        ]
        kinds += [(0, 0, False, n) for n in range(1, scenario.edge_burst + 1)]
        pair, mode, kind = (
            axis.ravel() for axis in np.indices((pairs, modes.size, len(kinds)), dtype=np.int64)
        )
        length, width, refused, burst = (
            np.array(column)[kind] for column in zip(*kinds, strict=True)
        )
        return _Script(pair, mode, length, width, refused, burst)


def _in_every_mode(
    world: World, script: _Script, seeds: Keys, image_bytes: Ints, keep: Floats, modes: Modes
) -> Sessions:
    """Sessions whose rows are in the states of a script."""
    pair, mode, size = script.pair, script.mode, len(script.pair)
    source = Scripted(script.refused, script.burst, image_bytes[pair])
    scenario = replace(world.scenario, deadline_s=np.inf, max_skipped=0)
    play = Sessions(scenario, world.links, source, size)
    play.begin(np.arange(size), seeds[pair])
    put_in_modes(play, modes, mode)
    play.place.position, play.place.keep = (mode > 0) * 1, keep[pair]
    _, got_s = play.path.download_end_s(play.now_s, np.full(size, STREAM_BYTES))
    # The edge is done with its last round; of a burst the device has just got the last token.
    trip_s = np.where(play.streaming, got_s - play.now_s, 0.0)
    opens, wrote_s = modes.opens(mode), play.lag * scenario.profile.edge_step_s
    begun_s = play.edge_ready_s + wrote_s * play.path.edge_factor
    play.edge_ready_s = np.where(opens, begun_s, play.now_s - trip_s)
    play.device_ready_s = np.where(opens, play.device_ready_s, play.now_s)
    play.now_s = np.where(opens & play.streaming, begun_s + trip_s, play.now_s)
    return play


def put_in_modes(play: Sessions, modes: Modes, mode: Ints) -> None:
    """Set all of sessions that a state says, which is no time and no position."""
    bursts = modes.in_a_row(mode)
    streams, later = bursts > 0, mode > 0
    play.place.awake, play.streaming = later & ~streams, streams
    play.place.ready = np.where(later & ~streams, mode - 1, 0)
    play.owed, play.lag = later, bursts * modes.burst
