"""Blocks of drafted tokens: how they are drawn, and what they were drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.forecast import Forecast
from covspec_core.models.protocol import Outputs
from covspec_core.randomness import DRAW, gumbel, uniform
from covspec_core.rounds import Floats
from covspec_core.source import Facts, as_float16
from covspec_core.wire import LawFormat


@dataclass(frozen=True, slots=True)
class Sampler:
    """How tokens are drawn: by noise that both sides share, or independently.

    Attributes:
        key: Noise key of the request.
        temperature: Of both laws; 0 is greedy.
        shared: Draw with the shared Gumbel noise.
        truncation: Which tokens may be drawn.
        format: In which a law travels before anything is drawn from it.
        refusals: Blocks of the request that were refused so far. What was drafted behind a refused
            token was dropped, but may have been seen, in how long its block grew: at the same
            position a new number draws.
    """

    key: int
    temperature: float
    shared: bool
    truncation: ver.Truncation = ver.WHOLE
    format: LawFormat = field(default_factory=LawFormat)
    refusals: int = 0

    def law(self, logits: NDArray[np.floating]) -> ver.Law:
        """Law from which tokens are drawn, rounded as it travels."""
        return self.format.rounded(self.unrounded(logits))

    def unrounded(self, logits: NDArray[np.floating]) -> ver.Law:
        """Law before it travels."""
        return ver.law(logits, self.temperature, self.truncation)

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
        anew = (self.refusals,) if purpose == DRAW and self.refusals else ()
        return ver.draw(law, float(uniform(self.key, position, purpose, *anew)))


@dataclass(slots=True, eq=False)
class Block:
    """Drafted tokens and what they were drawn from; how sure the draft was is read when asked.

    Attributes:
        sampler: How they were drawn.
        tokens: Token ids.
        outputs: What the draft said before each token.
        laws: One law a token, shape ``[vocab]`` each, where it was needed so far.
        unsent: Draft steps beyond the tokens.
    """

    sampler: Sampler
    tokens: list[int] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)
    laws: list[ver.Law | None] = field(default_factory=list)
    unsent: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def draw(self, outputs: Outputs, position: int) -> int:
        """Draw a token and append it."""
        if self.sampler.temperature == 0:  # most protocols never ask for its law
            law, token = None, ver.best(outputs.logits)
        else:
            law = self.sampler.law(outputs.logits)
            token = self.sampler.draw(law, position)
        self.tokens.append(token)
        self.outputs.append(outputs)
        self.laws.append(law)
        return token

    def law(self, index: int) -> ver.Law:
        """What a token was drawn from, shape ``[vocab]``."""
        law = self.laws[index]
        if law is None:  # a greedy token
            law = self.laws[index] = self.sampler.law(self.outputs[index].logits)
        return law

    def first(self, n: int) -> Block:
        """A copy of the first ``n`` tokens."""
        return self.part(slice(n))

    def part(self, which: slice) -> Block:
        """A copy of some tokens."""
        return Block(self.sampler, self.tokens[which], self.outputs[which], self.laws[which])

    @property
    def signals(self) -> ver.Law:
        """Laws from which confidence is read, shape ``[tokens, vocab]``."""
        return self.sampler.signal(self._logits)

    def confidences(self, gate: str) -> Floats:
        """What a gate compares with its threshold, rounded as recorded, shape ``[tokens]``.

        Args:
            gate: One of :data:`covspec_core.scenario.GATES`.
        """
        if gate == "uncertainty":
            return as_float16(ver.agreement(self._logits, np.array(self.tokens)))
        return as_float16(ver.margin(self.signals))

    def facts(self, judged: int) -> Facts:
        """What the laws of so many judged tokens show, at least of the first; zeros of none."""
        if not self.tokens:
            return Facts.none()
        signals = self.first(max(judged, 1)).signals
        margins, entropies = as_float16(ver.margin(signals)), as_float16(ver.entropy(signals))
        return Facts(
            margin=margins[-1:],
            margin_mean=np.array([margins.mean()]),
            entropy=entropies[-1:],
            entropy_mean=np.array([entropies.mean()]),
        )

    @property
    def _logits(self) -> NDArray[np.float32]:
        return np.stack([outputs.logits for outputs in self.outputs])


@dataclass(frozen=True, slots=True)
class Ends:
    """What ends a block before its length; see :class:`~covspec_core.source.Stops`.

    Attributes:
        entropy: A token drawn from a law of more entropy is the last, nats.
        chance: Least chance that all tokens stand, the next one included.
        forecast: What the head says, from what the draft says behind a text.
    """

    entropy: float = np.inf
    chance: float = 0.0
    forecast: Callable[[Outputs], Forecast] | None = None


NO_ENDS: Final = Ends()
"""A block has its length."""
