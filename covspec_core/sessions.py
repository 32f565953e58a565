"""Sessions in lockstep: the one place where a round is accounted.

A single engine is one session, a batched environment thousands; both run this code, on arrays
with a leading session axis.
"""

from __future__ import annotations

import numpy as np

from covspec_core import timeline, wire
from covspec_core.errors import InvalidAction, LinkTimeout, SessionOver
from covspec_core.link import LinkTable
from covspec_core.randomness import mix, uniform
from covspec_core.rounds import (
    CHANCES,
    GATE_OFF,
    Actions,
    Bools,
    Floats,
    Ints,
    Keys,
    RoundResult,
    Status,
)
from covspec_core.scenario import Scenario
from covspec_core.source import STATISTICS, Move, Outcome, Place, Source
from covspec_core.status import StatusTracker

_ROW, _OFFSET, _DEVICE, _EDGE, _REQUEST = range(5)
STREAM_BYTES = wire.HEADER.size + wire.ID_BYTES
"""Message in which the edge streams one token."""


class Sessions:
    """``B`` sessions: a clock, a link and a place in a request each.

    Args:
        scenario: What is emulated.
        links: Realisations of the scenario's link.
        source: Outcomes of rounds.
        size: Number of sessions.
    """

    def __init__(self, scenario: Scenario, links: LinkTable, source: Source, size: int) -> None:
        self.scenario, self.source, self.size = scenario, source, size
        ints, floats = np.zeros(size, dtype=np.int64), np.zeros(size)
        self.path = timeline.Path(links, ints.copy(), floats.copy(), floats + 1, floats + 1)
        self.place = Place(
            np.zeros(size, np.uint64), ints.copy(), floats.copy(), ints.copy(), floats > 0
        )
        self.seed = np.zeros(size, dtype=np.uint64)
        self.request = np.full(size, scenario.requests)
        self.limit = ints.copy()
        self.statistics = np.zeros((size, len(STATISTICS)))
        self.now_s, self.request_s, self.edge_ready_s = floats.copy(), floats.copy(), floats.copy()
        self.streaming = np.zeros(size, dtype=bool)
        self.unchecked, self.lag = ints.copy(), ints.copy()
        self._tracker = StatusTracker(size)
        self._status: Status | None = None

    def begin(self, rows: Ints, seeds: Keys) -> None:
        """Start new sessions in some rows, each wholly decided by its seed."""
        scenario, table = self.scenario, self.path.table
        self.seed[rows] = seeds
        self.path.row[rows] = mix(seeds, _ROW) % np.uint64(len(table.up_bps))
        self.path.offset_s[rows] = uniform(seeds, _OFFSET) * table.period_s
        for factor, (low, high), tag in (
            (self.path.device_factor, scenario.device_factor, _DEVICE),
            (self.path.edge_factor, scenario.edge_factor, _EDGE),
        ):
            factor[rows] = low * (high / low) ** uniform(seeds, tag)
        self.now_s[rows] = self.place.keep[rows] = 0.0
        self.request[rows] = 0
        self._tracker.begin(rows, self.path)
        self._begin_requests(rows)
        self._status = None

    def _begin_requests(self, rows: Ints) -> None:
        keys = mix(self.seed[rows], _REQUEST + self.request[rows])
        requests = self.source.begin(rows, keys)
        start = timeline.request_start(
            self.scenario.profile, self.path.rows(rows), self.now_s[rows], requests.image_bytes
        )
        self._check_deadline(start.edge_s - self.now_s[rows], rows)
        self.limit[rows] = requests.limit
        self.statistics[rows] = requests.statistics
        self.request_s[rows] = self.now_s[rows]
        self.now_s[rows], self.edge_ready_s[rows] = start
        self.streaming[rows] = self.place.awake[rows] = False
        self.place.key[rows] = keys
        for values in (self.place.position, self.place.ready, self.unchecked, self.lag):
            values[rows] = 0

    @property
    def fresh(self) -> Bools:
        """Sessions whose next round is the first of a request."""
        return self.place.position == 0

    def status(self) -> Status:
        """What a controller may see now; asking twice gives the same answer."""
        if self._status is None:
            self._status = self._read_status()
        return self._status

    def _read_status(self) -> Status:
        status = self._tracker.read(self.path, self.now_s)
        ahead = self.source.look(self.place)
        for n, chance in zip(CHANCES, ahead.chances.T, strict=True):
            status[f"chance_{n}"] = chance
        for name, values in (
            ("awake", self.place.awake),
            ("next_margin", ahead.margin),
            ("next_entropy", ahead.entropy),
            ("ready", self.place.ready),
            ("skipped_run", self.unchecked),
            ("tokens", self.place.position),
            ("fresh", self.fresh),
            ("keep", self.place.keep),
            ("streaming", self.streaming),
        ):
            status[name] = values
        for name, values in zip(STATISTICS, self.statistics.T, strict=True):
            status[name] = values
        return status

    def edge_only_s(self, rows: Ints) -> Floats:
        """Seconds in which the edge alone would answer the sessions just begun, shape ``[k]``.

        NaN where the source does not know its answers beforehand.
        """
        known = [
            self.source.peek(mix(self.seed[rows], _REQUEST + r))
            for r in range(self.scenario.requests)
        ]
        sizes = [size for size in known if size is not None]
        if len(sizes) < len(known):
            return np.full(len(rows), np.nan)
        images, tokens = (np.stack(columns, 1) for columns in zip(*sizes, strict=True))
        path, profile = self.path.rows(rows), self.scenario.profile
        return timeline.edge_only_s(profile, path, images, tokens, STREAM_BYTES)

    def play(self, actions: Actions) -> RoundResult:
        """Play one round in every session.

        Raises:
            InvalidAction: If a choice lies outside the scenario.
            SessionOver: If a session has no request left.
            LinkTimeout: If a round outlasts the scenario's deadline.
        """
        self._check(actions)
        fresh = np.flatnonzero(self.fresh)
        if fresh.size:
            self.source.prefill(fresh, actions.keep[fresh])
            self.place.keep[fresh] = actions.keep[fresh]
        move = self._move(actions)
        outcome = self.source.finish(self.place, move)
        return self._account(move, actions.branch_width, outcome)

    def _move(self, actions: Actions) -> Move:
        left = self.limit - self.place.position
        asked, gate = np.minimum(actions.draft_length, left), actions.gate_threshold
        drafted = self.source.draft(self.place, asked, gate, actions.entropy_stop)
        length, alone = drafted.length, asked == 0
        fits = self.unchecked + length <= self.scenario.max_skipped
        by_token = self.scenario.gate == "token"
        return Move(
            length=length,
            burst=np.where(alone, np.minimum(self.scenario.edge_burst, left), 0),
            local=~alone & fits & (drafted.unsure == 0),
            judged=drafted.unsure if by_token else length,
            sure=gate if by_token else np.full(self.size, GATE_OFF),
            bonus=not self.scenario.post_verify,
        )

    def _check(self, actions: Actions) -> None:
        if len(actions) != self.size:
            raise InvalidAction(f"actions must come for {self.size} sessions, got {len(actions)}")
        if (self.request >= self.scenario.requests).any():
            raise SessionOver("a session is over after its last request; begin a new one")
        for name, values, most in (
            ("draft_length", actions.draft_length, self.scenario.draft_lengths[-1]),
            ("branch_width", actions.branch_width, self.scenario.branch_widths[-1]),
        ):
            if values.max() > most:
                raise InvalidAction(f"{name} must be at most {most}, got {values.max()}")

    def _check_deadline(self, seconds: Floats, rows: Ints) -> None:
        late = seconds > self.scenario.deadline_s
        if late.any():
            raise LinkTimeout(
                f"a round must end within deadline_s={self.scenario.deadline_s}, "
                f"the link of session {rows[late][0]} needs {seconds[late][0]:.1f} s"
            )

    def _account(self, move: Move, width: Ints, outcome: Outcome) -> RoundResult:
        called = ~move.local
        sent = self.now_s + self._draft_s(move)
        up, down = self._bytes(move, outcome)
        trip = timeline.call(
            self.path,
            sent_s=sent,
            bytes_up=up,
            # Of a burst only the message of the last token is waited for.
            bytes_down=np.where(move.alone, STREAM_BYTES, down),
            edge_ready_s=self.edge_ready_s,
            work_s=self._edge_work_s(move, outcome),
            streaming=self.streaming & move.alone,
        )
        # A branch that is drafted ahead lives until the first answer.
        window_s = np.where(called, trip.received_s, sent) - sent
        trip, up, down = self._call_again(trip, up, down, outcome)
        received = np.where(called, trip.received_s, sent)
        self._check_deadline(received - self.now_s, np.arange(self.size))
        width = np.where(called & ~move.alone, width if move.bonus else 1, 0)
        steps = self._ahead(move, width, window_s)
        hit = self.source.branch(self.place, outcome, move, width, steps)
        result = RoundResult(
            started_s=self.now_s.copy(),
            sent_s=sent,
            arrived_s=np.where(called, trip.arrived_s, sent),
            verify_s=np.where(called, trip.verify_s, sent),
            verified_s=np.where(called, trip.verified_s, sent),
            received_s=received,
            first_s=received - self._streamed_s(move, outcome),
            drafted=move.length,
            accepted=outcome.accepted - outcome.unjudged,
            rejected=outcome.rejected,
            skipped=np.where(move.local, outcome.emitted, outcome.unjudged),
            burst=np.where(move.alone, outcome.emitted, 0),
            emitted=outcome.emitted,
            deviations=outcome.deviations,
            hit=hit,
            branch_steps=steps,
            bytes_up=up,
            bytes_down=down,
            charged=self._charged(move, outcome),
            energy_j=self._energy_j(sent, width, steps, np.where(called, trip.radio_s, 0.0)),
            request_done=outcome.done,
            session_done=outcome.done & (self.request + 1 >= self.scenario.requests),
        )
        self._advance(move, result, np.where(called, trip.verified_s, self.edge_ready_s))
        self._tracker.update(result, outcome.facts, self.path)
        self._status = None
        return result

    def _ahead(self, move: Move, width: Ints, window_s: Floats) -> Ints:
        """Draft steps taken ahead while a block is checked."""
        where = self.scenario.profile, self.path, self.place.keep
        most = self.scenario.draft_lengths[-1]
        if move.bonus:
            return timeline.branch_steps(*where, width, window_s, most)
        return np.where(width > 0, timeline.ahead_steps(*where, window_s, most), 0)

    def _draft_s(self, move: Move) -> Floats:
        """Draft steps; to look ahead the device has taken the first one before it was asked."""
        profile = self.scenario.profile
        least = np.where(self.place.awake, 1, 0)
        steps = np.maximum(np.maximum(move.length, least) - self.place.ready, 0)
        missed = np.where(steps > 0, self.lag, 0)
        seconds = profile.draft_s(self.place.keep) * steps + profile.catch_up_s * missed
        return seconds * self.path.device_factor

    def _bytes(self, move: Move, outcome: Outcome) -> tuple[Ints, Ints]:
        kind, vocab = self.scenario.protocol, self.scenario.profile.vocab_size
        silent = move.local | (move.alone & self.streaming)
        judged = move.judged if self.scenario.gate == "token" else None
        # A device that redraws repeats the token behind the last verdict.
        repeated = kind.device_redraws * (self.place.position > self.unchecked)
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

    def _edge_work_s(self, move: Move, outcome: Outcome) -> Floats:
        profile = self.scenario.profile
        unchecked, emitted = self.unchecked.astype(float), outcome.emitted.astype(float)
        catch_up = profile.edge_catch_up_s * unchecked
        alone = profile.edge_step_s * emitted
        check: Floats = profile.verify_s(move.length + 1)
        return catch_up + np.where(move.alone, alone, check)

    def _streamed_s(self, move: Move, outcome: Outcome) -> Floats:
        """Seconds between the first and the last token of a burst."""
        step = self.scenario.profile.edge_step_s * self.path.edge_factor
        return np.where(move.alone, step * (outcome.emitted - 1), 0.0)

    def _charged(self, move: Move, outcome: Outcome) -> Ints:
        """Judged drafts and bonus tokens; a redrawn token is free (calibration, reading C)."""
        checked = move.judged + (outcome.emitted > outcome.accepted) * ~outcome.rejected
        return np.where(move.local, 0, np.where(move.alone, outcome.emitted, checked))

    def _energy_j(self, sent: Floats, width: Ints, steps: Ints, radio_s: Floats) -> Floats:
        profile = self.scenario.profile
        step = profile.draft_s(self.place.keep) * self.path.device_factor
        ahead: Floats = step * (width > 0) * (1 + profile.branch_factor(width) * steps)
        busy_s: Floats = sent - self.now_s + ahead
        energy: Floats = profile.device_w * busy_s + profile.radio_w * radio_s
        return energy

    def _advance(self, move: Move, result: RoundResult, edge_s: Floats) -> None:
        self.now_s = result.received_s.copy()
        self.edge_ready_s = edge_s
        self.streaming, self.place.awake = move.alone, ~move.alone & ~result.request_done
        self.place.position += result.emitted
        self.place.ready = np.where(result.hit, result.branch_steps, 0)
        self.unchecked = np.where(move.local, self.unchecked + result.emitted, 0)
        # Tokens that the edge wrote alone reach the draft's cache with its next step.
        self.lag = np.where(move.alone, self.lag + result.emitted, 0)
        done = np.flatnonzero(result.request_done)
        if done.size:
            self.request[done] += 1
            going = done[self.request[done] < self.scenario.requests]
            if going.size:
                self._begin_requests(going)
