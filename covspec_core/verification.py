"""Laws of the next token, and what keeps or redraws a drafted one. Pure functions on arrays.

``target`` and ``draft`` are laws: probabilities over the vocabulary, last axis. Sources: Leviathan
et al., arXiv 2211.17192 (accept and redraw); Daliri et al., arXiv 2408.07978 (shared noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidRequest, InvalidSetting

Law = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truncation:
    """Which tokens may be drawn at all; a greedy law has one token anyway.

    First the temperature is applied, then ``top_k``, then ``top_p`` to what that leaves. Among
    equal probabilities the lower token id comes first.

    Attributes:
        top_k: The so many most probable tokens; all if ``None``.
        top_p: The fewest of the most probable tokens that have this mass together, at least one;
            all if ``None``.
    """

    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise InvalidSetting(f"top_k must be >= 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InvalidSetting(f"top_p must lie in (0, 1], got {self.top_p}")

    @property
    def whole(self) -> bool:
        """Every token may be drawn."""
        return self.top_k is None and self.top_p in (None, 1.0)

    def apply(self, law_: Law) -> Law:
        """The law of the tokens that are left."""
        if self.whole:
            return law_
        order = np.argsort(-law_, axis=-1, kind="stable")
        ordered = np.take_along_axis(law_, order, -1)
        if self.top_k is not None:
            ordered[..., self.top_k :] = 0.0
        if self.top_p is not None and self.top_p < 1:
            mass = ordered.cumsum(-1)
            before = np.concatenate([np.zeros_like(mass[..., :1]), mass[..., :-1]], -1)
            ordered[before >= self.top_p * mass[..., -1:]] = 0.0
        left = np.empty_like(law_)
        np.put_along_axis(left, order, ordered / ordered.sum(-1, keepdims=True), -1)
        return left


WHOLE = Truncation()


def law(logits: NDArray[np.floating], temperature: float, truncation: Truncation = WHOLE) -> Law:
    """Next-token law; temperature 0 puts all mass on the largest logit (first one on a tie).

    Args:
        logits: Of a model, ``[..., vocab]``.
        temperature: Divides the logits.
        truncation: Which tokens may be drawn.

    Raises:
        InvalidRequest: If a logit is NaN or infinite, or the temperature negative.
    """
    if not np.isfinite(logits).all():
        raise InvalidRequest("logits must be finite, got NaN or infinity from the model")
    if not temperature >= 0:
        raise InvalidRequest(f"temperature must be >= 0, got {temperature}")
    if temperature == 0:
        greedy = np.zeros(logits.shape)
        tops = logits.argmax(-1).ravel()
        greedy.reshape(len(tops), -1)[np.arange(len(tops)), tops] = 1.0
        return greedy
    below = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    weights = np.exp(below / temperature)
    return truncation.apply(weights / weights.sum(-1, keepdims=True))


def best(logits: NDArray[np.floating]) -> int:
    """The token of a greedy law, from logits ``[vocab]``.

    Raises:
        InvalidRequest: If that logit is NaN or infinite.
    """
    token = int(logits.argmax())  # NaN counts as the largest
    if not math.isfinite(logits[token]):
        raise InvalidRequest("logits must be finite, got NaN or infinity from the model")
    return token


def largest(law_: Law, count: int) -> NDArray[np.int64]:
    """The most probable tokens in descending order, ties by index, shape ``[..., count]``."""
    order: NDArray[np.int64] = np.argsort(-law_, axis=-1, kind="stable")[..., :count]
    return order


def accept_probability(target: Law, draft: Law) -> Law:
    """Chance that each token, drawn from ``draft``, is kept: ``min(1, p / q)``."""
    ratio = np.divide(target, draft, out=np.ones_like(target), where=draft > 0)
    return np.minimum(ratio, 1.0)


def residual(target: Law, draft: Law) -> Law:
    """Law of the redrawn token: ``norm(max(0, p - q))``.

    Where the draft covers the target no rejection can happen; the target is returned then.
    """
    excess = np.maximum(target - draft, 0.0)
    mass = excess.sum(-1, keepdims=True)
    return np.where(mass > 0, excess / np.where(mass > 0, mass, 1.0), target)


def top_residual(target_top: Law, draft_top: Law) -> Law:
    """Law of the redrawn token as far as the largest entries of the target tell.

    Redrawing is the same as drawing ``x`` from the target and keeping it with probability
    ``max(0, 1 - q(x) / p(x))`` until one is kept. This is the law of the first draw that is kept
    or falls outside the known entries, all draws before it summed up; it needs nothing else.

    Args:
        target_top: Known entries of the target, shape ``[top]``.
        draft_top: Those of the draft, shape ``[top]``.

    Returns:
        Shape ``[top + 1]``; the last entry stands for all unknown tokens.
    """
    kept = np.maximum(target_top - draft_top, 0.0)
    law_ = np.append(kept, max(1.0 - target_top.sum(), 0.0))
    if law_.sum() == 0:
        law_[-1] = 1.0
    return law_ / law_.sum()


def rest_residual(target: Law, draft: Law, top: NDArray[np.int64]) -> Law:
    """Law of the redrawn token after a draw that fell outside the largest entries.

    That draw is judged first; if it is not kept, nothing is known any more and the whole residual
    decides.

    Args:
        target: All entries of the target, shape ``[vocab]``.
        draft: All entries of the draft, shape ``[vocab]``.
        top: Tokens of the largest entries.
    """
    drawn = target.copy()
    drawn[top] = 0.0
    if drawn.sum() == 0:
        return residual(target, draft)
    drawn /= drawn.sum()
    kept = drawn * (1.0 - accept_probability(draft, target))
    return kept + (1.0 - kept.sum()) * residual(target, draft)


def settled(target: Law, draft: Law, top: NDArray[np.int64], token: int) -> float:
    """Chance that the largest entries decided, given that a token was refused and this redrawn.

    By Bayes' rule from :func:`top_residual`: a token outside them needs the rest; one inside is
    redrawn with ``e / known`` at once and with ``e / all`` altogether, where ``e`` is its excess
    of the target over the draft, ``all`` the sum of all excesses, and ``known`` the sum of those
    inside plus the target's mass outside.
    """
    if token not in top:
        return 0.0
    excess = np.maximum(target - draft, 0.0)
    known = excess[top].sum() + max(1.0 - target[top].sum(), 0.0)
    return min(float(excess.sum() / known), 1.0) if known > 0 else 1.0


def overlap(target: Law, draft: Law) -> NDArray[np.float64]:
    """Acceptance of a fresh draft, ``sum min(p, q)``, one less the total variation."""
    return np.minimum(target, draft).sum(-1)


def scores(law_: Law, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Perturbed log-probabilities whose argmax is a draw from the law (Gumbel-max)."""
    with np.errstate(divide="ignore"):
        return np.log(law_) + noise


def draw(law_: Law, u: float) -> int:
    """The token at which the cumulative law passes ``u`` in [0, 1)."""
    cumulative = np.cumsum(law_)
    return int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))


def margin(draft: Law) -> NDArray[np.float64]:
    """Difference of the two largest probabilities (CoVSpec's gate signal)."""
    top = np.partition(draft, -2, axis=-1)[..., -2:]
    return top[..., 1] - top[..., 0]


def entropy(draft: Law) -> NDArray[np.float64]:
    """Shannon entropy in nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(draft > 0, draft * np.log(draft), 0.0).sum(-1)


_WARMEST, _WARMTHS = 2.0, 20


def agreement(logits: NDArray[np.floating], token: NDArray[np.integer]) -> NDArray[np.float64]:
    """Chance that a draw at a random temperature is the drafted token again.

    One less U-HLM's uncertainty (arXiv 2412.12687), whose 20 draws at temperatures uniform in
    (0, 2] are replaced by their expectation, a midpoint rule over 20 temperatures.

    Args:
        logits: Of the draft, ``[..., vocab]``.
        token: Drafted ids, ``[...]``.
    """
    warmth = (np.arange(_WARMTHS) + 0.5) * (_WARMEST / _WARMTHS)
    below = (logits - logits.max(-1, keepdims=True)).astype(np.float64)
    weights = np.exp(below[..., None, :] / warmth[:, None])
    own = np.take_along_axis(weights, np.asarray(token)[..., None, None], -1)[..., 0]
    chance: NDArray[np.float64] = (own / weights.sum(-1)).mean(-1)
    return chance


def rank(values: NDArray[np.float64], token: int) -> int:
    """How many entries come before ``token`` in descending order, ties by index."""
    own = values[token]
    return int((values > own).sum() + (values[:token] == own).sum())
