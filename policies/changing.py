"""The law oracle on links that change: dynamic programming over (position, mode, clock).

As :mod:`policies.oracles`, but with the clock in the state, on a grid
(:mod:`policies.timed_induction`); the link of every session is known, as are texts and chances,
the noise is not. The plan is exact but for the grid; as the grid is refined its expected seconds
converge to the least possible ones. It is then **played through the engine**, with the noise as it
comes, and what it decided is noted, so that its measured speed is honest whatever the grid's error.
"""

from __future__ import annotations

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.randomness import mix
from covspec_core.rounds import Actions, Floats, Ints, Keys, Status
from covspec_core.sessions import Sessions
from env.play import World
from policies.clock import Grid
from policies.clock_costs import Costs
from policies.known import Known, Text, requests_of
from policies.one_round import refuse_unknown_rounds
from policies.timed_induction import Induction, Rounds, Tables

STEP_S = 0.05
"""Of the grid."""


class Noted:
    """Plays decisions noted beforehand for certain sessions: a controller for ``judge``.

    Attributes:
        seconds: Expected seconds of each session, ``[sessions]``.
        edge_only_s: Seconds of the edge alone, ``[sessions]``.
    """

    def __init__(self, seconds: Floats, edge_only_s: Floats, notes: list[_Notes]) -> None:
        self.seconds, self.edge_only_s, self._notes = seconds, edge_only_s, notes
        self.begin(len(seconds))

    @property
    def speedup(self) -> Floats:
        """Speed over edge-only, from the expected seconds."""
        return self.edge_only_s / self.seconds

    def begin(self, size: int) -> None:
        """The sessions start."""
        if size != len(self._notes):
            raise InvalidSetting(f"this oracle knows {len(self._notes)} sessions, got {size}")
        self._round = np.zeros(size, dtype=np.int64)

    def decide(self, status: Status) -> Actions:
        """What was noted for this round of every session; a session that is over starts again."""
        rows = [
            notes[turn % len(notes)] for notes, turn in zip(self._notes, self._round, strict=True)
        ]
        keep, length, width, position = np.array(rows).T
        if (position != status["tokens"]).any():
            raise InvalidSetting("this oracle knows other sessions than those it has to play")
        self._round += 1
        off = np.full(len(rows), np.inf)
        return Actions(keep, length.astype(np.int64), width.astype(np.int64), off)


_Notes = list[tuple[float, int, int, int]]
"""Keep, draft length, branch width and position of every round."""


def timed_law_oracle(world: World, sessions: int, seed: int, step_s: float = STEP_S) -> Noted:
    """Least expected seconds of sessions whose links, texts and chances are known.

    Args:
        world: Scenario, links and requests; links may change.
        sessions: How many.
        seed: As for :func:`~policies.judging.judge`: the same sessions.
        step_s: Of the clock's grid. Time and memory grow with its inverse.

    Raises:
        InvalidSetting: If the protocol's refusals differ in cost, or blocks bring no bonus token.
    """
    refuse_unknown_rounds(world)
    seeds = mix(seed, np.arange(sessions))
    keys, edge_only_s = requests_of(world, seeds)
    plans = [
        _Session(world, own, key, Grid(step_s, 1.5 * alone_s + 5.0))
        for own, key, alone_s in zip(seeds, keys, edge_only_s, strict=True)
    ]
    played = [(plan.solve(), plan.play()) for plan in plans]
    seconds, notes = zip(*played, strict=True)
    return Noted(np.array(seconds), edge_only_s, list(notes))


class _Session:
    """One session's requests, solved from the last to the first and then played.

    Args:
        world: Scenario, links and requests.
        seed: Of the session.
        keys: Of its requests, ``[R]``.
        grid: The clock; behind its end a moment later is an end as much later.
    """

    def __init__(self, world: World, seed: np.uint64, keys: Keys, grid: Grid) -> None:
        self._world, self._seed, self._keys, self._grid = world, seed, keys, grid
        scenario = world.scenario
        self._keeps = np.array(scenario.keep_levels)
        self._widths = np.array(scenario.branch_widths)
        self._lengths = np.array([g for g in scenario.draft_lengths if g > 0])
        self._can_wait = scenario.draft_lengths[0] == 0
        self._tables: list[Tables] = []
        self._rank: list[Ints] = []

    def solve(self) -> float:
        """Least expected seconds of the session."""
        source = Known(self._world.recording, self._world.scenario.protocol, len(self._keeps))
        texts = [
            source.tell(np.repeat(key, len(self._keeps)), self._keeps, knows_noise=False)
            for key in self._keys
        ]
        images, _ = source.peek(self._keys)
        rounds = self._rounds(texts)
        then_s: Floats = self._grid.times_s
        for text, image_bytes in zip(texts[::-1], images[::-1], strict=True):
            width = self._narrowest(text)
            tables = Induction(rounds, text, width, then_s, int(image_bytes)).solve()
            then_s = tables.start_s.min(0)
            self._tables.insert(0, tables)
            self._rank.insert(0, width)
        return float(then_s[0])

    def _rounds(self, texts: list[Text]) -> Rounds:
        """Rounds with every length that a block can have, cut by the answer's limit or not."""
        left = [text.limit - np.arange(text.length[0]) for text in texts]
        cut = [np.minimum(own[:, None], self._lengths) for own in left]
        lengths = np.unique(np.concatenate([own.ravel() for own in cut]))
        costs = Costs(self._world, self._seed, self._grid.times_s, lengths)
        return Rounds(costs, self._grid, self._lengths, self._can_wait)

    def _narrowest(self, text: Text) -> Ints:
        """Index of the narrowest width that holds the answer's token, -1 for none, ``[K, T]``."""
        index = np.searchsorted(self._widths, text.rank, side="right")
        return np.where(index < len(self._widths), index, -1)

    def play(self) -> _Notes:
        """The session by the plan; what was decided in every round."""
        world, notes, over = self._world, [], False
        play = Sessions(world.scenario, world.links, world.replay(1), 1)
        play.begin(np.zeros(1, np.int64), np.array([self._seed], dtype=np.uint64))
        request, bursts, level, asked_s = -1, 0, 0, 0.0
        while not over:
            if play.fresh[0]:
                request, asked_s = request + 1, float(play.request_s[0])
                level = int(self._tables[request].start_s[:, self._nearest(asked_s)].argmin())
            bursts = bursts + 1 if play.streaming[0] else 0
            note = self._decide(play, request, level, bursts)
            keep, length, width, _ = note
            result = play.play(
                Actions(np.array([keep]), np.array([length]), np.array([width]), np.full(1, np.inf))
            )
            notes.append(note)
            over = bool(result.session_done[0])
        self._tables, self._rank = [], []
        return notes

    def _decide(
        self, play: Sessions, request: int, level: int, bursts: int
    ) -> tuple[float, int, int, int]:
        tables, position = self._tables[request], int(play.place.position[0])
        if position == bursts * self._world.scenario.edge_burst:
            row, clock = tables.opening[bursts], play.request_s
        elif bursts:
            row, clock = tables.streaming[position, bursts], play.edge_ready_s
        else:
            row, clock = tables.awake[position, play.place.ready[0]], play.now_s
        choice = int(row[level, self._nearest(float(clock[0]))])
        lengths = np.append([0], self._lengths) if self._can_wait else self._lengths
        length = int(lengths[choice])
        bonus = position + min(length, int(play.limit[0]) - position)
        holds = self._rank[request][level]
        width = holds[bonus] if length and bonus < len(holds) else 0
        return float(self._keeps[level]), length, int(self._widths[max(width, 0)]), position

    def _nearest(self, time_s: float) -> int:
        return min(round(time_s / self._grid.step_s), len(self._grid.times_s) - 1)
