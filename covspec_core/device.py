"""The phone: drafts blocks, keeps few visual tokens, drafts ahead, redraws what was refused."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.acceptance import GRID
from covspec_core.blocks import NO_ENDS, Block, Ends, Sampler
from covspec_core.errors import BrokenMessage, OutOfMemory
from covspec_core.models.protocol import Context, Outputs, Prompt, VisionLanguageModel
from covspec_core.randomness import REDRAW, REST
from covspec_core.source import as_float16
from covspec_core.wire import Draft, LawMessage, Verdict, WireProtocol, Wish


class Device:
    """Draft model and everything the phone keeps for one request.

    Args:
        model: The draft.
        kind: Protocol.
    """

    def __init__(self, model: VisionLanguageModel, kind: WireProtocol) -> None:
        self._model, self._kind = model, kind
        self.ready: Block

    def start(self, prompt: Prompt, sampler: Sampler, kept: NDArray[np.int64] | None) -> None:
        """Read a prompt with some of its visual tokens, or all."""
        self._context: Context
        self._context, self._last = self._model.prefill(prompt, kept)
        # Both sides must judge by the law that the edge can read, so the device draws from it.
        if self._kind.laws_up or self._kind.law_asked:
            sampler = replace(sampler, format=self._kind.format)
        self._sampler, self._behind, self._widest = sampler, 0, sys.maxsize
        self.forget()

    def forget(self) -> None:
        """Drop what was drafted ahead."""
        self.ready = Block(self._sampler)

    def draft(self, committed: list[int], length: int, ends: Ends = NO_ENDS) -> Block:
        """Draft a block behind the committed tokens, ready tokens first.

        Args:
            committed: Answer so far.
            length: Tokens at most.
            ends: What ends it before that.
        """
        block, ahead, standing = Block(self._sampler), self.ready, 1.0
        self.forget()
        while len(block) < length:
            text = committed + block.tokens
            ready = len(block) < len(ahead)
            outputs = ahead.outputs[len(block)] if ready else self._next(text)
            said = ends.forecast(outputs) if ends.forecast and ends.chance > 0 else None
            if said and len(block) and standing * (said.chances[0, 0] / GRID) < ends.chance:
                block.unsent = 1
                break
            token = block.draw(outputs, len(text))
            if ends.entropy < np.inf and self._entropy(outputs) > ends.entropy:
                break
            if token in self._model.eos_ids:
                ends = NO_ENDS  # nothing behind an answer's end is looked at
            elif said:
                stands, follows = said.of_drawn(np.array([token]))[0] / GRID
                standing *= stands
                if standing * follows < ends.chance:
                    break
        return block

    def _entropy(self, outputs: Outputs) -> float:
        return float(as_float16(ver.entropy(self._sampler.signal(outputs.logits))))

    def ahead(self, committed: list[int]) -> Outputs:
        """What the draft says about the next token; drafting starts from it for free."""
        return self.ready.outputs[0] if len(self.ready) else self._next(committed)

    def within(self, committed: list[int], ahead: int) -> tuple[Outputs, int]:
        """What the draft says before the token so far ahead, and that token, now kept ready.

        Behind an answer's end nothing is looked at: it is the last token, and what was said before.
        """
        while len(self.ready) <= ahead:
            text = committed + self.ready.tokens
            self.ready.draw(self._next(text), len(text))
        tokens = self.ready.tokens[:ahead]
        ends = [i for i, token in enumerate(tokens) if token in self._model.eos_ids]
        last = min([ahead, *ends])
        return self.ready.outputs[last], self.ready.tokens[last]

    def settle(self, n_tokens: int, refused: bool = False) -> None:
        """Drop what was drafted behind the first ``n_tokens`` of the answer from the cache.

        Args:
            n_tokens: Answer tokens that stand or were committed here.
            refused: Whether the edge refused what came behind them.
        """
        if refused:
            self._sampler = replace(self._sampler, refusals=self._sampler.refusals + 1)
        self._context.rollback(min(self._context.n_tokens, n_tokens))
        self._behind = -1

    def _next(self, text: list[int]) -> Outputs:
        """Outputs behind a text that the cache may still lack the end of."""
        if self._behind != len(text):
            if self._context.n_tokens >= len(text):
                # The last token is read again where only its successors' outputs were kept.
                self.settle(len(text) - 1)
            missing = np.array(text[self._context.n_tokens :], dtype=np.int64)
            self._last, self._behind = self._context.extend(missing).at(-1), len(text)
        return self._last

    def message(
        self,
        number: int,
        skipped: list[int],
        block: Block,
        judged: NDArray[np.bool_] | None = None,
    ) -> Draft:
        """What goes up for a block; with a mask, no scalars or laws of what is not judged."""
        rows = [i for i in range(len(block)) if judged is None or judged[i]]
        q: NDArray[np.float64] | None = None
        if self._kind.laws_up and len(rows):
            q = np.stack([self._unrounded(block, i) for i in rows])
        elif self._kind.scalars_up and len(rows):
            q = np.array([block.law(i)[block.tokens[i]] for i in rows])
        ids = np.array(block.tokens, dtype=np.int64)
        return Draft(number, np.array(skipped, dtype=np.int64), ids, q, judged)

    def _unrounded(self, block: Block, index: int) -> ver.Law:
        return self._sampler.unrounded(block.outputs[index].logits)

    def resolve(self, block: Block, verdict: Verdict, position: int) -> int | LawMessage | Wish:
        """The token behind the accepted ones: as told, or redrawn from what came of the law.

        Where neither is possible, what the edge must be sent or asked for; the token then follows
        from its next verdict, or by :meth:`redraw`.

        Raises:
            BrokenMessage: If the verdict does not belong to the block.
        """
        index = verdict.accepted
        if index + (verdict.token is None) > len(block):
            raise BrokenMessage(f"a block of {len(block)} tokens cannot have {index} accepted")
        if verdict.token is not None:
            return verdict.token
        own, at = block.law(index), position + index
        if verdict.p is not None:
            return self._sampler.draw(ver.residual(verdict.p, own), at, REDRAW)
        if verdict.top is None:
            return LawMessage(verdict.round, self._unrounded(block, index))
        ids = verdict.top.ids
        drawn = self._sampler.draw(ver.top_residual(verdict.top.p, own[ids]), at, REDRAW)
        return int(ids[drawn]) if drawn < len(ids) else Wish(verdict.round)

    def redraw(self, block: Block, verdict: Verdict, rest: LawMessage, position: int) -> int:
        """The token behind the accepted ones, once the rest of the target's law has come."""
        assert verdict.top is not None
        own, ids = block.law(verdict.accepted), verdict.top.ids
        target = np.empty(len(own))
        target[ids] = verdict.top.p
        target[np.delete(np.arange(len(own)), ids)] = rest.law
        law = ver.rest_residual(target, own, ids)
        return self._sampler.draw(law, position + verdict.accepted, REST)

    def go_on(self, text: list[int], steps: int) -> None:
        """Draft ahead behind a block that stands, with no bonus token in between."""
        self.ready = self.draft(text, steps)

    def branch(self, text: list[int], bonus: int, width: int, steps: int) -> bool:
        """Draft ahead behind the candidates for a bonus token.

        Args:
            text: Committed tokens and the whole block.
            bonus: The token that the edge wrote behind it.
            width: Number of candidates, the highest ranked of the draft's law.
            steps: Tokens to draft on every branch.

        Returns:
            Whether the bonus token was a candidate; its branch is ready then.

        Where the branches do not fit the memory, half of them are tried, and no more than those
        for the rest of the request. No text depends on it: what a branch makes ready are the very
        tokens that would be drafted later.
        """
        position = len(text)
        scores = self._sampler.scores(self._next(text).logits, position)
        candidates = np.argsort(-scores, kind="stable")[: min(width, self._widest)]
        while bonus in candidates:
            try:
                self._ahead_of(bonus, candidates, position, steps)
            except OutOfMemory as error:
                self._widest = len(candidates) // 2
                warnings.warn(
                    f"{error}; drafting ahead on {self._widest} branches instead of "
                    f"{len(candidates)} until the request ends",
                    RuntimeWarning,
                    stacklevel=2,
                )
                candidates = candidates[: self._widest]
            else:
                return True
        return False

    def _ahead_of(
        self, bonus: int, candidates: NDArray[np.int64], position: int, steps: int
    ) -> None:
        branches = self._context.fork(len(candidates))
        blocks = [Block(self._sampler) for _ in candidates]
        tokens = candidates
        for step in range(1, steps + 1):
            outputs = branches.extend(tokens[:, None])
            rows = (outputs.at(branch).at(-1) for branch in range(len(blocks)))
            tokens = np.array(
                [own.draw(row, position + step) for own, row in zip(blocks, rows, strict=True)]
            )
        hit = int(np.flatnonzero(candidates == bonus)[0])
        self._context, self.ready, self._behind = branches.select(hit), blocks[hit], -1
