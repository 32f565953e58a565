"""Measures over training seeds and sessions, as Agarwal et al. have them (arXiv 2108.13264).

A controller's scores are an array ``[seeds, regimes, sessions]``; a rule has one seed. What the
paper calls a run is a training seed here, and its tasks are sessions. Intervals are 95 % percentile
bootstraps: seeds are drawn anew, the same in all regimes as one network plays them all, and numbers
of sessions, the same in all regimes and for all controllers. A number decides requests, noise and
the draws of link and hardware in every regime (:func:`policies.judging.judge`), so that what it has
of luck is common to them; with sessions drawn in each regime apart (as strata, like their tasks)
that luck would average out, and intervals over regimes would be too narrow. Written here rather
than taken from their ``rliable``, which draws neither of the two levels so.

A session draws its requests with replacement from those of a split, so intervals speak of the
speed on these requests. To speak of all that might be asked they would have to be wider, at most
``sqrt(1 + draws / requests)`` times: by two thirds for 1,024 draws from 600 requests. The same
holds of links: sessions draw from ``link_rows`` realisations of each, and from measured traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import trim_mean

from covspec_core.rounds import Floats, Ints

TRIM = 0.25
"""Share of the scores that an interquartile mean leaves out at either end."""
RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Draws:
    """How often every seed and session is in each resample.

    Attributes:
        seeds: Shape ``[B, N]``.
        sessions: Shape ``[B, S]``, the same in every regime.
    """

    seeds: Ints
    sessions: Ints

    @staticmethod
    def of(
        seeds: int, sessions: int, seed: int, resamples: int = RESAMPLES, whose: int = 0
    ) -> Draws:
        """Draw with replacement.

        Args:
            seeds: Training seeds; a single one is always drawn.
            sessions: Sessions of every regime.
            seed: Of the draws; sessions do not depend on the number of seeds.
            resamples: How many.
            whose: Number of the controller whose seeds they are; others are drawn for another.
        """

        def counts(n: int, part: int) -> Ints:
            rng = np.random.default_rng([seed, part])
            return rng.multinomial(n, np.full(n, 1 / n), resamples)

        return Draws(counts(seeds, 1 + whose), counts(sessions, 0))

    def means(self, scores: Floats) -> Floats:
        """Mean of an array ``[N, R, S]`` in every resample, shape ``[B]``."""
        each = scores.mean(1)
        total: Floats = ((self.seeds @ each) * self.sessions).sum(1)
        return total / each.size

    def trimmed_means(self, scores: Floats) -> Floats:
        """Interquartile mean of an array ``[N, R, S]`` in every resample, shape ``[B]``."""
        order = np.argsort(scores, axis=None, kind="stable")
        seed, _, session = np.unravel_index(order, scores.shape)
        ranked = scores.ravel()[order]
        cut = int(TRIM * scores.size)
        found = np.empty(len(self.seeds))
        for i, (seeds, sessions) in enumerate(zip(self.seeds, self.sessions, strict=True)):
            ends = np.cumsum(seeds[seed] * sessions[session])
            inside = np.clip(ends, cut, scores.size - cut)
            found[i] = np.diff(inside, prepend=cut) @ ranked / (scores.size - 2 * cut)
        return found


def interval(values: Floats) -> list[float]:
    """Middle 95 % of the resamples."""
    return [float(bound) for bound in np.percentile(values, (2.5, 97.5))]


def interquartile_mean(scores: Floats) -> float:
    """Mean of the middle half of all scores, seeds, regimes and sessions pooled."""
    return float(trim_mean(scores, TRIM, axis=None))


def summary(scores: Floats, draws: Draws) -> dict[str, Any]:
    """Mean and interquartile mean with their intervals."""
    return {
        "mean": float(scores.mean()),
        "mean_ci95": interval(draws.means(scores)),
        "iqm": interquartile_mean(scores),
        "iqm_ci95": interval(draws.trimmed_means(scores)),
    }


def improvement(ours: Floats, theirs: Floats, draws: Draws) -> dict[str, Any]:
    """Chance that a seed of ours is faster in a session; ties count half (their equation 5).

    Args:
        ours: Scores ``[N, R, S]``.
        theirs: Scores ``[1, R, S]`` of the same sessions.
        draws: Resamples of ours.
    """
    close = np.isclose(ours, theirs, rtol=1e-9, atol=0.0)
    better = np.where(close, 0.5, ours > theirs)
    return {"probability": float(better.mean()), "ci95": interval(draws.means(better))}


def gain(ours: Floats, theirs: Floats, draws: Draws, drawn: Draws | None = None) -> dict[str, Any]:
    """Gain in mean score over another controller on the same sessions, in percent.

    Args:
        ours: Scores ``[N, R, S]``.
        theirs: Scores ``[M, R, S]`` of the same sessions.
        draws: Resamples of ours.
        drawn: Resamples of theirs, with the same draws of sessions; of its one seed if ``None``.
    """
    if drawn is None:
        drawn = Draws(np.ones((len(draws.seeds), 1), dtype=np.int64), draws.sessions)
    ratios = draws.means(ours) / drawn.means(theirs) - 1
    point = float(ours.mean() / theirs.mean() - 1)
    return {"gain_percent": 100 * point, "ci95": interval(100 * ratios)}


def shares_closed(ours: Floats, theirs: Floats, oracle: Floats) -> Floats:
    """Share of the way from a rule's mean score to an oracle's, NaN where there is no way.

    Args:
        ours: Mean scores of a controller, shape ``[...]``.
        theirs: Those of the rule: a share of 0.
        oracle: Those of the oracle: a share of 1.
    """
    way = np.asarray(oracle - theirs)
    return np.divide(ours - theirs, way, out=np.full(way.shape, np.nan), where=way > 0)


def gap_closed(ours: Floats, theirs: Floats, oracle: Floats, draws: Draws) -> dict[str, Any]:
    """:func:`shares_closed` of mean scores; ``None`` if there is no way, resampled or not.

    Args:
        ours: Scores ``[N, R, S]``.
        theirs: Scores ``[1, R, S]`` of the rule on the same sessions.
        oracle: Scores ``[1, R, S]`` of the bound.
        draws: Resamples of ours.
    """
    one = Draws(np.ones((len(draws.seeds), 1), dtype=np.int64), draws.sessions)
    point = shares_closed(ours.mean(), theirs.mean(), oracle.mean())
    drawn = shares_closed(draws.means(ours), one.means(theirs), one.means(oracle))
    if np.isnan(point) or np.isnan(drawn).any():
        return {"gap_closed": None, "ci95": None}
    return {"gap_closed": float(point), "ci95": interval(drawn)}


def profile(scores: Floats, levels: Floats, draws: Draws) -> dict[str, Any]:
    """Share of seeds and sessions above every level (their score distribution), with a band."""
    above = [(scores > level).astype(float) for level in levels]
    bands = [interval(draws.means(share)) for share in above]
    return {
        "share": [float(share.mean()) for share in above],
        "low": [low for low, _ in bands],
        "high": [high for _, high in bands],
    }
