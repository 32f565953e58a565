"""The token-level view of a session: after every drafted token go on, send, or give up.

A step that goes on drafts one token more and is charged nothing yet (but for a session's start, if
it is the first); one that sends or gives up plays a round of the engine with the block in hand,
whose seconds hold those of its drafts. So an episode's
rounds are the round-level engine's for the same blocks, exactly, and so are its rewards.

What is shown within a block is read along the recorded text. Behind a token that would be refused
the draft really goes on along a text of its own, so the facts there are near, not exact; what is
committed, sent and charged does not depend on them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction, InvalidSetting
from covspec_core.records import ROUND, result_of
from covspec_core.replay import ReplaySource
from covspec_core.rounds import CHANCES, Actions, Bools, Floats, Ints, Status
from covspec_core.source import Source
from env.play import Observations, Play, Step, World
from env.rewards import RewardWeights, total

GO_ON, SEND, GIVE_UP = range(3)
BLOCK_FIELDS: Final = {
    "block": "tokens of the block in hand over the longest draft",
    "standing": "foreseen chance that all of them stand",
    "reach": "the same for one token more",
}
"""What an observation holds behind the fields of :data:`covspec_core.rounds.STATUS_FIELDS`."""


class TokenPlay(Play):
    """``B`` sessions as a token-level environment sees them.

    An action is a choice among ``GO_ON``, ``SEND`` and ``GIVE_UP``, a keep level, which counts when
    a request is fresh and no token is drafted, and a branch width, which counts when a block is
    sent. Without a block ``SEND`` is ``GIVE_UP``: the edge writes a burst alone. At the longest
    draft, and where the answer has no room for more, ``GO_ON`` is ``SEND``.

    Within a block the next-token fields of an observation are those of the last drafted token:
    what the draft steps taken so far have told.

    Args:
        world: Scenario, links and requests.
        source: Outcomes, of a recording.
        size: Number of sessions.
        weights: Weights of the reward's terms.

    Raises:
        InvalidSetting: If the source is no recording.
    """

    def __init__(
        self, world: World, source: Source | ReplaySource, size: int, weights: RewardWeights
    ) -> None:
        if not isinstance(source, ReplaySource):
            raise InvalidSetting(f"source must be a recording's, got {type(source).__name__}")
        super().__init__(world, source, size, weights)
        self._source = source
        self._keeps = np.array(world.scenario.keep_levels)
        self._widths = np.array(world.scenario.branch_widths)
        self.block, self._standing = np.zeros(size, np.int64), np.ones(size)
        self._counts = np.array([3, len(self._keeps), len(self._widths)])

    @property
    def observation_space(self) -> spaces.Box[np.float32]:
        """Bounded observations, shape ``[F]``."""
        fields = len(self.codec.fields) + len(BLOCK_FIELDS)
        return spaces.Box(0.0, 1.0, (fields,), np.float32)

    @property
    def action_space(self) -> spaces.MultiDiscrete:
        """Choice, keep level and branch width."""
        return spaces.MultiDiscrete(self._counts)

    def begin(self, rows: Ints) -> None:
        """Begin the next episode in some rows."""
        super().begin(rows)
        self._drop(rows)

    def _drop(self, rows: Ints) -> None:
        self.block[rows], self._standing[rows] = 0, 1.0

    def observe(self) -> Observations:
        """Observations of all sessions, ``[B, F]``."""
        return self.observe_some(np.arange(len(self.block)))

    def observe_some(self, rows: Ints) -> Observations:
        """Observations of some sessions, ``[k, F]``."""
        status = Status(self.sessions.status().values[rows])
        reach = self._standing * self._look_within(status, rows)
        longest = self.sessions.scenario.draft_lengths[-1]
        within = np.stack([self.block / longest, self._standing, reach], axis=1)[rows]
        return np.concatenate([self.codec.encode(status), within], axis=1, dtype=np.float32)

    def _look_within(self, status: Status, rows: Ints) -> Floats:
        """Show what the drafts in hand have told; the chance of one token more, of all, ``[B]``."""
        ahead = self._source.within(self.sessions.place, np.maximum(self.block - 1, 0))
        inside = self.block > 0
        own = inside[rows]
        status["next_margin"] = np.where(own, ahead.margin[rows], status["next_margin"])
        status["next_entropy"] = np.where(own, ahead.entropy[rows], status["next_entropy"])
        for n, chance in zip(CHANCES, ahead.chances[rows].T, strict=True):
            status[f"chance_{n}"] = np.where(own, chance, status[f"chance_{n}"])
        one, two = ahead.chances[:, 0], ahead.chances[:, 1]
        awake = self.sessions.place.awake
        return np.where(inside, two / np.maximum(one, 1e-9), np.where(awake, one, 0.0))

    @property
    def _most(self) -> Ints:
        """Longest blocks."""
        left = self.sessions.limit - self.sessions.place.position
        return np.minimum(self.sessions.scenario.draft_lengths[-1], left)

    def masks(self) -> Bools:
        """Choices that are not pointless, all parts in a row, shape ``[B, 3 + keeps + widths]``."""
        drafting, room = self.block > 0, self.block < self._most
        choices = np.stack([room, drafting, np.ones_like(room)], axis=1)
        fresh = self.sessions.fresh & ~drafting
        keeps = fresh[:, None] | np.isclose(self.sessions.place.keep[:, None], self._keeps)
        widths = np.ones((len(room), len(self._widths)), dtype=bool)
        # Before a first token there is nothing that could be sent.
        widths[:, 1:] = drafting[:, None] & (not self.sessions.scenario.post_verify)
        return np.concatenate([choices, keeps, widths], axis=1)

    def step(self, indices: NDArray[np.integer]) -> Step:
        """Decide on every block; sessions that are done must be begun again.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        indices = np.asarray(indices)
        fits = indices.dtype.kind in "iu" and indices.shape[1:] == self._counts.shape
        if not fits or ((indices < 0) | (indices >= self._counts)).any():
            counts = tuple(map(int, self._counts))
            raise InvalidAction(f"an action must lie in MultiDiscrete{counts}, got {indices}")
        choice, keep = indices[:, 0], self._keep(indices[:, 1])
        going = (choice == GO_ON) & (self.block < self._most)
        self._go_on(np.flatnonzero(going), keep)
        rounds = np.zeros(len(going), ROUND)
        rows = np.flatnonzero(~going)
        if rows.size:
            gives_up = (choice == GIVE_UP) & (self.block > 0)
            width = self._widths[indices[:, 2]]
            rounds[rows] = self.sessions.play_some(rows, self._actions(rows, keep, width, gives_up))
            self._drop(rows)
        return self._step_of(rounds)

    def _keep(self, index: NDArray[np.integer]) -> Floats:
        """Levels in use, or chosen where a request is fresh and nothing is drafted."""
        chosen = self.sessions.fresh & (self.block == 0)
        return np.where(chosen, self._keeps[index], self.sessions.place.keep)

    def _go_on(self, rows: Ints, keep: Floats) -> None:
        first = rows[self.block[rows] == 0]
        self.sessions.prefill(first, keep[first])
        chances = self._source.within(self.sessions.place, self.block).chances[:, 0]
        self._standing[rows] *= chances[rows]
        self.block[rows] += 1

    def _actions(self, rows: Ints, keep: Floats, width: Ints, gives_up: Bools) -> Actions:
        gate = np.full(len(rows), self.sessions.scenario.gate_threshold)
        return Actions(keep[rows], self.block[rows], width[rows], gate, give_up=gives_up[rows])

    def _step_of(self, rounds: NDArray[np.void]) -> Step:
        result, now_s = result_of(rounds), self.sessions.now_s
        elapsed_s, self._clock_s = now_s - self._clock_s, now_s.copy()
        terms = self._weights.terms(result, elapsed_s, self.edge_only_s)
        rewards = total(terms, len(now_s))
        return Step(self.observe(), rewards, result.session_done, result, terms)
