"""What a round costs: seconds, bytes, price and energy. Pure arithmetic on arrays.

Everything depends on where the sessions stood before the round (:class:`Books`), on what it did
(:class:`~covspec_core.source.Move`) and on what came of it (:class:`~covspec_core.source.Outcome`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from covspec_core import timeline, wire
from covspec_core.rounds import Bools, Floats, Ints
from covspec_core.scenario import Scenario
from covspec_core.source import Move, Outcome, Place

STREAM_BYTES = wire.HEADER.size + wire.ID_BYTES
"""Message in which the edge streams one token."""


def tokens_of(move: Move, outcome: Outcome) -> dict[str, Any]:
    """Fields of a :class:`~covspec_core.rounds.RoundResult` that tell what became of its tokens."""
    return {
        "drafted": move.length,
        "accepted": outcome.accepted - outcome.unjudged,
        "rejected": outcome.rejected,
        "skipped": np.where(move.local, outcome.emitted, outcome.unjudged),
        "burst": np.where(move.alone, outcome.emitted, 0),
        "emitted": outcome.emitted,
        "deviations": outcome.deviations,
    }


class Course(NamedTuple):
    """How a round went, shape ``[B]`` each.

    Attributes:
        sent_s: The device has drafted its block.
        trip: Times of the last call; mean nothing where nothing was sent.
        window_s: From then to the first answer, time in which the device drafts ahead.
        received_s: The round ends.
        bytes_up: Encoded bytes sent.
        bytes_down: Encoded bytes received.
        radio_s: Time in which the radio sent or received.
    """

    sent_s: Floats
    trip: timeline.Trip
    window_s: Floats
    received_s: Floats
    bytes_up: Ints
    bytes_down: Ints
    radio_s: Floats


def _joined(head: Course, rest: Course, early: Bools, refused: Bools) -> Course:
    """Two calls of a round as one; a refusal of the first token ends it there."""
    trip = (np.where(refused, *times) for times in zip(head.trip, rest.trip, strict=True))
    up, down, radio = (
        np.where(refused, one, one * early + other)
        for one, other in zip(head[4:], rest[4:], strict=True)
    )
    return Course(
        sent_s=np.where(refused, np.minimum(head.received_s, rest.sent_s), rest.sent_s),
        trip=timeline.Trip(*trip),
        window_s=np.where(refused, 0.0, rest.window_s),
        received_s=np.where(refused, head.received_s, rest.received_s),
        bytes_up=up,
        bytes_down=down,
        radio_s=radio,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """Where ``B`` sessions stand before a round; shape ``[B]`` each.

    Attributes:
        scenario: Costs, protocol and limits.
        path: Links and speeds.
        place: Positions, keep levels, ready tokens.
        now_s: The device begins.
        edge_ready_s: The edge is free.
        streaming: The edge is decoding alone.
        unchecked: Tokens that it has not heard of.
        owed: A token stands behind its last verdict, which it knows only where it drew it itself.
        lag: Tokens that the draft has not read.
    """

    scenario: Scenario
    path: timeline.Path
    place: Place
    now_s: Floats
    edge_ready_s: Floats
    streaming: Bools
    unchecked: Ints
    owed: Bools
    lag: Ints

    def course(self, move: Move, outcome: Outcome) -> Course:
        """Times and bytes of a round."""
        if move.early:
            return self._early_course(move, outcome)
        return self._call(move, outcome, self._drafted_s(move.length), move.length + 1)

    def _early_course(self, move: Move, outcome: Outcome) -> Course:
        """A call for the first token, then one for the others of the block."""
        early, refused = move.length > 1, self._refused_early(move, outcome)
        one = move._replace(length=np.minimum(move.length, 1))
        head = self._call(
            one, replace(outcome, rejected=refused), self._drafted_s(one.length), one.length
        )
        later = replace(
            self,
            unchecked=np.where(early, 0, self.unchecked),
            owed=self.owed & ~early,
            edge_ready_s=np.where(early, head.trip.verified_s, self.edge_ready_s),
        )
        rest = later._call(
            move._replace(length=move.length - early),
            replace(outcome, rejected=outcome.rejected & ~refused),
            self._drafted_s(move.length),
            move.length + ~early,
        )
        return _joined(head, rest, early, refused)

    def _refused_early(self, move: Move, outcome: Outcome) -> Bools:
        return (move.length > 1) & outcome.rejected & (outcome.accepted == 0)

    def _drafted_s(self, length: Ints) -> Floats:
        return self.now_s + self.draft_s(length)

    def _call(
        self,
        move: Move,
        outcome: Outcome,
        sent: Floats,
        positions: Ints,
    ) -> Course:
        """One call and what it needs behind it; ``positions`` are read by the target."""
        up, down = self._bytes(move, outcome)
        trip = timeline.call(
            self.path,
            sent_s=sent,
            bytes_up=up,
            # Of a burst only the message of the last token is waited for.
            bytes_down=np.where(move.alone, STREAM_BYTES, down),
            edge_ready_s=self.edge_ready_s,
            work_s=self.edge_work_s(move, outcome, positions),
            streaming=self.streaming & move.alone,
        )
        # A branch that is drafted ahead lives until the first answer.
        first = np.where(move.local, sent, trip.received_s)
        trip, up, down = self._call_again(trip, up, down, outcome)
        received = np.where(move.local, sent, trip.received_s)
        radio = np.where(move.local, 0.0, trip.radio_s)
        return Course(sent, trip, first - sent, received, up, down, radio)

    def draft_s(self, length: Ints) -> Floats:
        """Draft steps; to look ahead the device has taken the first one before it was asked."""
        profile = self.scenario.profile
        least = np.where(self.place.awake, 1, 0)
        steps = np.maximum(np.maximum(length, least) - self.place.ready, 0)
        missed = np.where(steps > 0, self.lag, 0)
        seconds = profile.draft_s(self.place.keep) * steps + profile.catch_up_s * missed
        return seconds * self.path.device_factor

    def _bytes(self, move: Move, outcome: Outcome) -> tuple[Ints, Ints]:
        kind, vocab = self.scenario.protocol, self.scenario.profile.vocab_size
        silent = move.local | (move.alone & self.streaming)
        judged = move.judged if self.scenario.gate == "token" else None
        # A device that redraws repeats the token behind the last verdict.
        repeated = kind.device_redraws * self.owed
        size = wire.upload_bytes(kind, self.unchecked + repeated, move.length, vocab, judged)
        up = np.where(silent, 0, size)
        verdict = np.where(move.local, 0, wire.download_bytes(kind, outcome.rejected, vocab))
        return up, np.where(move.alone, STREAM_BYTES * outcome.emitted, verdict)

    def _call_again(
        self, trip: timeline.Trip, up: Ints, down: Ints, outcome: Outcome
    ) -> tuple[timeline.Trip, Ints, Ints]:
        """A call and its bytes, a second exchange included."""
        kind, vocab = self.scenario.protocol, self.scenario.profile.vocab_size
        again = wire.again(kind, outcome.rejected, outcome.tail)
        more_up, more_down = wire.again_bytes(kind, vocab)
        trip = timeline.call_again(self.path, trip, again, more_up, more_down)
        return trip, up + again * more_up, down + again * more_down

    def edge_work_s(self, move: Move, outcome: Outcome, positions: Ints) -> Floats:
        """Seconds of a pass over new positions, or of a burst, by the profile."""
        profile = self.scenario.profile
        alone = profile.edge_step_s * outcome.emitted.astype(float)
        return self._catch_up_s() + np.where(move.alone, alone, profile.verify_s(positions))

    def _catch_up_s(self) -> Floats:
        """The target reads what was committed without it."""
        return self.scenario.profile.edge_catch_up_s * self.unchecked.astype(np.float64)

    def steps_ahead(self, move: Move, width: Ints, window_s: Floats) -> Ints:
        """Draft steps taken ahead while a block is checked."""
        where = self.scenario.profile, self.path, self.place.keep
        most = self.scenario.draft_lengths[-1]
        if move.bonus:
            return timeline.branch_steps(*where, width, window_s, most)
        return np.where(width > 0, timeline.ahead_steps(*where, window_s, most), 0)

    def streamed_s(self, move: Move, outcome: Outcome) -> Floats:
        """Seconds between the first and the last token of a burst."""
        step = self.scenario.profile.edge_step_s * self.path.edge_factor
        return np.where(move.alone, step * (outcome.emitted - 1), 0.0)

    def charged(self, move: Move, outcome: Outcome) -> Ints:
        """Judged drafts and bonus tokens; a redrawn token is free (calibration, reading C)."""
        judged = move.judged
        if move.early:
            judged = np.where(self._refused_early(move, outcome), 1, judged)
        checked = judged + (outcome.emitted > outcome.accepted) * ~outcome.rejected
        return np.where(move.local, 0, np.where(move.alone, outcome.emitted, checked))

    def energy_j(self, course: Course, width: Ints, steps: Ints) -> Floats:
        """Energy of device and radio."""
        profile = self.scenario.profile
        step = profile.draft_s(self.place.keep) * self.path.device_factor
        ahead: Floats = step * (width > 0) * (1 + profile.branch_factor(width) * steps)
        busy_s: Floats = course.sent_s - self.now_s + ahead
        energy: Floats = profile.device_w * busy_s + profile.radio_w * course.radio_s
        return energy
