"""Statistics of rates, as measured networks are described by: spread, memory, outages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.table import FloatArray

OUTAGE_BPS = 0.5e6
"""A second with a lower mean rate is an outage."""


@dataclass(frozen=True)
class RateStatistics:
    """One direction of many links; rates are means over 1 s unless said otherwise.

    Attributes:
        mean_bps: Mean.
        median_bps: Median.
        p5_bps: 5 % quantile.
        p95_bps: 95 % quantile.
        acf_slot: Autocorrelation between slots that follow each other, as they are.
        acf_1s: Autocorrelation at a lag of 1 s.
        outage_share: Share of seconds below ``OUTAGE_BPS``.
        outage_s: Mean length of a run of such seconds; 0 if there is none.
        slot_outage_share: Share of slots, as they are, below ``OUTAGE_BPS``.
    """

    mean_bps: float
    median_bps: float
    p5_bps: float
    p95_bps: float
    acf_slot: float
    acf_1s: float
    outage_share: float
    outage_s: float
    slot_outage_share: float


def rate_statistics(rate_bps: FloatArray, slot_s: float) -> RateStatistics:
    """Statistics of rates.

    Args:
        rate_bps: Rates in bit/s, one link per row, ``[n, slots]``.
        slot_s: Length of a slot: 1 s divided by a whole number.

    Raises:
        InvalidSetting: If a second is no whole number of slots, or rows are shorter than 2 s.
    """
    per_second = round(1 / slot_s)
    if per_second < 1 or abs(per_second * slot_s - 1) > 1e-6:
        raise InvalidSetting(f"slot_s must divide 1 s, got {slot_s!r}")
    if rate_bps.ndim != 2 or rate_bps.shape[1] < 2 * per_second:
        raise InvalidSetting(f"rates must be [n, slots] of 2 s or more, got {rate_bps.shape}")
    means = coarse(rate_bps, per_second)
    p5, median, p95 = np.quantile(means, (0.05, 0.5, 0.95))
    out = means < OUTAGE_BPS
    return RateStatistics(
        mean_bps=float(means.mean()),
        median_bps=float(median),
        p5_bps=float(p5),
        p95_bps=float(p95),
        acf_slot=autocorrelation(rate_bps, 1),
        acf_1s=autocorrelation(means, 1),
        outage_share=float(out.mean()),
        outage_s=float(out.sum() / max(_runs(out), 1)),
        slot_outage_share=float((rate_bps < OUTAGE_BPS).mean()),
    )


def coarse(rate_bps: FloatArray, parts: int) -> FloatArray:
    """Means over so many slots, ``[n, slots // parts]``; what is left at the end is dropped."""
    n, slots = rate_bps.shape
    cut = rate_bps[:, : slots // parts * parts]
    return cut.reshape(n, slots // parts, parts).mean(axis=2)


def autocorrelation(values: FloatArray, lag: int) -> float:
    """Autocorrelation inside rows, each centred on its own mean and pooled; 1 if none varies.

    Args:
        values: One series per row, ``[n, steps]``.
        lag: Steps, >= 1.
    """
    centred = values - values.mean(axis=1, keepdims=True)
    variance = (centred**2).mean()
    if variance == 0:
        return 1.0
    return float((centred[:, lag:] * centred[:, :-lag]).mean() / variance)


def _runs(flags: np.typing.NDArray[np.bool_]) -> int:
    """Runs of true flags in all rows."""
    before = np.pad(flags, ((0, 0), (1, 0)))[:, :-1]
    return int((flags & ~before).sum())
