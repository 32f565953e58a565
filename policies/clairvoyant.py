"""The outcome oracle on links that change: a search through the engine, round by round.

Forward over the positions of a request, every state that can be reached (see
:mod:`policies.oracles`) is held with its earliest moment, and from there every choice is played by
the engine itself, on the link as it will be. The plan that is found is played exactly, so a
session can be as fast as it says. It is **optimal** where being earlier never hurts: on links that
do not change, and without branches on links whose round trip does not. With branches a later
round can wait longer for its verdict and so have more tokens ready; such plans are passed over,
and elsewhere the search is an estimate of the bound from below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from covspec_core import timeline
from covspec_core.randomness import mix
from covspec_core.rounds import GATE_OFF, Actions, Bools, Floats, Ints, Keys
from covspec_core.sessions import Sessions
from env.play import World
from policies.known import choices_of, requests_of
from policies.one_round import Modes, put_in_modes
from policies.oracles import Oracle, Plan


def outcome_search(world: World, sessions: int, seed: int) -> Oracle:
    """A plan for sessions whose every acceptance and whose link are known beforehand.

    Args:
        world: Scenario, links and requests.
        sessions: How many.
        seed: As for :func:`~policies.judging.judge`: the same sessions.
    """
    seeds = mix(seed, np.arange(sessions))
    keys, edge_only_s = requests_of(world, seeds)
    now_s, keeps, choices = np.zeros(sessions), [], []
    for key in keys.T:
        search = _Search(world, seeds, key, now_s)
        search.run()
        now_s, keep, choice = search.best()
        keeps.append(keep)
        choices.append(choice)
    plan = Plan(np.stack(keeps, 1), np.stack(choices, 1), search.modes)
    return Oracle(world, now_s, edge_only_s, plan)


class _Labels(NamedTuple):
    """Earliest moments of every pair, position and state, all ``[P, T + 1, M]``.

    Attributes:
        now_s: Earliest moment, infinite if never.
        edge_s: When the edge was done by then.
        before: Position and state before, as one number; -1 at the start.
        choice: What led here.
    """

    now_s: Floats
    edge_s: Floats
    before: Ints
    choice: Ints


class _Search:
    """One request of every session, at every keep level: ``P`` pairs.

    Args:
        world: Scenario, links and requests.
        seeds: Of the sessions, ``[S]``.
        keys: Of the requests, ``[S]``.
        now_s: When they are asked, ``[S]``.
    """

    def __init__(self, world: World, seeds: Keys, keys: Keys, now_s: Floats) -> None:
        levels = np.array(world.scenario.keep_levels)
        self._world, self._each = world, len(levels)
        self._seed, self._key = np.repeat(seeds, self._each), np.repeat(keys, self._each)
        self._keep = np.tile(levels, len(seeds))
        image_bytes, self._total = world.replay(1).peek(self._key)
        tokens = int(world.recording.length.max())
        self.modes, self._choices = Modes.of(world.scenario, tokens), choices_of(world)
        self._scenario = replace(world.scenario, requests=1, deadline_s=np.inf)
        shape = (len(self._key), tokens + 1, self.modes.size)
        whole, nothing = np.full(shape, np.inf), np.full(shape, -1)
        self._labels = _Labels(whole, whole.copy(), nothing, nothing.copy())
        path = self._sessions(np.arange(len(self._key))).path
        asked_s = np.repeat(now_s, self._each)
        start = timeline.request_start(world.scenario.profile, path, asked_s, image_bytes)
        self._labels.now_s[:, 0, 0], self._labels.edge_s[:, 0, 0] = asked_s, start.edge_s
        self._device_s = start.device_s

    def run(self) -> None:
        """Fill in all labels."""
        for position in range(self._labels.now_s.shape[1] - 1):
            pair, mode = np.nonzero(self._useful(position))
            if pair.size:
                self._try_all(position, pair, mode)

    def best(self) -> tuple[Floats, Floats, Ints]:
        """End of the best plan and its keep, ``[S]`` each, and its choices, ``[S, T, M]``."""
        pairs = np.arange(len(self._total))
        ends_s = self._labels.now_s[pairs, self._total, 0].reshape(-1, self._each)
        taken = ends_s.argmin(1) + np.arange(len(ends_s)) * self._each
        choice = np.zeros((len(taken), *self._labels.choice.shape[1:]), dtype=np.int16)
        for row, pair in enumerate(taken):
            place = self._total[pair] * self.modes.size
            while (before := self._labels.before[pair].flat[place]) >= 0:
                choice[row].flat[before] = self._labels.choice[pair].flat[place]
                place = before
        return ends_s.min(1), self._keep[taken], choice[:, :-1]

    def _useful(self, position: int) -> Bools:
        """States from which to go on, ``[P, M]``: reached, and no better one was reached sooner."""
        now_s, border = self._labels.now_s[:, position], 2 + self.modes.longest
        useful = np.isfinite(now_s) & (position < self._total)[:, None]
        # More tokens ready are better, and fewer bursts for the draft to catch up with.
        useful[:, 1:border] &= _sooner(now_s[:, 1:border][:, ::-1])[:, ::-1]
        useful[:, border:] &= _sooner(now_s[:, border:])
        return useful

    def _try_all(self, position: int, pair: Ints, mode: Ints) -> None:
        """Play every choice from these states, and note where it leads."""
        each = len(self._choices.length)
        choice = np.tile(np.arange(each), len(pair))
        pair, mode = np.repeat(pair, each), np.repeat(mode, each)
        play = self._at(position, pair, mode)
        result = play.play(
            Actions(
                keep=self._keep[pair],
                draft_length=self._choices.length[choice],
                branch_width=self._choices.width[choice],
                gate_threshold=np.full(len(pair), GATE_OFF),
            )
        )
        bursts = self.modes.in_a_row(mode) + 1
        position_after = np.where(result.request_done, 0, play.place.position)
        after = self.modes.number(position_after, play.streaming, play.place.ready, bursts)
        in_time = result.seconds <= self._world.scenario.deadline_s
        self._note(
            pair[in_time], (play.place.position * self.modes.size + after)[in_time],
            _Labels(
                play.now_s, play.edge_ready_s, position * self.modes.size + mode, choice
            ), in_time,
        )  # fmt: skip

    def _note(self, pair: Ints, place: Ints, found: _Labels, rows: Bools) -> None:
        """Keep the earliest of all that lead to the same state."""
        found = _Labels(
            found.now_s[rows], found.edge_s[rows], found.before[rows], found.choice[rows]
        )
        target = pair * self._labels.now_s[0].size + place
        order = np.lexsort((found.now_s, target))
        first = order[np.unique(target[order], return_index=True)[1]]
        sooner = first[found.now_s[first] < self._labels.now_s.flat[target[first]]]
        for known, new in zip(self._labels, found, strict=True):
            known.flat[target[sooner]] = new[sooner]

    def _at(self, position: int, pair: Ints, mode: Ints) -> Sessions:
        """Sessions in these states."""
        play = self._sessions(pair)
        put_in_modes(play, self.modes, mode)
        play.now_s = self._labels.now_s[pair, position, mode]
        play.edge_ready_s = self._labels.edge_s[pair, position, mode]
        play.device_ready_s = self._device_s[pair]
        play.place.position, play.place.keep = np.full(len(pair), position), self._keep[pair]
        return play

    def _sessions(self, pair: Ints) -> Sessions:
        """Sessions that have taken up the request in hand."""
        source, rows = self._world.replay(len(pair)), np.arange(len(pair))
        play = Sessions(self._scenario, self._world.links, source, len(pair))
        play.begin(rows, self._seed[pair])
        play.limit = source.begin(rows, self._key[pair]).limit
        source.prefill(rows, self._keep[pair])
        play.place.key = self._key[pair]
        return play


def _sooner(now_s: Floats) -> Bools:
    """Which moments are sooner than all before them in their row, ``[P, n]``."""
    sooner = np.ones(now_s.shape, dtype=bool)
    sooner[:, 1:] = now_s[:, 1:] < np.minimum.accumulate(now_s, axis=1)[:, :-1]
    return sooner
