"""The wall clock: both models on one machine, as ordinary speculative decoding, in real seconds.

Blocks are drafted, judged, gated and committed by the code of the virtual clock; only the account
of time differs. There is no link to wait for, so no branch is drafted ahead, which would take the
seconds that it should save. Seconds are read when the models' outputs are in memory, after an
accelerator has finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covspec_core.engine import Controller, realise_links
from covspec_core.errors import Interrupted, InvalidAction, InvalidRequest
from covspec_core.exchange import Exchange, Message
from covspec_core.kernels import kernel
from covspec_core.links.channels import ConstantLink
from covspec_core.live import LiveSource
from covspec_core.records import Records
from covspec_core.request import Pair, Request
from covspec_core.rounds import Actions, Floats, RoundAction, RoundResult, Status
from covspec_core.scenario import Scenario
from covspec_core.sessions import Sessions
from covspec_core.source import STATISTICS, Facts, Move, Outcome, Source
from covspec_core.status import NEW_SHARE
from covspec_core.verification import WHOLE, Truncation

LOCAL: Final = ConstantLink(up_bps=1e12, down_bps=1e12, rtt_s=(0.0, 0.0))
"""What a status reports for the way within a machine, 1 Tbit/s; no time is charged for it."""


_ONE, _SEED = np.array([0]), np.zeros(1, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class WallAnswer:
    """What one request took.

    Attributes:
        answer: Text.
        ids: Its tokens.
        rounds: Rounds played.
        accepted: Drafted tokens that stood after a check.
        seconds: Real seconds from the question to the last token, both encoders included.
        ttft_s: Real seconds to the end of the first round.
    """

    answer: str
    ids: tuple[int, ...]
    rounds: int
    accepted: int
    seconds: float
    ttft_s: float

    @property
    def tokens_per_s(self) -> float:
        """Answer tokens a second."""
        return len(self.ids) / self.seconds


class LocalExchange(Exchange):
    """Hands ids over as they are; laws become what the protocol's format makes of them."""

    def _travel(self, message: Message, size: int) -> Message:
        return message if self._terms.kind.shared_noise else super()._travel(message, size)


class LocalSource(LiveSource):
    """Live models in one process, where nothing is computed that only measures.

    Args:
        pair: The models.
        scenario: Protocol and reading of the gate.
        temperature: Of both laws; 0 is greedy.
        limit: Most answer tokens.
        truncation: Which tokens may be drawn.
        watched: A controller reads statuses; without one their signals are not computed.
    """

    request: Request

    def __init__(
        self,
        pair: Pair,
        scenario: Scenario,
        temperature: float,
        limit: int,
        truncation: Truncation,
        watched: bool,
    ) -> None:
        super().__init__(
            pair, scenario.protocol, temperature, limit, lambda key: self.request, scenario.gate,
            truncation,
        )  # fmt: skip
        self.watched = watched
        self._exchange = LocalExchange(self.device, self.edge, self._terms)

    def _statistics(self) -> Floats:
        return super()._statistics() if self.watched else np.zeros(len(STATISTICS))

    def _facts(self, judged: int) -> Facts:
        return super()._facts(judged) if self.watched else Facts.none()

    def _audit(self, count: int) -> NDArray[np.bool_]:
        return np.zeros(
            count, dtype=bool
        )  # a pass of the target that would not be part of decoding


class WallSessions(Sessions):
    """One session whose times are read from a clock.

    Args:
        scenario: Protocol, gate and choices; its costs are only what measured speeds are told in.
        source: Outcomes.
        clock: Seconds from any start.
    """

    def __init__(self, scenario: Scenario, source: LocalSource, clock: Callable[[], float]) -> None:
        super().__init__(scenario, realise_links(scenario, 0), source, 1)
        self._clock, self._watched = clock, source.watched
        self._looked_s = np.zeros(1)

    def start(self) -> None:
        """Take up the source's request; times count from here."""
        self._start_s = self._clock()
        if self._watched:
            self.begin(_ONE, _SEED)
        else:
            self._begin_unwatched()
        self.now_s = self.device_ready_s = self.edge_ready_s = self._seconds()

    def _begin_unwatched(self) -> None:
        """Begin without a link's state and a status, which nobody would read."""
        self.limit[:] = self.source.begin(_ONE, _SEED).limit
        for values in (
            self.request, self.place.position, self.place.keep, self.place.ready,
            self.place.awake, self.streaming, self.unchecked, self.owed, self.lag,
        ):  # fmt: skip
            values[:] = 0

    def _asked(self, records: Records, actions: Actions) -> Records:
        if actions.give_up.any():
            raise InvalidAction("give_up must be false on the wall clock, got True")
        return super()._asked(records, actions)

    def _seconds(self) -> Floats:
        return np.array([self._clock() - self._start_s])

    def status(self) -> Status:
        """What a controller may see; looking ahead takes a block's first draft step."""
        began_s = self._seconds()
        status = super().status()
        self._looked_s += self._seconds() - began_s
        return status

    def _move(self, source: Source, rounds: Records) -> Move:
        assert isinstance(source, LocalSource)
        if rounds["asked"][0] > 0:
            source.read_prompt()  # no draft step
        self._began_s, self._looked_s = self._seconds() - self._looked_s, np.zeros(1)
        move = super()._move(source, rounds)
        self._drafted_s = self._seconds()
        return move

    def _settle(self, source: Source, rounds: Records, move: Move, outcome: Outcome) -> None:
        received, told = self._seconds(), rounds.copy()
        kernel().courses(self.records, told, self._costs, self._table)
        rounds["started_s"] = self.now_s
        for name in ("sent_s", "arrived_s", "verify_s"):
            rounds[name] = self._drafted_s
        for name in ("verified_s", "received_s", "first_s"):
            rounds[name] = received
        for name in ("hit", "branch_steps", "bytes_up", "bytes_down", "charged"):
            rounds[name] = 0
        rounds["energy_j"] = np.nan
        if self._watched:
            self._learn_speeds(told, received)
        kernel().measured(self.records, rounds, self._costs, self._table, 1, self._watched)

    def _learn_speeds(self, told: Records, received: Floats) -> None:
        """Running means of measured seconds over those of the profile."""
        for factor, measured_s, told_s in (
            (
                self.path.device_factor,
                self._drafted_s - self._began_s,
                told["sent_s"] - told["started_s"],
            ),
            (
                self.path.edge_factor,
                received - self._drafted_s,
                told["verified_s"] - told["verify_s"],
            ),
        ):
            # The account knows the factors so far.
            if told_s[0] > 0:
                factor += NEW_SHARE * factor * (measured_s / told_s - 1)


class WallEngine:
    """Answers requests on this machine in real seconds.

    Args:
        scenario: Protocol, gate and choices; its link and its number of requests are ignored.
        pair: Draft and target.
        controller: Sets the controls of every round; one action for all rounds costs no status.
        temperature: Of both laws; 0 is greedy.
        limit: Most answer tokens.
        truncation: Which tokens may be drawn.
        clock: Seconds from any start.

    Raises:
        InvalidRequest: If no token is allowed.
    """

    def __init__(
        self,
        scenario: Scenario,
        pair: Pair,
        controller: Controller | RoundAction,
        temperature: float,
        limit: int,
        truncation: Truncation = WHOLE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if limit < 1:
            raise InvalidRequest(f"an answer must be allowed at least 1 token, got {limit}")
        scenario = replace(
            scenario, link=LOCAL, link_rows=1, requests=1, device_factor=(1.0, 1.0),
            edge_factor=(1.0, 1.0), reads_along=False,  # it would hold up the edge here
        )  # fmt: skip
        watched = not isinstance(controller, RoundAction)
        self.source = LocalSource(pair, scenario, temperature, limit, truncation, watched)
        self.sessions = WallSessions(scenario, self.source, clock)
        self._controller = controller
        self._always = Actions.of([controller]) if isinstance(controller, RoundAction) else None

    def answer(self, request: Request) -> WallAnswer:
        """Answer one request.

        Raises:
            InvalidRequest: If no prompt can be made of the request, or its answer has no room.
            Interrupted: If a model cannot go on; carries what was written so far.
        """
        self.source.request = request
        self.sessions.start()
        if not isinstance(self._controller, RoundAction):
            self._controller.begin(1)
        results: list[RoundResult] = []
        while not results or not results[-1].session_done[0]:
            results.append(self._play())
        return WallAnswer(
            answer=self.source.answer,
            ids=tuple(self.source.text),
            rounds=len(results),
            accepted=int(sum(result.accepted[0] for result in results)),
            seconds=float(results[-1].received_s[0]),
            ttft_s=float(results[0].first_s[0]),
        )

    def _play(self) -> RoundResult:
        try:
            return self.sessions.play(self._decide())
        except Interrupted as error:
            raise type(error)(str(error), tuple(self.source.text)) from error

    def _decide(self) -> Actions:
        if isinstance(self._controller, RoundAction):
            assert self._always is not None
            return self._always
        return self._controller.decide(self.sessions.status())
