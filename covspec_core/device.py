"""The phone: drafts blocks, keeps few visual tokens, drafts ahead, redraws what was refused."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.models.protocol import Context, Outputs, Prompt, VisionLanguageModel
from covspec_core.randomness import gumbel, uniform
from covspec_core.wire import Draft, Verdict, WireProtocol

DRAW, JUDGE, REDRAW, BONUS = range(4)
"""What an addressed uniform number decides at a position."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """How tokens are drawn: by noise that both sides share, or independently.

    Attributes:
        key: Noise key of the request.
        temperature: Of both laws; 0 is greedy.
        shared: Draw with the shared Gumbel noise.
    """

    key: int
    temperature: float
    shared: bool

    def law(self, logits: NDArray[np.floating]) -> ver.Law:
        """Law at this temperature."""
        return ver.law(logits, self.temperature)

    def signal(self, logits: NDArray[np.floating]) -> ver.Law:
        """Law from which confidence is read: a greedy law, all or nothing, would hide it."""
        return ver.law(logits, self.temperature or 1.0)

    def scores(self, logits: NDArray[np.floating], position: int) -> ver.Law:
        """What ranks tokens as candidates at a position, noise included if it is shared."""
        law = self.signal(logits)
        noisy = self.shared and self.temperature > 0
        return ver.scores(law, gumbel(self.key, position, len(law))) if noisy else law

    def draw(self, law: ver.Law, position: int, purpose: int = DRAW) -> int:
        """A token of the law."""
        if self.temperature == 0:
            return int(law.argmax())
        if self.shared:
            return int(ver.scores(law, gumbel(self.key, position, len(law))).argmax())
        return ver.draw(law, float(uniform(self.key, position, purpose)))


@dataclass(slots=True, eq=False)
class Block:
    """Drafted tokens, what they were drawn from, and how sure the draft was.

    Attributes:
        tokens: Token ids.
        outputs: What the draft said before each token.
        laws: One law a token, shape ``[vocab]`` each.
        margins: Margin of each law.
        entropies: Entropy of each law, nats.
    """

    tokens: list[int] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)
    laws: list[ver.Law] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def draw(self, sampler: Sampler, outputs: Outputs, position: int) -> int:
        """Draw a token and append it."""
        law, signal = sampler.law(outputs.logits), sampler.signal(outputs.logits)
        self.tokens.append(sampler.draw(law, position))
        self.outputs.append(outputs)
        self.laws.append(law)
        self.margins.append(float(ver.margin(signal)))
        self.entropies.append(float(ver.entropy(signal)))
        return self.tokens[-1]

    def first(self, n: int) -> Block:
        """A copy of the first ``n`` tokens."""
        return Block(*(getattr(self, part.name)[:n] for part in fields(self)))


class Device:
    """Draft model and everything the phone keeps for one request.

    Args:
        model: The draft.
        kind: Protocol.
    """

    def __init__(self, model: VisionLanguageModel, kind: WireProtocol) -> None:
        self._model, self._kind = model, kind
        self.ready = Block()

    def start(self, prompt: Prompt, sampler: Sampler, kept: NDArray[np.int64]) -> None:
        """Read a prompt with some of its visual tokens."""
        self._context: Context
        self._context, self._last = self._model.prefill(prompt, kept)
        self._sampler, self.ready, self._behind = sampler, Block(), 0

    def draft(self, committed: list[int], length: int) -> Block:
        """Draft a block behind the committed tokens, ready tokens first."""
        block, self.ready = self.ready.first(length), Block()
        while len(block) < length:
            text = committed + block.tokens
            block.draw(self._sampler, self._next(text), len(text))
        return block

    def ahead(self, committed: list[int]) -> Outputs:
        """What the draft says about the next token; drafting starts from it for free."""
        return self.ready.outputs[0] if len(self.ready) else self._next(committed)

    def settle(self, n_tokens: int) -> None:
        """Drop what was drafted behind the first ``n_tokens`` of the answer from the cache."""
        self._context.rollback(min(self._context.n_tokens, n_tokens))
        self._behind = -1

    def _next(self, text: list[int]) -> Outputs:
        """Outputs behind a text that the cache may still lack the end of."""
        if self._behind != len(text):
            # The last token is read again where only its successors' outputs were kept.
            self.settle(len(text) - 1)
            missing = np.array(text[self._context.n_tokens :], dtype=np.int64)
            self._last, self._behind = self._context.extend(missing).at(-1), len(text)
        return self._last

    def message(self, number: int, skipped: list[int], block: Block) -> Draft:
        """What goes up for a block."""
        q: NDArray[np.floating] | None = None
        if self._kind.laws_up:
            q = np.stack(block.laws) if len(block) else None
        elif self._kind.scalars_up and len(block):
            pairs = zip(block.laws, block.tokens, strict=True)
            q = np.array([law[token] for law, token in pairs])
        ids = np.array(block.tokens, dtype=np.int64)
        up = None if q is None else q.astype(np.float32)
        return Draft(number, np.array(skipped, dtype=np.int64), ids, up)

    def resolve(self, block: Block, verdict: Verdict, position: int) -> int:
        """The token behind the accepted ones: as told, or redrawn from the law that came."""
        if verdict.token is not None:
            return verdict.token
        assert verdict.p is not None
        target = verdict.p.astype(np.float64)
        law = ver.residual(target, block.laws[verdict.accepted])
        return self._sampler.draw(law, position + verdict.accepted, REDRAW)

    def branch(self, text: list[int], bonus: int, width: int, steps: int) -> bool:
        """Draft ahead behind the candidates for a bonus token.

        Args:
            text: Committed tokens and the whole block.
            bonus: The token that the edge wrote behind it.
            width: Number of candidates, the highest ranked of the draft's law.
            steps: Tokens to draft on every branch.

        Returns:
            Whether the bonus token was a candidate; its branch is ready then.
        """
        position = len(text)
        scores = self._sampler.scores(self._next(text).logits, position)
        candidates = np.argsort(-scores, kind="stable")[:width]
        if bonus not in candidates:
            return False
        branches = self._context.fork(len(candidates))
        blocks = [Block() for _ in candidates]
        tokens = candidates
        for step in range(1, steps + 1):
            outputs = branches.extend(tokens[:, None])
            rows = (outputs.at(branch).at(-1) for branch in range(len(blocks)))
            tokens = np.array(
                [
                    own.draw(self._sampler, row, position + step)
                    for own, row in zip(blocks, rows, strict=True)
                ]
            )
        hit = int(np.flatnonzero(candidates == bonus)[0])
        self._context, self.ready, self._behind = branches.select(hit), blocks[hit], -1
        return True
