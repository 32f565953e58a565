"""The token-level view of a session: after every drafted token go on, send, or give up.

A step that goes on drafts one token more and is charged nothing yet; one that sends or gives up
plays a round of the engine with the block in hand, whose seconds hold those of its drafts. So an
episode's rounds are the round-level engine's for the same blocks, exactly, and so are its rewards.

Behind a token that will be refused a draft really goes on along a text of its own, of which a
recording has no facts, while the true text's could tell of the refusal. So a replay shows a
detour's there (:data:`covspec_core.replay.ASTRAY`). Policies gained nothing when the true text's
facts were shown to them instead, nor when they had learned on them (docs/results_earlier.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction, InvalidSetting
from covspec_core.records import ROUND, result_of
from covspec_core.replay import ReplaySource
from covspec_core.rounds import CHANCES, Actions, Bools, Floats, Ints, Status
from covspec_core.scenario import PER_REQUEST
from covspec_core.sessions import Sessions
from covspec_core.source import Source
from env.actions import GIVE_UP, GO_ON
from env.codec import Codec
from env.play import Observations, Play, Step, World
from env.rewards import RewardWeights


class Blocks:
    """Blocks in hand of ``B`` sessions, drafted token by token, live or along a recording.

    A choice ``[P]`` indexes one among ``GO_ON``, ``SEND`` and ``GIVE_UP``, a keep level, which
    counts when it may change and no token is drafted, and a branch width, which counts when a
    block is sent. Without a block ``SEND`` is ``GIVE_UP``: the edge writes a burst alone. At the
    longest draft, and where the answer has no room for more, ``GO_ON`` is ``SEND``. So is
    ``GIVE_UP`` unless both sides add the same noise: who drops a block for what is said of a drawn
    token prefers other tokens, and the text no longer keeps the target's law.

    Within a block the next-token fields of an observation are those of the last drafted token:
    what the draft steps taken so far have told.

    Args:
        sessions: Whose rounds they are.
        codec: Layout of observations and choices, at token level.

    Attributes:
        length: Tokens drafted, shape ``[B]``.
    """

    def __init__(self, sessions: Sessions, codec: Codec) -> None:
        size = sessions.size
        self._sessions, self._codec = sessions, codec
        self.length, self._standing = np.zeros(size, np.int64), np.ones(size)
        self._margin, self._entropy = np.zeros(size), np.zeros(size)
        self._chances, self._follows = np.zeros((size, len(CHANCES))), np.zeros(size)
        self._keep, self._width = np.zeros(size), np.zeros(size, np.int64)
        self._gives_up = np.zeros(size, dtype=bool)

    def drop(self, rows: Ints) -> None:
        """Forget blocks that are played, or whose sessions begin anew."""
        self.length[rows], self._standing[rows] = 0, 1.0

    def observe(self, rows: Ints) -> Observations:
        """Observations of some sessions, ``[k, F]``."""
        status = Status(self._sessions.status().values[rows])
        reach = self._standing[rows] * self._look_within(status, rows)
        blocks = np.stack([self.length[rows], self._standing[rows], reach], axis=1)
        return self._codec.encode(status, blocks)

    def _look_within(self, status: Status, rows: Ints) -> Floats:
        """Show what the drafts in hand have told; the chance of one token more, ``[k]``."""
        inside, chances = self.length[rows] > 0, self._chances[rows]
        # At a block's start a status has what an awake device knows, and zeros otherwise.
        ahead = np.where(inside, self._follows[rows], status["chance_1"])
        status["next_margin"] = np.where(inside, self._margin[rows], status["next_margin"])
        status["next_entropy"] = np.where(inside, self._entropy[rows], status["next_entropy"])
        for n, chance in zip(CHANCES, chances.T, strict=True):
            status[f"chance_{n}"] = np.where(inside, chance, status[f"chance_{n}"])
        return ahead

    def _room(self, rows: Ints) -> Bools:
        """Whether a block may grow."""
        left = self._sessions.limit[rows] - self._sessions.place.position[rows]
        return self.length[rows] < np.minimum(self._sessions.scenario.draft_lengths[-1], left)

    def _keep_is_free(self, rows: Ints) -> Bools:
        """Whether a block that is not begun may choose its keep level."""
        return self._sessions.fresh[rows] | (self._codec.keep_control != PER_REQUEST)

    def _droppable(self, rows: Ints) -> Bools:
        """Whether giving up keeps the target's law."""
        return (self.length[rows] == 0) | self._sessions.scenario.protocol.shared_noise

    def masks(self, rows: Ints) -> Bools:
        """Choices that are not pointless, all parts in a row, ``[k, 3 + keeps + widths]``."""
        codec, drafting, room = self._codec, self.length[rows] > 0, self._room(rows)
        choices = np.stack([room, drafting, self._droppable(rows)], axis=1)
        free = self._keep_is_free(rows) & ~drafting
        same = np.isclose(self._sessions.place.keep[rows, None], codec.keep_levels)
        widths = np.ones((len(rows), len(codec.branch_widths)), dtype=bool)
        # Before a first token there is nothing that could be sent.
        widths[:, 1:] = drafting[:, None] & (not self._sessions.scenario.post_verify)
        return np.concatenate([choices, free[:, None] | same, widths], axis=1)

    def step(self, rows: Ints, indices: NDArray[np.integer]) -> Ints:
        """Decide on some blocks, with choices ``[k, P]``; the sessions whose blocks are done.

        Raises:
            InvalidAction: If an index lies outside its space, or choices do not come for all.
        """
        choice, keep, width = self._codec.values(indices)
        if len(choice) != len(rows):
            raise InvalidAction(f"actions must come for {len(rows)} sessions, got {len(choice)}")
        place, begins = self._sessions.place, self.length[rows] == 0
        self._keep[rows] = np.where(self._keep_is_free(rows) & begins, keep, place.keep[rows])
        self._width[rows] = width
        self._gives_up[rows] = (choice == GIVE_UP) & ~begins & self._droppable(rows)
        going = (choice == GO_ON) & self._room(rows)
        self._go_on(rows[going])
        return rows[~going]

    def _go_on(self, rows: Ints) -> None:
        sessions, first = self._sessions, rows[self.length[rows] == 0]
        if not rows.size:
            return
        sessions.prefill(first, self._keep[first])
        ahead, drawn = sessions.source.within(sessions.place, rows, self.length[rows])
        self._margin[rows], self._entropy[rows] = ahead.margin, ahead.entropy
        self._chances[rows] = ahead.chances
        self._standing[rows] *= drawn[:, 0]
        self._follows[rows] = drawn[:, 1]
        self.length[rows] += 1

    def actions(self, rows: Ints) -> Actions:
        """Controls of rounds that play the blocks of some sessions as was chosen last."""
        return Actions(
            keep=self._keep[rows],
            draft_length=self.length[rows],
            branch_width=self._width[rows],
            gate_threshold=np.full(len(rows), self._codec.gate_threshold),
            give_up=self._gives_up[rows],
        )


class TokenPlay(Play):
    """``B`` sessions as a token-level environment sees them; for actions see :class:`Blocks`.

    Args:
        world: Scenario, links and requests.
        source: Outcomes, of a recording.
        size: Number of sessions.
        weights: Weights of the reward's terms.

    Attributes:
        blocks: Drafted so far.

    Raises:
        InvalidSetting: If the source is no recording, or the scenario has choices of round level.
    """

    def __init__(
        self, world: World, source: Source | ReplaySource, size: int, weights: RewardWeights
    ) -> None:
        if not isinstance(source, ReplaySource):
            raise InvalidSetting(f"source must be a recording's, got {type(source).__name__}")
        super().__init__(world, source, size, weights)
        self.codec = self.codec.at("token")
        self.blocks, self._all = Blocks(self.sessions, self.codec), np.arange(size)

    def begin(self, rows: Ints) -> None:
        """Begin the next episode in some rows."""
        super().begin(rows)
        self.blocks.drop(rows)

    def observe(self) -> Observations:
        """Observations of all sessions, ``[B, F]``."""
        return self.blocks.observe(self._all)

    def observe_some(self, rows: Ints) -> Observations:
        """Observations of some sessions, ``[k, F]``."""
        return self.blocks.observe(rows)

    def masks(self) -> Bools:
        """Choices of all sessions that are not pointless; see :meth:`Blocks.masks`."""
        return self.blocks.masks(self._all)

    def step(self, indices: NDArray[np.integer]) -> Step:
        """Decide on every block; sessions that are done must be begun again.

        Raises: As :meth:`Play.step`.
        """
        rounds = np.zeros(len(self._all), ROUND)
        rows = self.blocks.step(self._all, indices)
        if rows.size:
            rounds[rows] = self.sessions.play_some(rows, self.blocks.actions(rows))
            self.blocks.drop(rows)
        return self._step_of(result_of(rounds))
