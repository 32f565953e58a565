"""The server: judges blocks in one pass, corrects them, or decodes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from covspec_core import verification as ver
from covspec_core.blocks import Sampler
from covspec_core.models.protocol import Context, Prompt, VisionLanguageModel
from covspec_core.randomness import BONUS, JUDGE, REDRAW, uniform
from covspec_core.wire import Draft, LawMessage, Top, Verdict, WireProtocol, Wish


class Edge:
    """Target model and everything the server keeps for one request.

    Args:
        model: The target.
        kind: Protocol.
    """

    def __init__(self, model: VisionLanguageModel, kind: WireProtocol) -> None:
        self._model, self._kind = model, kind

    def start(self, prompt: Prompt, sampler: Sampler) -> None:
        """Read a prompt with all of its visual tokens."""
        self._context: Context
        self._context, first = self._model.prefill(prompt)
        self._last = first.logits
        # The device will redraw from the law that it can read, so the edge judges by that one.
        self._sampler = sampler
        if self._kind.law_down:
            self._sampler = replace(sampler, format=self._kind.format)
        self._text, self._told = list[int](), 0

    def hear(self, skipped: list[int]) -> None:
        """Take in what a message begins with: tokens that the device did not leave to the edge."""
        self._text = self._text[: self._told] + skipped
        self._told = len(self._text)

    def verify(self, message: Draft, bonus: bool = True) -> Verdict:
        """Judge a block in one pass; the cache is left at the last token but one.

        Args:
            message: The block.
            bonus: Whether the next token is written behind a block that stands; where both sides
                know that the device goes on behind it, it is told but not written.
        """
        self.hear(message.skipped.tolist())
        block = message.block.tolist()
        laws = self._laws(self._text + block, len(block) + 1)
        accepted, verdict = 0, None
        for accepted, token in enumerate(block):
            if message.judged is None or message.judged[accepted]:
                verdict = self._judge(message, accepted, token, laws[accepted])
            if verdict is not None:
                break
            if token in self._model.eos_ids:
                verdict = Verdict(message.round, accepted + 1, token)
                break
        written = bonus or verdict is not None
        if verdict is None:
            next_token = self._sampler.draw(laws[-1], len(self._text) + len(block), BONUS)
            verdict = Verdict(message.round, len(block), next_token)
        self._text += block[: verdict.accepted]
        self._told = len(self._text)
        self._context.rollback(min(self._context.n_tokens, len(self._text)))
        if written and verdict.token is not None and not self._ended(block[: verdict.accepted]):
            self._commit(verdict.token)
        return verdict

    def correct(self, message: LawMessage) -> Verdict:
        """The token in place of a refused one, now that the law that it was drawn from is here."""
        law, position = ver.residual(self._refused, message.law), len(self._text)
        self._commit(self._sampler.draw(law, position, REDRAW))
        return Verdict(message.round, self._accepted, self._text[-1])

    def rest(self, message: Wish) -> LawMessage:
        """The target's law where a token was refused, without the entries that were sent."""
        top = ver.largest(self._refused, self._kind.top)
        return LawMessage(message.round, np.delete(self._refused, top))

    def _ended(self, tokens: list[int]) -> bool:
        return bool(tokens) and tokens[-1] in self._model.eos_ids

    def _commit(self, token: int) -> None:
        """Write the token behind the accepted ones; a device that redraws will repeat it."""
        self._text.append(token)
        self._told = len(self._text) - self._kind.device_redraws

    def decode(self, skipped: list[int], burst: int) -> list[int]:
        """Decode alone until a burst is full or the answer ends."""
        if skipped:
            self.hear(skipped)
        written: list[int] = []
        while len(written) < burst:
            law = self._laws(self._text, 1)[0]
            written.append(self._sampler.draw(law, len(self._text), BONUS))
            self._commit(written[-1])
            if written[-1] in self._model.eos_ids:
                break
        return written

    def refusals(self, text: list[int], message: Draft) -> list[bool]:
        """Which tokens of a block behind a text would not stand; for measurement only."""
        self._text, block = list(text), message.block.tolist()
        laws = self._laws(text + block, len(block) + 1)
        refused = [self._judge(message, i, t, laws[i]) is not None for i, t in enumerate(block)]
        self._context.rollback(len(text))
        return refused

    def _laws(self, text: list[int], last: int) -> ver.Law:
        """Laws behind the last positions of a text, shape ``[last, vocab]``."""
        missing = np.array(text[self._context.n_tokens :], dtype=np.int64)
        logits = self._last[None]
        if missing.size:
            logits = np.concatenate([logits, self._context.extend(missing).logits])
            self._last = logits[-1]
        self._logits = logits[-last:]
        return self._sampler.law(self._logits)

    def _judge(self, message: Draft, index: int, token: int, target: ver.Law) -> Verdict | None:
        """The verdict that refuses a token, or nothing if it stands."""
        position = len(self._text) + index
        if self._kind.shared_noise:
            own = self._sampler.draw(target, position)
            return None if own == token else Verdict(message.round, index, own)
        assert message.q is not None
        # Laws or scalars come for judged tokens only.
        row = index if message.judged is None else int(message.judged[:index].sum())
        q = message.q[row]
        chance = ver.accept_probability(target[token], q if q.ndim == 0 else q[token])
        if uniform(self._sampler.key, position, JUDGE) < chance:
            return None
        return self._refuse(message, index, target, q)

    def _refuse(self, message: Draft, index: int, target: ver.Law, q: ver.Law) -> Verdict:
        """What is said of a refused token."""
        number, position = message.round, len(self._text) + index
        self._refused, self._accepted = target, index
        if self._kind.law_down:
            return Verdict(number, index, None, self._sampler.unrounded(self._logits[index]))
        if self._kind.top:
            top = ver.largest(target, self._kind.top)
            return Verdict(number, index, None, top=Top(top, target[top]))
        if self._kind.law_asked:
            return Verdict(number, index, None)
        token = self._sampler.draw(ver.residual(target, q), position, REDRAW)
        return Verdict(number, index, token)
