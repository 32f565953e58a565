"""Where the outcome of a round comes from: live models or a recording, behind one protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from covspec_core.rounds import Bools, Floats, Ints, Keys

Array = TypeVar("Array", bound=NDArray[Any])


class Column(Generic[Array]):
    """A column of an instance's ``records``, as a view; what is assigned is copied into it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Array:
        column: Array = instance.records[self._name]
        return column

    def __set__(self, instance: Any, values: Array) -> None:
        instance.records[self._name] = values


class Place:
    """Where each session stands, shape ``[B]``.

    Attributes:
        key: Noise key of the request in hand.
        position: Answer tokens committed so far.
        keep: Share of visual tokens the draft sees.
        ready: Tokens a hit branch left ready.
        awake: The device has drafted last, and looks ahead before it decides.

    Args:
        records: Sessions, see :data:`covspec_core.records.SESSION`.
    """

    key = Column[Keys]()
    position = Column[Ints]()
    keep = Column[Floats]()
    ready = Column[Ints]()
    awake = Column[Bools]()

    def __init__(self, records: NDArray[np.void]) -> None:
        self.records = records


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """What is known when requests begin, one row each.

    Attributes:
        image_bytes: Encoded image and question, shape ``[k]``.
        limit: Most answer tokens, shape ``[k]``.
        statistics: ``prompt_tokens, relevance_entropy, activity_mean, cover_rank``, ``[k, 4]``.
    """

    image_bytes: Ints
    limit: Ints
    statistics: Floats


STATISTICS = ("prompt_tokens", "relevance_entropy", "activity_mean", "cover_rank")


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the draft's laws show at judged positions, shape ``[B]``; see ``STATUS_FIELDS``."""

    margin: Floats
    margin_mean: Floats
    entropy: Floats
    entropy_mean: Floats

    @staticmethod
    def none() -> Facts:
        """Of one session without a judged position."""
        nothing = np.zeros(1)
        return Facts(nothing, nothing, nothing, nothing)


class Stops(NamedTuple):
    """What ends blocks before their length, shape ``[B]`` each; both off by default of an action.

    Attributes:
        entropy: A token drawn from a law of more entropy is a block's last, nats.
        chance: Least chance that a block and one token more all stand, as the acceptance head
            foresees it. A block ends behind a drawn token where it falls below, and before one is
            drawn where the draft step that would draw it tells so.
    """

    entropy: Floats
    chance: Floats


class Drafted(NamedTuple):
    """Blocks before they are sent, shape ``[B]`` each.

    Attributes:
        length: Tokens of the block; fewer than were asked for where a stop ended it.
        unsure: Those whose confidence lies below the gate's threshold.
        unsent: Draft steps beyond the block: 1 where the chance ended it before a token was drawn,
            since the step that told so was taken.
    """

    length: Ints
    unsure: Ints
    unsent: Ints


class Move(NamedTuple):
    """What a round does, shape ``[B]`` each: a block to check, one to commit, or a burst.

    Attributes:
        length: Tokens of the block.
        burst: Tokens that the edge decodes alone.
        local: The block is committed on the device, nothing is sent.
        judged: Tokens of the block that the target judges.
        sure: Confidence from which a token of a checked block stands unjudged.
        bonus: A block that stands brings the target's next token; otherwise the device has gone on
            behind it (PEARL's post-verify, arXiv 2408.11850).
        early: The first token of a longer block is judged while the device drafts the others
            (PEARL's pre-verify).
    """

    length: Ints
    burst: Ints
    local: Bools
    judged: Ints
    sure: Floats
    bonus: bool = True
    early: bool = False

    @property
    def alone(self) -> Bools:
        """The edge decodes without the device."""
        return self.burst > 0


class Ahead(NamedTuple):
    """What an awake device knows about the next tokens, zeros elsewhere.

    Attributes:
        margin: Of its law for the next token, shape ``[B]``.
        entropy: Likewise, nats.
        chances: That the next ``n`` drafted tokens all stand, for every ``n`` of ``CHANCES``,
            shape ``[B, len(CHANCES)]``.
    """

    margin: Floats
    entropy: Floats
    chances: Floats


class Within(NamedTuple):
    """What a device knows where it has drawn a token of a block.

    Attributes:
        ahead: Of the next tokens, before it was drawn.
        drawn: Of the token itself, as :data:`covspec_core.acceptance.DRAWN` names it, ``[k, 2]``.
    """

    ahead: Ahead
    drawn: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of the blocks, shape ``[B]`` each.

    Attributes:
        accepted: Drafted tokens of a checked block that stand (through the end of the answer at
            most).
        unjudged: Those of them that the gate let pass.
        rejected: A drafted token was refused.
        tail: It was drawn anew with the rest of the target's law, which the device had to ask for.
        emitted: Tokens committed.
        done: The answer is complete.
        deviations: Unchecked tokens that the target would not have written.
        facts: What the draft's laws showed.
    """

    accepted: Ints
    unjudged: Ints
    rejected: Bools
    tail: Bools
    emitted: Ints
    done: Bools
    deviations: Ints
    facts: Facts


class Source(Protocol):
    """Outcomes for ``B`` sessions in lockstep."""

    def begin(self, rows: Ints, keys: Keys) -> Requests:
        """The requests that the sessions ``rows`` take up under these noise keys."""

    def prefill(self, rows: Ints, keep: Floats) -> None:
        """The draft reads image and question with a share of the visual tokens.

        Raises:
            InvalidAction: If a share is not at hand.
        """

    def draft(self, place: Place, length: Ints, sure: Floats, stops: Stops) -> Drafted:
        """Draft blocks.

        Args:
            place: Where each session stands.
            length: Tokens to draft at most.
            sure: Confidence from which a token may pass unchecked; infinity if none may.
            stops: What ends them before that.
        """

    def finish(self, place: Place, move: Move) -> Outcome:
        """Judge the blocks, commit them unjudged, or decode bursts."""

    def branch(self, place: Place, outcome: Outcome, move: Move, width: Ints, steps: Ints) -> Bools:
        """Draft ahead while the blocks are judged; whether tokens are ready for the next ones."""

    def look(self, place: Place, awake: Bools) -> Ahead:
        """What the devices that are awake know about the next tokens.

        Args:
            place: Where each session stands.
            awake: Whether the device has read all tokens, shape ``[B]``.
        """

    def within(self, place: Place, rows: Ints, ahead: Ints) -> Within:
        """What the devices of some sessions know once they have drawn the token so far ahead.

        Args:
            place: Where each session stands.
            rows: Which sessions, shape ``[k]``.
            ahead: Drafted tokens before it, shape ``[k]``; all of them were asked for before.
        """

    def peek(self, keys: Keys) -> tuple[Ints, Ints] | None:
        """Image bytes and answer lengths of requests under these keys, if known beforehand."""


def as_float16(values: Floats) -> Floats:
    """Round facts as a recording stores them, so that live and replayed statuses agree."""
    return values.astype(np.float16).astype(np.float64)
