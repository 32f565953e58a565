"""The server: judges blocks in one pass, corrects them, or decodes alone."""

from __future__ import annotations

import numpy as np

from covspec_core import verification as ver
from covspec_core.device import BONUS, JUDGE, REDRAW, Sampler
from covspec_core.models.protocol import Context, Prompt, VisionLanguageModel
from covspec_core.randomness import uniform
from covspec_core.wire import Draft, Verdict, WireProtocol


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
        self._sampler, self._text = sampler, list[int]()

    def verify(self, message: Draft) -> Verdict:
        """Judge a block in one pass; the cache is left at the last token but one."""
        self._text += message.skipped.tolist()
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
        if verdict is None:
            position = len(self._text) + len(block)
            bonus = self._sampler.draw(laws[-1], position, BONUS)
            verdict = Verdict(message.round, len(block), bonus)
        self._text += block[: verdict.accepted]
        self._context.rollback(min(self._context.n_tokens, len(self._text)))
        return verdict

    def commit(self, token: int) -> None:
        """Take in the token behind the accepted ones, wherever it was drawn."""
        self._text.append(token)

    def decode(self, skipped: list[int], burst: int) -> list[int]:
        """Decode alone until a burst is full or the answer ends."""
        self._text += skipped
        written: list[int] = []
        while len(written) < burst:
            law = self._laws(self._text, 1)[0]
            written.append(self._sampler.draw(law, len(self._text), BONUS))
            self._text.append(written[-1])
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
        return self._sampler.law(logits[-last:])

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
        if self._kind.law_down:
            return Verdict(message.round, index, None, target.astype(np.float32))
        law = ver.residual(target, q.astype(np.float64))
        return Verdict(message.round, index, self._sampler.draw(law, position, REDRAW))
