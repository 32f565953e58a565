"""Fading and shadowing of the signal-to-noise ratio, used at capacity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from covspec_core.links.channels import Delayed, count_slots, shannon_bps
from covspec_core.links.processes import gauss_markov, twins
from covspec_core.links.table import FloatArray, LinkTable


@dataclass(frozen=True)
class RicianLink(Delayed):
    """Rician block fading: a steady path beside scattered ones, drawn anew in each block.

    The SNR is ``g |sqrt(K/(K+1)) + sqrt(1/(K+1)) h|^2`` with ``h`` complex normal of unit power,
    independent between blocks (Rice, 1944; Tse and Viswanath, 2005, section 2.4.2). Its mean is
    ``g``, its variance ``g^2 (2K + 1) / (K + 1)^2``; ``K = 0`` is Rayleigh fading.

    Attributes:
        bandwidth_hz: Bandwidth of the uplink.
        mean_snr_db: Mean SNR ``g``, as a ratio in dB.
        k_db: Power of the steady path over that of all others, ``K`` in dB.
        coherence_s: Length of a block, and of a slot of the table.
        shared_fade: Uplink and downlink see the same fade (time division), or each its own.
        down_scale: Downlink bandwidth over uplink bandwidth.
        down_snr_db: Mean SNR of the downlink over that of the uplink, in dB.
    """

    bandwidth_hz: float
    mean_snr_db: float
    k_db: float
    coherence_s: float
    shared_fade: bool = field(default=True, kw_only=True)
    down_scale: float = field(default=1.0, kw_only=True)
    down_snr_db: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "bandwidth_hz", "coherence_s")
        self._check(">= 0", "down_scale")
        self._check("in [-200, 200]", "mean_snr_db", "k_db", "down_snr_db")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slots = count_slots(n, duration_s, self.coherence_s)
        up_gain = self._draw_gain(rng, n, slots)
        down_gain = up_gain if self.shared_fade else self._draw_gain(rng, n, slots)
        up_bps = shannon_bps(self.bandwidth_hz, _ratio(self.mean_snr_db) * up_gain)
        down_snr = _ratio(self.mean_snr_db + self.down_snr_db) * down_gain
        down_bps = shannon_bps(self.down_scale * self.bandwidth_hz, down_snr)
        rtt_s = self.draw_rtt_s(rng, n, slots)
        return LinkTable(self.coherence_s, up_bps, down_bps, rtt_s)

    def _draw_gain(self, rng: np.random.Generator, n: int, slots: int) -> FloatArray:
        """Power gains with mean 1, ``[n, slots]``."""
        k = _ratio(self.k_db)
        real, imaginary = rng.standard_normal((2, n, slots)) * math.sqrt(0.5 / (k + 1))
        return (real + math.sqrt(k / (k + 1))) ** 2 + imaginary**2


@dataclass(frozen=True)
class ShadowedLink(Delayed):
    """Log-normal shadowing with a slow and a fast part: the SNR in dB is Gauss-Markov.

    The slow part has autocorrelation ``exp(-lag / slow_s)`` (Gudmundson, Electronics Letters
    27(23), 1991), the fast one is independent between slots. Together the SNR in dB has standard
    deviation ``sigma_db`` and autocorrelation ``(1 - fast_share) exp(-lag / slow_s)``.

    Attributes:
        bandwidth_hz: Bandwidth of the uplink.
        median_snr_db: Median SNR of the uplink.
        sigma_db: Standard deviation of the SNR in dB.
        slow_s: Decorrelation time of the slow part.
        fast_share: Share of the variance (in dB) that the fast part has.
        correlation: Correlation between the shadows of uplink and downlink; 1 is one shadow.
        down_scale: Downlink bandwidth over uplink bandwidth.
        down_snr_db: Median SNR of the downlink over that of the uplink, in dB.
        slot_s: Length of a slot.
    """

    bandwidth_hz: float
    median_snr_db: float
    sigma_db: float
    slow_s: float
    fast_share: float = field(default=0.0, kw_only=True)
    correlation: float = field(default=1.0, kw_only=True)
    down_scale: float = field(default=1.0, kw_only=True)
    down_snr_db: float = field(default=0.0, kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "bandwidth_hz", "slow_s", "slot_s")
        self._check(">= 0", "down_scale")
        self._check("in [0, 100]", "sigma_db")
        self._check("in [0, 1]", "fast_share")
        self._check("in [-1, 1]", "correlation")
        self._check("in [-200, 200]", "median_snr_db", "down_snr_db")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slots = count_slots(n, duration_s, self.slot_s)
        up_db, down_db = self._draw_shadows_db(rng, n, slots)
        up_bps = shannon_bps(self.bandwidth_hz, _ratio(self.median_snr_db + up_db))
        down_snr = _ratio(self.median_snr_db + self.down_snr_db + down_db)
        down_bps = shannon_bps(self.down_scale * self.bandwidth_hz, down_snr)
        return LinkTable(self.slot_s, up_bps, down_bps, self.draw_rtt_s(rng, n, slots))

    def _draw_shadows_db(
        self, rng: np.random.Generator, n: int, slots: int
    ) -> tuple[FloatArray, FloatArray]:
        """Deviations of the SNR from its median, up and down, ``[n, slots]`` each."""
        slow = twins(rng, (n, slots), self.correlation)
        fast = twins(rng, (n, slots), self.correlation)
        keep = math.exp(-self.slot_s / self.slow_s)
        weight, rest = math.sqrt(self.fast_share), math.sqrt(1 - self.fast_share)
        up_db, down_db = (
            self.sigma_db * (rest * gauss_markov(noise, keep) + weight * quick)
            for noise, quick in zip(slow, fast, strict=True)
        )
        return up_db, down_db


def _ratio(snr_db: FloatArray | float) -> FloatArray | float:
    return 10.0 ** (snr_db / 10.0)
