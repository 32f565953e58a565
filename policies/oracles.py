"""Upper bounds that no device could reach: optimal control by dynamic programming on recordings.

**Over which controllers they are optimal.** All that choose, without a gate, keep at the start of
every request and a draft length and branch width of the scenario before every round, on links
that do not change while a session lasts. There nothing is left out: on such a link the seconds of
a round depend on the request and on

* whether the round is the request's first, or the edge has written alone since then (device and
  edge may still be reading the prompt),
* after a check, the ready tokens a branch hit has left (the device is awake),
* after a burst, how many bursts stood in a row (the edge streams, the draft lags behind),

not on the clock; no position is judged twice; and a session is the sum of its requests. So the
state is (position, one of these modes), and backward induction over positions is exact, for every
keep level apart. Costs come from the engine (:mod:`policies.one_round`), texts and noise from the
source that replays them. On links that change, the clock would be part of the state; they are
refused (:mod:`policies.changing` puts it there, :mod:`policies.clairvoyant` searches with known
outcomes, and :func:`policies.known.frozen` stops the links).

The **outcome oracle** knows which drafted tokens will stand. The **law oracle** knows the target's
text and the chance ``min(1, q(y) / p(y))`` of every position, and sees outcomes as they come; what
it reaches is an expectation over the noise. Under shared noise a recording holds no chance but
only what came of it, and both are one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting
from covspec_core.randomness import mix
from covspec_core.rounds import Actions, Floats, Ints, Keys, Status
from env.play import World
from policies.induction import backward
from policies.known import Known, choices_of, refuse_changing, requests_of
from policies.one_round import Modes, round_costs

CHUNK = 8
"""Sessions solved at once; bounds the memory."""


class Oracle:
    """A plan for certain sessions: a controller for :func:`~policies.judging.judge` on these alone.

    Attributes:
        seconds: Least seconds of each session, expected ones for the law oracle, ``[sessions]``.
        edge_only_s: Seconds of the edge alone, ``[sessions]``.
    """

    def __init__(self, world: World, seconds: Floats, edge_only_s: Floats, plan: Plan) -> None:
        self.seconds, self.edge_only_s = seconds, edge_only_s
        self._choices, self._modes, self._plan = choices_of(world), plan.modes, plan
        self.begin(len(seconds))

    @property
    def speedup(self) -> Floats:
        """Speed over edge-only; that of the expected seconds for the law oracle."""
        return self.edge_only_s / self.seconds

    def begin(self, size: int) -> None:
        """The sessions start."""
        if size != len(self.seconds):
            raise InvalidSetting(f"this oracle knows {len(self.seconds)} sessions, got {size}")
        self._rows = np.arange(size)
        self._request, self._bursts = np.full(size, -1), np.zeros(size, dtype=np.int64)

    def decide(self, status: Status) -> Actions:
        """What the plan says for the state of every session."""
        fresh, streaming = status["fresh"] > 0, status["streaming"] > 0
        requests = self._plan.keep.shape[1]
        self._request = np.where(fresh, (self._request + 1) % requests, self._request)
        self._bursts = np.where(streaming, self._bursts + 1, 0)
        ready, position = (status[name].astype(np.int64) for name in ("ready", "tokens"))
        mode = self._modes.number(position, streaming, ready, self._bursts)
        cell = self._rows, self._request
        chosen = self._plan.choice[(*cell, position, mode)]
        return Actions(
            keep=self._plan.keep[cell],
            draft_length=self._choices.length[chosen],
            branch_width=self._choices.width[chosen],
            gate_threshold=np.full(len(status), np.inf),
        )


def outcome_oracle(world: World, sessions: int, seed: int) -> Oracle:
    """Least seconds of sessions whose every acceptance is known beforehand.

    Args:
        world: Scenario, links and requests.
        sessions: How many.
        seed: As for :func:`~policies.judging.judge`: the same sessions.

    Raises:
        InvalidSetting: If a link changes while a session lasts.
    """
    return _solve(world, sessions, seed, knows_noise=True)


def law_oracle(world: World, sessions: int, seed: int) -> Oracle:
    """Least expected seconds of sessions whose texts and chances are known, but not the noise.

    Its plan, played with the noise of each session, is the bound in the mean over sessions of all
    who choose a block's length before it is drafted. Who ends a block by what was drawn knows a
    little of the noise, which this plan does not, and could pass it: a stop laid over the plan
    itself does, by less than one percent (``tests/policies/test_oracles.py``).

    Args:
        world: Scenario, links and requests.
        sessions: How many.
        seed: As for :func:`~policies.judging.judge`: the same sessions.

    Raises:
        InvalidSetting: If a link changes while a session lasts.
    """
    return _solve(world, sessions, seed, knows_noise=False)


class Plan(NamedTuple):
    """Best choices of ``S`` sessions with ``R`` requests.

    Attributes:
        keep: Share of visual tokens, ``[S, R]``.
        choice: Which choice in every state, ``[S, R, T, M]``.
        modes: The states.
    """

    keep: Floats
    choice: NDArray[np.int16]
    modes: Modes


def _solve(world: World, sessions: int, seed: int, knows_noise: bool) -> Oracle:
    seeds = mix(seed, np.arange(sessions))
    refuse_changing(world)
    keys, edge_only_s = requests_of(world, seeds)
    parts = [
        _solve_some(world, seeds[part], keys[part], knows_noise)
        for part in np.split(np.arange(sessions), range(CHUNK, sessions, CHUNK))
    ]
    seconds, keep, choice = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    modes = Modes.of(world.scenario, int(world.recording.length.max()))
    return Oracle(world, seconds, edge_only_s, Plan(keep, choice, modes))


def _solve_some(
    world: World, seeds: Keys, keys: Keys, knows_noise: bool
) -> tuple[Floats, Floats, Ints]:
    """Seconds ``[S]``, keep ``[S, R]`` and choices ``[S, R, T, M]`` of some sessions."""
    levels, shape = np.array(world.scenario.keep_levels), keys.shape
    each = len(levels)
    key, keep = np.repeat(keys.ravel(), each), np.tile(levels, keys.size)
    source = Known(world.recording, world.scenario.protocol, len(key))
    image_bytes, _ = source.peek(key)
    text = source.tell(key, keep, knows_noise)
    modes = Modes.of(world.scenario, text.chance.shape[1])
    own = np.repeat(seeds, each * shape[1])
    costs = round_costs(world, own, image_bytes, keep, modes)
    rest_s, choice = backward(world, text, costs, modes)
    seconds = rest_s.reshape(*shape, each)
    best = seconds.argmin(2)
    taken = np.arange(keys.size) * each + best.ravel()
    return seconds.min(2).sum(1), levels[best], choice[taken].reshape(*shape, *choice.shape[1:])
