"""Outcomes from live models: one session, both sides in one process, real messages between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core import wire
from covspec_core.acceptance import GRID
from covspec_core.blocks import Block, Ends, Sampler
from covspec_core.device import Device
from covspec_core.edge import Edge
from covspec_core.exchange import Exchange
from covspec_core.forecast import Forecast
from covspec_core.models.protocol import Outputs
from covspec_core.request import Pair, Prompts, Request
from covspec_core.rounds import CHANCES, Bools, Floats, Ints, Keys
from covspec_core.scenario import require_gate
from covspec_core.source import (
    Ahead,
    Drafted,
    Facts,
    Move,
    Outcome,
    Place,
    Requests,
    Stops,
    Within,
    as_float16,
)


class _End(NamedTuple):
    """What became of a block; see :class:`~covspec_core.source.Outcome`."""

    accepted: int = 0
    unjudged: int = 0
    rejected: bool = False
    deviations: int = 0
    tail: bool = False


class LiveSource:
    """A :class:`~covspec_core.source.Source` that runs the models of a pair.

    Args:
        pair: The models.
        kind: Protocol.
        temperature: Of both laws; 0 is greedy.
        limit: Most answer tokens.
        requests: The request that a key stands for.
        gate: How a gate's threshold is read, see :data:`covspec_core.scenario.GATES`.
        truncation: Which tokens may be drawn.
    """

    def __init__(
        self,
        pair: Pair,
        kind: wire.WireProtocol,
        temperature: float,
        limit: int,
        requests: Callable[[int], Request],
        gate: str = "block",
        truncation: ver.Truncation = ver.WHOLE,
    ) -> None:
        require_gate(gate)
        self._pair, self._kind, self._gate = pair, kind, gate
        self._temperature, self._limit, self._requests = temperature, limit, requests
        self._truncation, self._terms = truncation, wire.Terms(kind, pair.draft.vocab_size)
        self.device, self.edge = Device(pair.draft, kind), Edge(pair.target, kind)
        self._exchange = Exchange(self.device, self.edge, self._terms)
        self.text: list[int] = []
        self._skipped: list[int] = []
        self._number = 0

    @property
    def answer(self) -> str:
        """Text of the answer so far."""
        return self._pair.target.decode(np.array(self.text, dtype=np.int64))

    def peek(self, keys: Keys) -> tuple[Ints, Ints] | None:
        """Lengths are known only if a request brings that of its recorded answer."""
        requests = [self._requests(int(key)) for key in keys]
        if any(request.tokens is None for request in requests):
            return None
        sizes = [(request.image_bytes, request.tokens) for request in requests]
        images, tokens = np.array(sizes, dtype=np.int64).T
        return images, tokens

    def begin(self, rows: Ints, keys: Keys) -> Requests:
        """Take up a request: the edge reads it, the device ranks its visual tokens."""
        request = self._requests(int(keys[0]))
        self._sampler = Sampler(
            request.key, self._temperature, self._kind.shared_noise, self._truncation
        )
        self.text, self._skipped, self._owed = [], [], False
        self.prompts = Prompts(self._pair, request, self._limit)
        self.edge.start(self.prompts.target, self._sampler)
        self._auditor: Edge | None = None
        self._keep, self._has_read = -1.0, False
        return Requests(
            image_bytes=np.array([request.image_bytes]),
            limit=np.array([self._limit]),
            statistics=self._statistics()[None],
        )

    def _statistics(self) -> Floats:
        return self.prompts.statistics().astype(np.float64)

    def prefill(self, rows: Ints, keep: Floats) -> None:
        """The device is to read the prompt with a share of the visual tokens, once it drafts."""
        if keep[0] != self._keep:
            self._keep, self._has_read = float(keep[0]), False

    def read_prompt(self) -> None:
        """Let the device read the prompt, if it has not; one that never drafts need not."""
        if not self._has_read:
            prompt, kept = self.prompts.seen(self._keep)
            self.device.start(prompt, self._sampler, kept)
            self._has_read = True

    def _reader(self) -> Device:
        """The device, which has read the prompt."""
        self.read_prompt()
        return self.device

    def draft(self, place: Place, length: Ints, sure: Floats, stops: Stops) -> Drafted:
        """Draft a block."""
        entropy, chance = float(stops.entropy[0]), float(stops.chance[0])
        ends = Ends(entropy, chance, lambda outputs: self._forecast(outputs, place))
        self._block = Block(self._sampler)
        if length[0] > 0:
            self._block = self._reader().draft(self.text, int(length[0]), ends)
        self._sure = np.zeros(len(self._block), dtype=bool)
        written = len(self._until_end(self._block.tokens))
        if np.isfinite(sure[0]) and len(self._block):
            self._sure = self._block.confidences(self._gate) >= sure[0]
        # What lies behind an answer's end is not worth a judgement.
        self._sure[written:] = True
        numbers = len(self._block), (~self._sure).sum(), self._block.unsent
        return Drafted(*(np.array([number]) for number in numbers))

    def finish(self, place: Place, move: Move) -> Outcome:
        """Send the block and take the verdict, commit it unsent, or let the edge write."""
        before, self._number = len(self.text), self._number + 1
        if move.alone[0]:
            if self._has_read:
                self.device.forget()
            written = self.edge.decode(self._unsent(), int(move.burst[0]))
            self._skipped, self._owed, end = [], True, _End()
        elif move.local[0]:
            written = self._until_end(self._block.tokens)
            end = _End(deviations=int(self._audit(len(written)).sum()))
            self._skipped = self._skipped + written
        else:
            written, end = self._verify(move)
        self.text = (self.text + written)[: self._limit]
        if self._has_read:
            stands = len(written) if move.local[0] else end.accepted
            self.device.settle(before + stands, end.rejected)
        judged = len(written) if move.local[0] else end.accepted + end.rejected
        return self._outcome(before, end, judged)

    def _verify(self, move: Move) -> tuple[list[int], _End]:
        judged = ~self._sure if self._gate == "token" else None
        early = move.early and len(self._block) > 1
        verdict = self._early_verdict(move) if early else self._verdict(self._block, move, judged)
        standing = self._block.tokens[: verdict.accepted]
        passed = np.zeros(0, dtype=bool) if judged is None else ~judged[: verdict.accepted]
        wrong = int((self._audit(verdict.accepted) & passed).sum()) if passed.any() else 0
        end = _End(verdict.accepted, int(passed.sum()), False, wrong)
        rejected = verdict.accepted < len(self._block)
        ended = bool(standing) and standing[-1] in self._pair.target.eos_ids
        self._owed = not ended and (move.bonus or rejected)
        if not self._owed:
            return standing, end
        token, tail = self._exchange.token(self._block, verdict, len(self.text))
        return [*standing, token], end._replace(rejected=rejected, tail=tail)

    def _verdict(
        self, block: Block, move: Move, judged: NDArray[np.bool_] | None = None
    ) -> wire.Verdict:
        message = self.device.message(self._number, self._unsent(), block, judged)
        self._skipped = []
        return self._exchange.verdict(message, move.bonus)

    def _early_verdict(self, move: Move) -> wire.Verdict:
        """On the first token, then, unless it was refused or ends the answer, on the others."""
        first, others = self._block.first(1), self._block.part(slice(1, None))
        verdict = self._verdict(first, move._replace(bonus=False))
        if verdict.accepted == 0 or first.tokens[0] in self._pair.target.eos_ids:
            return verdict
        message = self.device.message(self._number, [], others)
        second = self._exchange.verdict(message, move.bonus)
        return replace(second, accepted=second.accepted + 1)

    def _unsent(self) -> list[int]:
        """Ids that the edge lacks: a device that redraws repeats the last one behind a verdict."""
        heard = len(self.text) - len(self._skipped)
        owed = self._kind.device_redraws and self._owed
        repeated = self.text[heard - 1 : heard] if owed else []
        return repeated + self._skipped

    def _until_end(self, tokens: list[int]) -> list[int]:
        ends = [i for i, token in enumerate(tokens) if token in self._pair.target.eos_ids]
        return tokens[: ends[0] + 1] if ends else list(tokens)

    def _audit(self, count: int) -> NDArray[np.bool_]:
        """Which of the first drafted tokens the target would not have written."""
        if self._auditor is None:
            self._auditor = Edge(self._pair.target, self._kind)
            self._auditor.start(self.prompts.target, self._sampler)
        message = self.device.message(self._number, [], self._block.first(count))
        message = wire.Draft.decode(message.encode(self._terms), self._terms)
        return np.array(self._auditor.refusals(self.text, message), dtype=bool)

    def _outcome(self, before: int, end: _End, judged: int) -> Outcome:
        done = self.text[-1] in self._pair.target.eos_ids or len(self.text) >= self._limit
        return Outcome(
            accepted=np.array([end.accepted]),
            unjudged=np.array([end.unjudged]),
            rejected=np.array([end.rejected]),
            tail=np.array([end.tail]),
            emitted=np.array([len(self.text) - before]),
            done=np.array([done]),
            deviations=np.array([end.deviations]),
            facts=self._facts(judged),
        )

    def _facts(self, judged: int) -> Facts:
        return self._block.facts(judged)

    def branch(self, place: Place, outcome: Outcome, move: Move, width: Ints, steps: Ints) -> Bools:
        """Draft ahead; on the virtual clock only where the verdict lets a branch live on."""
        length = move.length[0]
        lives = outcome.emitted[0] > length if move.bonus else not outcome.done[0]
        if not (outcome.accepted[0] == length > 0 and lives) or steps[0] == 0:
            return np.array([False])
        # Behind the limit nothing is drafted: the models may have no positions there.
        ahead = min(int(steps[0]), self._limit - len(self.text))
        if not move.bonus:
            self.device.go_on(self.text, ahead)
            return np.array([True])
        hit = self.device.branch(self.text[:-1], self.text[-1], int(width[0]), ahead)
        return np.array([hit])

    def look(self, place: Place, awake: Bools) -> Ahead:
        """What the device knows about the next tokens, if it is awake."""
        none = np.zeros(1)
        if not awake[0]:
            return Ahead(none, none, np.zeros((1, len(CHANCES))))
        return _told(self._forecast(self._reader().ahead(self.text), place))

    def within(self, place: Place, rows: Ints, ahead: Ints) -> Within:
        """What the device knows where it has drawn the token so far ahead, now kept ready."""
        outputs, token = self._reader().within(self.text, int(ahead[0]))
        forecast = self._forecast(outputs, place)
        return Within(_told(forecast), forecast.of_drawn(np.array([token])) / GRID)

    def _forecast(self, outputs: Outputs, place: Place) -> Forecast:
        signal = self._sampler.signal(outputs.logits)
        return Forecast(self._pair.head, outputs.hidden[None], signal[None], place.keep[0])


def _told(forecast: Forecast) -> Ahead:
    """What a status says of it."""
    margin, entropy = as_float16(forecast.margin), as_float16(forecast.entropy)
    return Ahead(margin, entropy, forecast.chances / GRID)
