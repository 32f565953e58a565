"""The engine: one verb, ``round``, which environments and deployments call alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np

from covspec_core import timeline
from covspec_core.errors import Interrupted, InvalidRequest, LinkTimeout
from covspec_core.links.table import LinkTable
from covspec_core.live import LiveSource
from covspec_core.randomness import streams
from covspec_core.records import profile_costs
from covspec_core.replay import ReplaySource
from covspec_core.request import Pair, Request
from covspec_core.rounds import Actions, RoundAction, RoundResult, Status
from covspec_core.scenario import Scenario
from covspec_core.sessions import Sessions
from covspec_core.source import Source
from covspec_core.verification import WHOLE, Truncation


class Controller(Protocol):
    """Sets the controls of every round, for one session or many in lockstep."""

    def begin(self, size: int) -> None:
        """Forget everything; ``size`` new sessions follow."""

    def decide(self, status: Status) -> Actions:
        """Controls for the next round of every session."""


class BlockController(Controller, Protocol):
    """A controller that decides within blocks too, while they are drafted."""

    def decide_within(self, sessions: Sessions) -> Actions:
        """Draft blocks; controls for the next round of every session, which plays them."""


def decision(controller: Controller, sessions: Sessions) -> Actions:
    """A controller's controls for the next round of every session, at whatever level it decides.

    Args:
        controller: Who decides; a :class:`BlockController` if it has ``decide_within``.
        sessions: What it decides for.
    """
    if hasattr(controller, "decide_within"):
        return cast(BlockController, controller).decide_within(sessions)
    return controller.decide(sessions.status())


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request cost.

    Attributes:
        answer: Text.
        tokens: Answer tokens.
        rounds: Rounds played.
        accepted: Drafted tokens that stood after a check.
        bytes_up: Encoded bytes sent, the image not included.
        bytes_down: Encoded bytes received.
        image_bytes: Bytes of image and question.
        seconds: Virtual seconds from the question to the last token.
        seconds_edge_only: The same, had the edge answered alone.
        ttft_s: Virtual seconds to the first token.
        deviations: Unchecked tokens that the target would not have written.
    """

    answer: str
    tokens: int
    rounds: int
    accepted: int
    bytes_up: int
    bytes_down: int
    image_bytes: int
    seconds: float
    seconds_edge_only: float
    ttft_s: float
    deviations: int

    @property
    def speedup(self) -> float:
        """Speed over edge-only."""
        return self.seconds_edge_only / self.seconds


def realise_links(scenario: Scenario, seed: int) -> LinkTable:
    """The scenario's link realisations under a seed."""
    rng = streams(seed, "links")["links"]
    return scenario.link.realise(rng, scenario.link_rows, scenario.link_s)


class Engine:
    """One session, played round by round.

    Args:
        scenario: What is emulated.
        links: Realisations of the scenario's link.
        source: Outcomes, from live models or a recording; for one session.
    """

    def __init__(self, scenario: Scenario, links: LinkTable, source: Source | ReplaySource) -> None:
        self.scenario, self.source = scenario, source
        self.sessions = Sessions(scenario, links, source, 1)

    def begin(self, seed: int) -> Status:
        """Start a session that its seed decides wholly."""
        self.sessions.begin(np.array([0]), np.array([seed], dtype=np.uint64))
        return self.status()

    def status(self) -> Status:
        """What a controller may see before the next round.

        Raises:
            ModelFailure: If the draft cannot go on; carries what was written so far.
        """
        with self._keeping_text():
            return self.sessions.status()

    def decision(self, controller: Controller) -> Actions:
        """A controller's controls for the next round.

        Raises:
            ModelFailure: If the draft cannot go on; carries what was written so far.
        """
        with self._keeping_text():
            return decision(controller, self.sessions)

    def round(self, action: RoundAction) -> RoundResult:
        """Play one draft-and-verify round; arrays of the result have one entry.

        Raises:
            InvalidAction: If the action lies outside the scenario's choices.
            SessionOver: If the last answer is complete.
            Interrupted: If the link stays dead or a model cannot go on; carries what was written
                so far.
        """
        return self.play(Actions.of([action]))

    def play(self, actions: Actions) -> RoundResult:
        """:meth:`round` for an action that is already an array of one."""
        with self._keeping_text():
            return self.sessions.play(actions)

    def edge_only_s(self, image_bytes: int, tokens: int) -> float:
        """Seconds in which the edge alone would answer a session's first request.

        Args:
            image_bytes: Encoded image and question.
            tokens: Length of its answer.
        """
        path = self.sessions.path
        costs = profile_costs(self.scenario.profile, path.table)
        seconds = timeline.edge_only_s(costs, path, np.array([[image_bytes]]), np.array([[tokens]]))
        return float(seconds[0])

    @contextmanager
    def _keeping_text(self) -> Iterator[None]:
        """Whatever interrupts a round carries what was written so far."""
        before = self._text()
        try:
            yield
        except LinkTimeout as error:  # the tokens of this round never arrive
            raise LinkTimeout(str(error), before) from error
        except Interrupted as error:
            raise type(error)(str(error), self._text()) from error

    def _text(self) -> tuple[int, ...]:
        return tuple(self.source.text) if isinstance(self.source, LiveSource) else ()


def generate(
    scenario: Scenario,
    pair: Pair,
    request: Request,
    controller: Controller,
    temperature: float,
    limit: int,
    seed: int,
    on_round: Callable[[RoundResult], None] = lambda result: None,
    truncation: Truncation = WHOLE,
) -> Answer:
    """Answer one request with live models under a controller.

    Args:
        scenario: What is emulated; its number of requests is ignored.
        pair: Draft and target.
        request: Image and question.
        controller: Sets the controls of every round.
        temperature: Of both laws; 0 is greedy.
        limit: Most answer tokens.
        seed: Decides the link and the hardware factors.
        on_round: Called after every round.
        truncation: Which tokens may be drawn.

    Raises:
        InvalidRequest: If no prompt can be made of the request, or its answer has no room.
        Interrupted: If the link stays dead or a model cannot go on; carries what was written so
            far.
    """
    if limit < 1:
        raise InvalidRequest(f"an answer must be allowed at least 1 token, got {limit}")
    scenario = replace(scenario, requests=1)
    source = LiveSource(
        pair, scenario.protocol, temperature, limit, lambda key: request, scenario.gate, truncation
    )
    engine = Engine(scenario, realise_links(scenario, seed), source)
    controller.begin(1)
    engine.begin(seed)
    results: list[RoundResult] = []
    while not results or not results[-1].session_done[0]:
        results.append(engine.play(engine.decision(controller)))
        on_round(results[-1])
    return _answer(engine, source, request, results)


def _answer(
    engine: Engine, source: LiveSource, request: Request, results: list[RoundResult]
) -> Answer:
    def total(name: str) -> int:
        return int(sum(getattr(result, name)[0] for result in results))

    return Answer(
        answer=source.answer,
        tokens=len(source.text),
        rounds=len(results),
        accepted=total("accepted"),
        bytes_up=total("bytes_up"),
        bytes_down=total("bytes_down"),
        image_bytes=request.image_bytes,
        seconds=float(results[-1].received_s[0]),
        seconds_edge_only=engine.edge_only_s(request.image_bytes, len(source.text)),
        ttft_s=float(results[0].first_s[0]),
        deviations=total("deviations"),
    )
