"""Laws of the next token, and what keeps or redraws a drafted one. Pure functions on arrays.

``target`` and ``draft`` are laws: probabilities over the vocabulary, last axis. Sources: Leviathan
et al., arXiv 2211.17192 (accept and redraw); Daliri et al., arXiv 2408.07978 (shared noise).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidRequest

Law = NDArray[np.float64]


def law(logits: NDArray[np.floating], temperature: float) -> Law:
    """Next-token law; temperature 0 puts all mass on the largest logit (first one on a tie).

    Raises:
        InvalidRequest: If a logit is NaN or infinite, or the temperature negative.
    """
    if not np.isfinite(logits).all():
        raise InvalidRequest("logits must be finite, got NaN or infinity from the model")
    if not temperature >= 0:
        raise InvalidRequest(f"temperature must be >= 0, got {temperature}")
    if temperature == 0:
        greedy = np.zeros(logits.shape)
        np.put_along_axis(greedy, logits.argmax(-1, keepdims=True), 1.0, -1)
        return greedy
    below = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    weights = np.exp(below / temperature)
    return weights / weights.sum(-1, keepdims=True)


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
