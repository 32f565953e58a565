"""A drawn stream of long answers: margins and acceptances without any model behind them.

The paper's tables come from a pair that cannot be run here, and state only sums over 1,024 forced
tokens. So this stream says what such a pair could have looked like position by position, with as
few constants as the sums can tell apart, and hands it over as a recording: whatever replays
recordings plays it.

Every position has a *difficulty* ``d``, standard normal and independent of its neighbours'. A
draft's token is refused there with log-odds ``offset + SPREAD * d``; pruning visual tokens raises
the offset. The draft feels difficulty through a noise of its own: its margin has log-odds
``SLOPE * (place - clarity * d' - sqrt(1 - clarity^2) * e)``, in which ``d'`` is the difficulty as
pruning has changed it. Who feels clearly (``clarity`` near 1) is hardly ever confidently wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtri, xlogy

from covspec_core.acceptance import GRID, standing
from covspec_core.errors import InvalidSetting
from covspec_core.randomness import streams
from covspec_core.recording import DRAWN_COLUMNS, FAR, FORMAT, SPLITS, Recording
from covspec_core.rounds import Floats
from covspec_core.source import STATISTICS
from covspec_core.verification import agreement

SPREAD: Final = 6.0
"""Of the log-odds of a refusal over positions: most tokens are decided. The sums tell little about
it (fits with 4 to 7 are as good), so it is chosen."""
SLOPE: Final = 2.0
"""Spread of a margin's log-odds. Only which margins reach a threshold counts, so it is chosen."""
"""Place of a bonus token beyond all candidates."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
_REACH: Final = 100.0
_BINS: Final = 64


@dataclass(frozen=True, slots=True)
class StreamConstants:
    """What the stream is drawn from.

    Attributes:
        acceptance: Mean chance that a drafted token stands, all visual tokens seen.
        pruned: The same with the paper's 64 of 768.
        clarity: Correlation of the draft's margin with the difficulty.
        sure: Share of margins of at least one half, pruned.
        candidate: Chance that the next candidate of a branch is the bonus token.
    """

    acceptance: float
    pruned: float
    clarity: float
    sure: float
    candidate: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < 1:
                raise InvalidSetting(f"stream.{field.name} must lie in (0, 1), got {value}")


@dataclass(frozen=True, slots=True)
class StreamSize:
    """How much is drawn.

    Attributes:
        requests: Answers of each split.
        tokens: Of each answer, forced.
    """

    requests: int
    tokens: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                value = getattr(self, field.name)
                raise InvalidSetting(f"stream.{field.name} must be >= 1, got {value}")


def offset_of(acceptance: float) -> float:
    """Log-odds of a refusal at difficulty 0 that give a mean acceptance over all positions."""

    def excess(offset: float) -> float:
        refused = expit(offset + SPREAD * _NODES) @ _WEIGHTS / _WEIGHTS.sum()
        return float(refused - (1 - acceptance))

    return float(brentq(excess, -_REACH, _REACH))


def draw_stream(
    constants: StreamConstants,
    losses: Mapping[float, float],
    size: StreamSize,
    split: str,
    seed: int,
) -> Recording:
    """Draw the answers of one split as a recording.

    Equal seeds draw from equal noise, so that recordings of other constants differ by these alone.

    Args:
        constants: Of the stream.
        losses: Keep levels, ascending, each with what pruning costs there, as a share of what
            it costs with 64 of 768 tokens.
        size: How much to draw.
        split: ``train``, ``validation`` or ``test``: they share no noise.
        seed: Of the noise.
    """
    noise = _Noise.of(seed, split, size)
    full = offset_of(constants.acceptance)
    cost = offset_of(constants.pruned) - full
    loss = np.array(list(losses.values()))[:, None, None]
    overlap = expit(-(full + loss * cost + SPREAD * noise.difficulty))
    changed = noise.difficulty + (loss - 1) * cost / SPREAD
    felt = constants.clarity * changed + np.sqrt(1 - constants.clarity**2) * noise.margin
    margin = expit(SLOPE * (ndtri(constants.sure) - felt))
    rank = np.log(noise.rank) / np.log1p(-constants.candidate)
    return _recording(tuple(losses), split, overlap, margin, rank, noise)


@dataclass(frozen=True, slots=True, eq=False)
class _Noise:
    """Noise of a split, ``[requests, tokens]`` each: normal, normal, uniform, uniform."""

    difficulty: Floats
    margin: Floats
    draw: Floats
    rank: Floats

    @staticmethod
    @lru_cache(maxsize=2)
    def of(seed: int, split: str, size: StreamSize) -> _Noise:
        """Drawn once for all constants that are tried on it."""
        if split not in SPLITS:
            raise InvalidSetting(f"split must be one of {SPLITS}, got {split!r}")
        names = [f"{s}_{f.name}" for s in SPLITS for f in fields(_Noise)]
        rngs, shape = streams(seed, *names), (size.requests, size.tokens)
        return _Noise(
            rngs[f"{split}_difficulty"].normal(size=shape),
            rngs[f"{split}_margin"].normal(size=shape),
            rngs[f"{split}_draw"].random(shape),
            1.0 - rngs[f"{split}_rank"].random(shape),
        )


def _recording(
    keeps: tuple[float, ...],
    split: str,
    overlap: Floats,
    margin: Floats,
    rank: Floats,
    noise: _Noise,
) -> Recording:
    """Facts of ``[L, R, T]`` as columns.

    The laws are of one shape: the draft's is the target's, scaled down by their overlap, with the
    rest of its mass on tokens that the target never writes. Then a token stands with the overlap
    as its chance, under independent draws and under shared noise alike.
    """
    levels, requests, tokens = overlap.shape
    n = requests * tokens
    flat = (levels, n)
    places = np.minimum(rank, FAR).astype(np.uint8).reshape(n)
    stands, sure, alike = (noise.draw < overlap), margin.reshape(flat), overlap.reshape(flat)
    chances = np.stack([_foreseen(*pair, tokens) for pair in zip(sure, alike, strict=True)])
    return Recording(
        meta={"format": FORMAT, "keep_levels": keeps, "limit": tokens, "pair": "stream"},
        questions=np.full(requests, ""),
        length=np.full(requests, tokens, dtype=np.int32),
        key=np.arange(requests, dtype=np.uint64),
        split=np.full(requests, SPLITS.index(split), dtype=np.uint8),
        image_bytes=np.zeros(requests, dtype=np.int32),
        statistics=np.zeros((requests, len(STATISTICS)), dtype=np.float32),
        scene=np.full(requests, -1),
        tokens=np.zeros(n, dtype=np.uint32),
        p=np.ones(n, dtype=np.float32),
        q=alike.astype(np.float32),
        margin=sure.astype(np.float16),
        entropy=_entropy(sure).astype(np.float16),
        overlap=alike.astype(np.float16),
        draw=(~stands).astype(np.uint32).reshape(flat),
        rank=np.broadcast_to(places, flat),
        rank_shared=np.broadcast_to(places, flat),
        chances=chances,
        **dict.fromkeys(DRAWN_COLUMNS, _of_drawn(chances)),
        agreement=_agreement(sure).astype(np.float16),
    )


def _entropy(margin: Floats) -> Floats:
    """Entropy in nats of a law on two tokens with this margin."""
    first, second = (1 + margin) / 2, (1 - margin) / 2
    entropy: Floats = -(xlogy(first, first) + xlogy(second, second))
    return entropy


def _agreement(margin: Floats) -> Floats:
    """Chance that a law on two tokens repeats the likelier one at a random temperature."""
    grid = np.linspace(0.0, 1.0 - 1e-6, 2001)
    logits = np.stack([np.log1p(grid), np.log1p(-grid)], axis=-1)
    chances: Floats = np.interp(margin, grid, agreement(logits, np.zeros(len(grid), np.int64)))
    return chances


def _foreseen(margin: Floats, overlap: Floats, tokens: int) -> Any:
    """What the margin at a position tells about the next tokens: means over like margins.

    It stands for an acceptance head that reads the margin alone; it never sees what comes.

    Returns:
        Chances that the next ``n`` of ``CHANCES`` stand, in steps of ``1 / GRID``, shape
        ``[N, len(CHANCES)]``.
    """
    edges = np.quantile(margin, np.linspace(0, 1, _BINS + 1)[1:-1])
    like = np.searchsorted(edges, margin)
    stand = standing(overlap, np.full(len(margin) // tokens, tokens))
    counts = np.maximum(np.bincount(like, minlength=_BINS), 1)
    sums = [np.bincount(like, column, _BINS) for column in stand.T]
    return np.rint((np.stack(sums, axis=1) / counts[:, None])[like] * GRID).astype(np.uint8)


def _of_drawn(chances: Any) -> Any:
    """What the same head says of drawn tokens, no more than before: it reads margins alone.

    Returns:
        As ``acceptance.DRAWN`` names it, in steps of ``1 / GRID``, shape ``[L, N, 2]``.
    """
    first, second = np.moveaxis(chances[..., :2].astype(np.float64), -1, 0)
    follows = np.divide(second * GRID, first, out=np.zeros_like(first), where=first > 0)
    return np.stack([first, np.minimum(np.rint(follows), GRID)], axis=-1).astype(np.uint8)
