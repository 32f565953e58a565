"""Sessions in lockstep: the one place where a round is accounted.

A single engine is one session, a batched environment thousands; both run this code, on arrays
with a leading session axis.
"""

from __future__ import annotations

import numpy as np

from covspec_core import timeline
from covspec_core.accounting import STREAM_BYTES, Books, tokens_of
from covspec_core.constants import status_constants
from covspec_core.errors import InvalidAction, LinkTimeout, SessionOver
from covspec_core.links.table import LinkTable
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
        self.unchecked, self.lag, self.owed = ints.copy(), ints.copy(), floats > 0
        self._tracker = StatusTracker(size, status_constants(scenario))
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
            factor[rows] = low * (high / low) ** uniform(seeds, tag, scenario.hardware_draw)
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
        self.streaming[rows] = self.owed[rows] = self.place.awake[rows] = False
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
            early=self.scenario.pre_verify,
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
        gates = actions.gate_threshold
        if self.scenario.pre_verify and np.isfinite(gates).any():
            raise InvalidAction(f"gate_threshold must be inf with pre_verify, got {gates.min()}")

    def _check_deadline(self, seconds: Floats, rows: Ints) -> None:
        late = seconds > self.scenario.deadline_s
        if late.any():
            raise LinkTimeout(
                f"a round must end within deadline_s={self.scenario.deadline_s}, "
                f"the link of session {rows[late][0]} needs {seconds[late][0]:.1f} s"
            )

    def _books(self) -> Books:
        return Books(
            self.scenario, self.path, self.place, self.now_s, self.edge_ready_s, self.streaming,
            self.unchecked, self.owed, self.lag,
        )  # fmt: skip

    def _account(self, move: Move, width: Ints, outcome: Outcome) -> RoundResult:
        books = self._books()
        called, course = ~move.local, books.course(move, outcome)
        trip, received = course.trip, course.received_s
        self._check_deadline(received - self.now_s, np.arange(self.size))
        width = np.where(called & ~move.alone, width if move.bonus else 1, 0)
        steps = books.steps_ahead(move, width, course.window_s)
        hit = self.source.branch(self.place, outcome, move, width, steps)
        result = RoundResult(
            started_s=self.now_s.copy(),
            sent_s=course.sent_s,
            arrived_s=np.where(called, trip.arrived_s, course.sent_s),
            verify_s=np.where(called, trip.verify_s, course.sent_s),
            verified_s=np.where(called, trip.verified_s, course.sent_s),
            received_s=received,
            first_s=received - books.streamed_s(move, outcome),
            **tokens_of(move, outcome),
            hit=hit,
            branch_steps=steps,
            bytes_up=course.bytes_up,
            bytes_down=course.bytes_down,
            charged=books.charged(move, outcome),
            energy_j=books.energy_j(course, width, steps),
            request_done=outcome.done,
            session_done=outcome.done & (self.request + 1 >= self.scenario.requests),
        )
        self._advance(move, result, np.where(called, trip.verified_s, self.edge_ready_s))
        self._tracker.update(result, outcome.facts, self.path)
        self._status = None
        return result

    def _advance(self, move: Move, result: RoundResult, edge_s: Floats) -> None:
        self.now_s = result.received_s.copy()
        self.edge_ready_s = edge_s
        self.streaming, self.place.awake = move.alone, ~move.alone & ~result.request_done
        self.place.position += result.emitted
        self.place.ready = np.where(result.hit, result.branch_steps, 0)
        self.unchecked = np.where(move.local, self.unchecked + result.emitted, 0)
        followed = result.emitted > result.accepted + result.skipped
        self.owed = np.where(move.local, self.owed, followed)
        # Tokens that the edge wrote alone reach the draft's cache with its next step.
        self.lag = np.where(move.alone, self.lag + result.emitted, 0)
        done = np.flatnonzero(result.request_done)
        if done.size:
            self.request[done] += 1
            going = done[self.request[done] < self.scenario.requests]
            if going.size:
                self._begin_requests(going)
