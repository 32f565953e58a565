"""Sessions in lockstep: the one place where a round is played.

A single engine is one session, a batched environment thousands; both run the same compiled
arithmetic (:mod:`covspec_core.kernels`) on records with a leading session axis.
"""

from __future__ import annotations

import numpy as np

from covspec_core import timeline
from covspec_core.errors import InvalidAction, LinkTimeout, SessionOver
from covspec_core.kernels import kernel
from covspec_core.links.table import LinkTable
from covspec_core.records import (
    ROUND,
    SESSION,
    Records,
    costs_of,
    move_of,
    result_of,
    status_rows,
    take_drafted,
    take_outcome,
)
from covspec_core.replay import Late, ReplaySource
from covspec_core.rounds import (
    CHANCES,
    STATUS_FIELDS,
    Actions,
    Bools,
    Floats,
    Ints,
    Keys,
    RoundResult,
    Status,
)
from covspec_core.scenario import PER_ROUND, Scenario
from covspec_core.source import STATISTICS, Column, Move, Outcome, Place, Source, Stops


class Sessions:
    """``B`` sessions: a clock, a link and a place in a request each.

    Args:
        scenario: What is emulated.
        links: Realisations of the scenario's link.
        source: Outcomes of rounds.
        size: Number of sessions.

    Attributes:
        seed: Decides the session.
        request: Requests answered so far, shape ``[B]`` like all columns.
        limit: Most answer tokens.
        now_s: The device begins its next round.
        request_s: The request in hand was asked for.
        device_ready_s: The device has read the request in hand; it can draft from then on.
        edge_ready_s: The edge is free.
        streaming: The edge is decoding alone.
        unchecked: Tokens that it has not heard of.
        owed: A token stands behind its last verdict, which it knows only where it drew it itself.
        lag: Tokens that the draft has not read.
        place: Positions, keep levels, ready tokens.
        path: Links and speeds.
    """

    seed = Column[Keys]()
    request = Column[Ints]()
    limit = Column[Ints]()
    now_s = Column[Floats]()
    request_s = Column[Floats]()
    device_ready_s = Column[Floats]()
    edge_ready_s = Column[Floats]()
    streaming = Column[Bools]()
    unchecked = Column[Ints]()
    owed = Column[Bools]()
    lag = Column[Ints]()

    def __init__(
        self, scenario: Scenario, links: LinkTable, source: Source | ReplaySource, size: int
    ) -> None:
        self.scenario, self.source, self.size = scenario, source, size
        self.records = np.zeros(size, SESSION)
        self.place, self.path = Place(self.records), timeline.Path(links, self.records)
        self.request = np.full(size, scenario.requests)
        self._costs, self._table = costs_of(scenario, links), links.columns
        self._factors = np.array([scenario.device_factor, scenario.edge_factor], dtype=np.float64)
        self._all = np.arange(size)
        self._status: Status | None = None

    def begin(self, rows: Ints, seeds: Keys) -> None:
        """Start new sessions in some rows, each wholly decided by its seed."""
        self.seed[rows] = seeds
        self._draw(rows)
        kernel().start_sessions(self.records, rows, self._costs, self._table)
        self._begin_requests(rows)
        self._status = None

    def _draw(self, rows: Ints) -> None:
        table = self.path.table
        links = table.n, table.slots, float(table.slot_s)
        draw = np.uint64(self.scenario.hardware_draw)
        kernel().draw_sessions(self.records, rows, self._factors, draw, links)

    def _begin_requests(self, rows: Ints) -> None:
        keys = self.request_keys(rows, self.request[rows])
        requests = self.source.begin(rows, keys)
        self.records["key"][rows], self.limit[rows] = keys, requests.limit
        for name, values in zip(STATISTICS, requests.statistics.T, strict=True):
            self.records[name][rows] = values
        late = kernel().begin_requests(
            self.records, rows, requests.image_bytes, self._costs, self._table
        )
        self._check_deadline("upload and reading of a request", rows, late)

    def request_keys(self, rows: Ints, numbers: Ints) -> Keys:
        """Noise keys of requests of some sessions, by their numbers, shape ``[k]``."""
        keys = np.empty(len(rows), dtype=np.uint64)
        kernel().request_keys(self.seed[rows], numbers, keys)
        return keys

    def all_request_keys(self, rows: Ints) -> Keys:
        """Noise keys of all requests of some sessions, shape ``[k, requests]``."""
        every = np.arange(self.scenario.requests)
        pairs = np.repeat(rows, len(every)), np.tile(every, len(rows))
        return self.request_keys(*pairs).reshape(len(rows), -1)

    @property
    def fresh(self) -> Bools:
        """Sessions whose next round is the first of a request."""
        return self.place.position == 0

    def status(self) -> Status:
        """What a controller may see now; asking twice gives the same answer."""
        if self._status is None:
            self._status = self.status_of(self._all)
        return self._status

    def status_of(self, rows: Ints) -> Status:
        """What a controller of some sessions may see now."""
        if isinstance(self.source, ReplaySource):
            return Status(self.source.read(self.records, rows, self._costs, self._table))
        status = Status(np.zeros((len(rows), len(STATUS_FIELDS))))
        kernel().statuses(self.records, rows, self._costs, self._table, status_rows(status.values))
        ahead = self.source.look(self.place, status["awake"] > 0)
        for n, chance in zip(CHANCES, ahead.chances[rows].T, strict=True):
            status[f"chance_{n}"] = chance
        status["next_margin"], status["next_entropy"] = ahead.margin[rows], ahead.entropy[rows]
        return status

    def edge_only_s(self, rows: Ints) -> Floats:
        """Seconds in which the edge alone would answer the sessions just begun, shape ``[k]``.

        NaN where the source does not know its answers beforehand.
        """
        keys = self.all_request_keys(rows)
        known = self.source.peek(keys.ravel())
        if known is None:
            return np.full(len(rows), np.nan)
        images, tokens = (column.reshape(keys.shape) for column in known)
        return timeline.edge_only_s(self._costs, self.path.rows(rows), images, tokens)

    def play(self, actions: Actions) -> RoundResult:
        """Play one round in every session.

        Raises:
            InvalidAction: If a choice lies outside the scenario.
            SessionOver: If a session has no request left.
            LinkTimeout: If a round outlasts the scenario's deadline.
        """
        rounds = self._asked(self.records, actions)
        self.prefill(self._all, actions.keep)
        if isinstance(self.source, ReplaySource):
            self._replay(self.source, self._all, self.records, rounds)
        else:
            self._play_live(self.source, rounds)
        self._go_on(self._all, rounds)
        return result_of(rounds)

    def play_some(self, rows: Ints, actions: Actions) -> Records:
        """Play one round of a recording in some sessions only; the others stand still.

        Args:
            rows: Which, shape ``[k]``.
            actions: Theirs.

        Returns:
            Rounds of ``k`` sessions, see :data:`covspec_core.records.ROUND`.

        Raises:
            InvalidAction: If a choice lies outside the scenario.
            SessionOver: If a session has no request left.
            LinkTimeout: If a round outlasts the scenario's deadline.
        """
        assert isinstance(self.source, ReplaySource)
        rounds = self._asked(self.records[rows], actions)
        self.prefill(rows, actions.keep)
        records = self.records[rows]
        self._replay(self.source, rows, records, rounds)
        self.records[rows] = records
        self._go_on(rows, rounds)
        return rounds

    def prefill(self, rows: Ints, keep: Floats) -> None:
        """Fresh requests are read with the shares asked for; all, where keep may change."""
        reads = fresh = self.fresh[rows]
        if self.scenario.keep_control == PER_ROUND:
            reads = fresh | (keep != self.place.keep[rows])
        chosen = reads.nonzero()[0]
        if chosen.size:
            self.source.prefill(rows[chosen], keep[chosen])
            kernel().read_again(self.records, rows[reads & ~fresh], self._costs)
            self.place.keep[rows[chosen]] = keep[chosen]
            self._status = None

    def _replay(self, source: ReplaySource, rows: Ints, records: Records, rounds: Records) -> None:
        texts = source.texts if rows is self._all else source.texts[rows]
        where = records, rounds, texts, self._costs, self._table
        self._check_deadline("a round", rows, source.courses(*where))
        source.settle(*where, self.scenario.requests)

    def _play_live(self, source: Source, rounds: Records) -> None:
        """Stages of a round around what a source of live outcomes does."""
        move = self._move(source, rounds)
        outcome = source.finish(self.place, move)
        take_outcome(rounds, outcome)
        self._settle(source, rounds, move, outcome)

    def _move(self, source: Source, rounds: Records) -> Move:
        stops = Stops(rounds["entropy_stop"], rounds["chance_stop"])
        length = np.where(rounds["give_up"], 0, rounds["asked"])
        drafted = source.draft(self.place, length, rounds["sure"], stops)
        take_drafted(rounds, drafted)
        kernel().moves(self.records, rounds, self._costs)
        return move_of(rounds, not self.scenario.post_verify, self.scenario.pre_verify)

    def _asked(self, records: Records, actions: Actions) -> Records:
        """New rounds that hold what is asked for.

        Raises:
            InvalidAction: If a choice lies outside the scenario.
            SessionOver: If a session has no request left.
        """
        size = len(records)
        if len(actions) != size:
            raise InvalidAction(f"actions must come for {size} sessions, got {len(actions)}")
        rounds = np.empty(size, ROUND)
        rounds["asked"], rounds["width"] = actions.draft_length, actions.branch_width
        rounds["sure"], rounds["give_up"] = actions.gate_threshold, actions.give_up
        rounds["entropy_stop"], rounds["chance_stop"] = actions.entropy_stop, actions.chance_stop
        fits = kernel().ask(records, rounds, self._costs, self.scenario.requests)
        if self.scenario.pre_verify or not fits:
            self._check(records, actions)
        return rounds

    def _check(self, records: Records, actions: Actions) -> None:
        if (records["request"] >= self.scenario.requests).any():
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

    def _check_deadline(self, what: str, rows: Ints, late: Late) -> None:
        place, seconds = late
        if place >= 0:
            raise LinkTimeout(
                f"{what} must end within deadline_s={self.scenario.deadline_s}, "
                f"the link of session {rows[place]} needs {seconds:.1f} s"
            )

    def _settle(self, source: Source, rounds: Records, move: Move, outcome: Outcome) -> None:
        """Account for judged rounds, and go on behind them."""
        late = kernel().courses(self.records, rounds, self._costs, self._table)
        self._check_deadline("a round", self._all, late)
        ahead = rounds["width"], rounds["branch_steps"]
        rounds["hit"] = source.branch(self.place, outcome, move, *ahead)
        kernel().settles(self.records, rounds, self._costs, self._table, self.scenario.requests)

    def _go_on(self, rows: Ints, rounds: Records) -> None:
        """Sessions whose request is answered take up the next one."""
        self._status = None
        done = rows[rounds["request_done"]]
        if done.size:
            going = done[self.request[done] < self.scenario.requests]
            if going.size:
                self._begin_requests(going)
