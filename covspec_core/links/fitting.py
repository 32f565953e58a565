"""Fits the laws of an emulated network to statistics of a measured one, by simulation.

The emulated links are drawn from equal seeds at every step, so that the figures change smoothly
with the parameters, and least squares find the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq, least_squares

from covspec_core.links.network import NetworkDraws, NetworkLink, NetworkRate
from covspec_core.links.statistics import RateStatistics, coarse, rate_statistics
from covspec_core.links.table import FloatArray

SLOT_S = 0.1
N_SLOTS = 200_000
"""Slots per draw, in all links together."""
LONGEST_S = 200.0
"""Longer links tell no more about short lags, and there would be fewer of them."""
STEPS = 8
"""Most steps of least squares: from each start, and once more from the better end."""
_ORIGIN, _STEP, _REACH = 10.0, 0.03, 2.5  # far from 0, so that relative steps are equal steps
_BOUNDS_BPS = (0.5e6, 5e6, 20e6)


@dataclass(frozen=True)
class Target:
    """What was measured in one direction.

    Attributes:
        figures: Statistics; ``acf_slot`` and ``slot_outage_share`` are on slots of ``fine_s``.
        shares: Shares of the seconds below 0.5, 5 and 20 Mbit/s.
        fine_s: Step of the finest figures.
        fine_known: Whether they were measured, or follow from a model of the coarse ones.
        duration_s: Length of a trace.
        kept_share: Share of the variance of the logarithm between traces.
    """

    figures: RateStatistics
    shares: tuple[float, float, float]
    fine_s: float
    fine_known: bool
    duration_s: float
    kept_share: float


@dataclass(frozen=True)
class RttTarget:
    """Quantiles of measured round trips."""

    p5_s: float
    median_s: float
    p95_s: float
    p99_s: float


_LOGS = ("median_bps", "sigma_low", "sigma_high", "slow_s", "dip_s", "dip_bps", "dip_sigma",
         "peak_bps")  # fmt: skip
_LOGITS = ("fast_share", "dip_share", "idle_share")


def emulated(rate: NetworkRate, target: Target) -> tuple[RateStatistics, FloatArray]:
    """Statistics of links with a law, as the target's are, and their shares below bounds."""
    length_s = min(target.duration_s, LONGEST_S)
    draws = _draws(max(8, round(N_SLOTS * SLOT_S / length_s)), round(length_s / SLOT_S))
    bps = np.concatenate([rate.realise(draws, way, SLOT_S) for way in (0, 1)])
    figures = rate_statistics(coarse(bps, round(target.fine_s / SLOT_S)), target.fine_s)
    seconds = coarse(bps, round(1 / SLOT_S))
    return figures, np.array([(seconds < bound).mean() for bound in _BOUNDS_BPS])


@lru_cache(maxsize=1)
def _draws(n: int, slots: int) -> NetworkDraws:
    """The same chances for every law; each link has one of opposite chances beside it."""
    return NetworkDraws(np.random.default_rng(0), n, slots, correlation=-1.0)


def fit_rate(target: Target) -> NetworkRate:
    """The law whose links have a target's figures, from the better of two starts."""
    ends = [_fit_from(start, target) for start in _starts(target)]
    return _fit_from(min(ends, key=lambda end: end[0])[1], target)[1]


def _fit_from(start: NetworkRate, target: Target) -> tuple[float, NetworkRate]:
    """Cost and law that least squares reach."""
    names = [n for n in (*_LOGS, *_LOGITS) if target.fine_known or n != "idle_share"]
    anchor = _free(start, names)

    def misses(moved: FloatArray) -> FloatArray:
        rate = _bound(start, names, anchor + moved - _ORIGIN)
        # The anchor decides only what the figures leave open.
        far = (moved - _ORIGIN) / 5
        return np.concatenate([_misses(target, *emulated(rate, target)), far])

    origin, reach = np.full(len(names), _ORIGIN), (_ORIGIN - _REACH, _ORIGIN + _REACH)
    best = least_squares(misses, origin, bounds=reach, diff_step=_STEP / _ORIGIN, max_nfev=STEPS)
    return float(best.cost), _bound(start, names, anchor + best.x - _ORIGIN)


def fit_correlation(link: NetworkLink, wanted: float, duration_s: float) -> float:
    """Correlation of the draws that gives rates of a correlation on a grid of 1 s."""

    def miss(correlation: float) -> float:
        return rate_correlation(replace(link, correlation=correlation), duration_s) - wanted

    low, high = 0.0, 0.98
    if miss(low) >= 0 or miss(high) <= 0:
        return low if miss(low) >= 0 else high
    return float(brentq(miss, low, high, xtol=0.005))


def rate_correlation(link: NetworkLink, duration_s: float) -> float:
    """Correlation between uplink and downlink on a grid of 1 s, inside links, pooled."""
    length_s = min(duration_s, LONGEST_S)
    n = max(8, round(N_SLOTS * SLOT_S / length_s))
    table = link.realise(np.random.default_rng(0), n, length_s)
    up, down = (coarse(bps, round(1 / SLOT_S)) for bps in (table.up_bps, table.down_bps))
    up, down = (rate - rate.mean(axis=1, keepdims=True) for rate in (up, down))
    return float((up * down).mean() / math.sqrt((up**2).mean() * (down**2).mean()))


def fit_round_trips(target: RttTarget) -> tuple[float, float, float, float]:
    """Least round trip, mean jitter, share and mean of spikes that give a target's quantiles."""
    rng = np.random.default_rng(0)
    jitter, spiked, spike = rng.exponential(size=N_SLOTS), rng.random(N_SLOTS), rng.random(N_SLOTS)
    wanted = np.log([target.p5_s, target.median_s, target.p95_s, target.p99_s])

    def misses(free: FloatArray) -> FloatArray:
        least_s, jitter_s, spike_s = np.exp(free[:3])
        spikes_s = (spiked < _logistic(free[3])) * spike_s * -np.log1p(-spike)
        rtt_s = least_s + jitter_s * jitter + spikes_s
        return np.log(np.quantile(rtt_s, (0.05, 0.5, 0.95, 0.99))) - wanted

    start = np.log([target.p5_s, target.median_s - target.p5_s, target.p95_s, 0.1])
    best = least_squares(misses, start, diff_step=0.01).x
    least_s, jitter_s, spike_s = np.exp(best[:3])
    return float(least_s), float(jitter_s), _logistic(best[3]), float(spike_s)


def _starts(target: Target) -> tuple[NetworkRate, NetworkRate]:
    """Laws near the target: few deep dips below a wide body, or more dips below a narrow one."""
    seen = target.figures
    low = math.log(seen.median_bps / seen.p5_bps) / 1.6449
    wide = NetworkRate(
        median_bps=seen.median_bps,
        sigma_low=low if seen.outage_share < 0.05 else 0.5,
        sigma_high=math.log(seen.p95_bps / seen.median_bps) / 1.6449,
        slow_s=5.0,
        kept_share=target.kept_share,
        fast_share=0.05,
        dip_share=min(max(1.5 * seen.outage_share, 0.01), 0.4),
        dip_s=max(seen.outage_s, 1.0),
        dip_bps=0.15e6,
        dip_sigma=1.0,
        idle_share=max(seen.slot_outage_share - seen.outage_share, 1e-3),
        peak_bps=1.5 * seen.p95_bps,
    )
    if not target.fine_known:
        wide = replace(wide, idle_share=0.0)
    dips = {"dip_share": 0.08 + wide.dip_share, "dip_s": 2 * wide.dip_s, "dip_sigma": 1.5}
    narrow = replace(wide, sigma_low=0.2, dip_bps=0.7 * seen.p5_bps, **dips)
    return wide, replace(narrow, peak_bps=1.02 * seen.p95_bps)


def _misses(target: Target, given: RateStatistics, shares: FloatArray) -> FloatArray:
    """Differences between emulated and measured figures, over what may be missed, ``[misses]``."""
    wanted = target.figures
    quantiles = [
        math.log(max(getattr(given, name), 1.0) / getattr(wanted, name)) / tolerance
        for name, tolerance in _QUANTILES
    ]
    memory = [
        (given.acf_slot - wanted.acf_slot) / (0.01 if target.fine_known else 0.03),
        (given.acf_1s - wanted.acf_1s) / 0.01,
    ]
    outages = [(given.outage_share - wanted.outage_share) / 0.004]
    if target.fine_known:
        outages.append((given.slot_outage_share - wanted.slot_outage_share) / 0.01)
    if wanted.outage_s:
        outages.append(math.log(max(given.outage_s, 0.1) / wanted.outage_s) / 0.05)
    return np.array([*quantiles, *memory, *outages, *((shares - target.shares) / 0.03)])


_QUANTILES = (("median_bps", 0.03), ("p5_bps", 0.06), ("p95_bps", 0.03), ("mean_bps", 0.05))


def _free(rate: NetworkRate, names: list[str]) -> FloatArray:
    """Fields as numbers that may take any value; the fast share is one of what is not kept."""
    loose = replace(rate, fast_share=rate.fast_share / (1 - rate.kept_share))
    return np.array([_ENDS[n in _LOGITS][0](getattr(loose, n)) for n in names])


def _bound(rate: NetworkRate, names: list[str], free: FloatArray) -> NetworkRate:
    """A law from such numbers."""
    values = {n: _ENDS[n in _LOGITS][1](float(x)) for n, x in zip(names, free, strict=True)}
    values["fast_share"] *= 1 - rate.kept_share
    return replace(rate, **values)


def _logit(share: float) -> float:
    share = min(max(share, 1e-9), 1 - 1e-9)
    return math.log(share / (1 - share))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -30.0), 30.0)))


def _exp(value: float) -> float:
    return math.exp(min(max(value, -30.0), 30.0))


_ENDS: dict[bool, tuple[Callable[[float], float], Callable[[float], float]]] = {
    False: (math.log, _exp),
    True: (_logit, _logistic),
}
