"""Emulated networks: rates with the spread, the memory and the dips of measured ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import Delayed, count_slots
from covspec_core.links.processes import gauss_markov, redrawn, twins
from covspec_core.links.table import FloatArray, LinkTable
from covspec_core.rules import check


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRate:
    """Law of the rate in one direction.

    Outside dips the rate is two-piece log-normal: ``median_bps exp(s z)`` with ``s = sigma_low``
    where ``z < 0`` and ``s = sigma_high`` elsewhere. ``z`` is standard normal with a part that a
    link keeps, a slow Gauss-Markov one and a fast one, independent between slots. In a dip the
    rate is ``dip_bps exp(dip_sigma z)``: a two-state model with log-normal states as in
    Lutz et al., IEEE Trans. Veh. Technol. 40(2), 1991. Dips come and go as the bad state of
    :class:`~covspec_core.links.channels.GilbertElliottLink` does.

    Attributes:
        median_bps: Median outside dips.
        sigma_low: Spread of the natural logarithm below the median.
        sigma_high: The same above the median.
        kept_share: Share of the variance of ``z`` in which links differ for good.
        fast_share: Share of the variance of ``z`` that is new in each slot.
        slow_s: Decorrelation time of the rest.
        dip_share: Share of the time in dips.
        dip_s: Mean length of a dip.
        dip_bps: Median rate in a dip.
        dip_sigma: Spread of the natural logarithm in a dip.
        idle_share: Share of the slots, besides, in which nothing is carried, at random.
        peak_bps: The rate is never higher.
    """

    median_bps: float
    sigma_low: float
    sigma_high: float
    slow_s: float
    kept_share: float = 0.0
    fast_share: float = 0.0
    dip_share: float = 0.0
    dip_s: float = 1.0
    dip_bps: float = 0.0
    dip_sigma: float = 0.0
    idle_share: float = 0.0
    peak_bps: float = 1e12

    def __post_init__(self) -> None:
        check(self, "above 0", "median_bps", "slow_s", "dip_s", "peak_bps")
        check(self, ">= 0", "dip_bps")
        check(self, "in [0, 10]", "sigma_low", "sigma_high", "dip_sigma")
        check(self, "in [0, 1)", "kept_share", "fast_share", "dip_share", "idle_share")
        if self.kept_share + self.fast_share > 1:
            total = self.kept_share + self.fast_share
            raise InvalidSetting(f"kept_share + fast_share must be <= 1, got {total:.6g}")

    def rates_bps(self, normal: FloatArray, dip: NDArray[np.bool_]) -> FloatArray:
        """Rates in bit/s from ``z`` and from where dips are, ``[n, slots]`` each."""
        sigma = np.where(normal < 0, self.sigma_low, self.sigma_high)
        good_bps = self.median_bps * np.exp(sigma * normal)
        bps = np.where(dip, self.dip_bps * np.exp(self.dip_sigma * normal), good_bps)
        return np.minimum(bps, self.peak_bps)

    def realise(self, draws: NetworkDraws, way: int, slot_s: float) -> FloatArray:
        """Rates in bit/s out of the draws for one direction, ``[n, slots]``."""
        normal = self._mixed(draws.noise[way], draws.fast[way], slot_s)
        dip = self._dips(draws.clock, draws.below[way], slot_s)
        bps = self.rates_bps(normal, dip)
        return np.where(draws.idle[way] < self.idle_share, 0.0, bps) if self.idle_share else bps

    def _mixed(self, noise: FloatArray, fast: FloatArray, slot_s: float) -> FloatArray:
        """``z`` out of independent standard normals, ``[n, 1 + slots]`` and ``[n, slots]``."""
        slow = gauss_markov(noise[:, 1:], math.exp(-slot_s / self.slow_s))
        slow_share = max(1 - self.kept_share - self.fast_share, 0.0)
        kept = math.sqrt(self.kept_share) * noise[:, :1]
        return kept + math.sqrt(slow_share) * slow + math.sqrt(self.fast_share) * fast

    def _dips(self, clock: FloatArray, below: FloatArray, slot_s: float) -> NDArray[np.bool_]:
        """Where dips are, out of uniform and of normal draws, ``[n, slots]`` each."""
        if self.dip_share == 0:
            return np.zeros(clock.shape, dtype=bool)
        # As for Gilbert-Elliott: at this rate the state is drawn anew from its stationary law.
        forget_hz = 1 / (self.dip_s * (1 - self.dip_share))
        latest = redrawn(clock < -math.expm1(-forget_hz * slot_s))
        bad = below < NormalDist().inv_cdf(self.dip_share)
        return np.take_along_axis(bad, latest, axis=1)


class NetworkDraws:
    """What chance decides in both directions of ``n`` links: laws turn it into rates.

    Attributes:
        noise: Normals of the kept part and, behind it, of the slow one, ``[n, 1 + slots]``, in
            each direction.
        fast: Normals of the fast part, ``[n, slots]``, in each direction.
        below: Normals that decide whether a state is a dip, likewise.
        clock: Uniform draws that decide when states change, in both directions.
        idle: Uniform draws that decide which slots are idle, ``[2, n, slots]``.
    """

    def __init__(self, rng: np.random.Generator, n: int, slots: int, correlation: float) -> None:
        self.noise = twins(rng, (n, 1 + slots), correlation)
        self.fast = twins(rng, (n, slots), correlation)
        self.below = twins(rng, (n, slots), correlation)
        self.clock, self.idle = rng.random((n, slots)), rng.random((2, n, slots))


@dataclass(frozen=True)
class NetworkLink(Delayed):
    """A network with its own law in each direction, fitted to measurements by a command.

    ``python -m covspec_core.links.fit statistics.json`` makes the files ``conf/link/lte_driving``
    and the like.

    Attributes:
        up: Law of the uplink.
        down: Law of the downlink.
        correlation: Correlation between the normal draws of both directions.
        spike_share: Share of the slots in which a round trip has a spike.
        spike_s: Mean of the exponential delay in a spike.
        slot_s: Length of a slot.
    """

    up: NetworkRate
    down: NetworkRate
    correlation: float = field(default=0.0, kw_only=True)
    spike_share: float = field(default=0.0, kw_only=True)
    spike_s: float = field(default=0.0, kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("up", "down"):
            if not isinstance(getattr(self, name), NetworkRate):
                raise InvalidSetting(f"{name} must be a NetworkRate, got {getattr(self, name)!r}")
        self._check("in [-1, 1]", "correlation")
        self._check("in [0, 1]", "spike_share")
        self._check(">= 0", "spike_s")
        self._check("above 0", "slot_s")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slots = count_slots(n, duration_s, self.slot_s)
        draws = NetworkDraws(rng, n, slots, self.correlation)
        up_bps, down_bps = (
            law.realise(draws, way, self.slot_s) for way, law in enumerate((self.up, self.down))
        )
        return LinkTable(self.slot_s, up_bps, down_bps, self.draw_rtt_s(rng, n, slots))

    def draw_rtt_s(self, rng: np.random.Generator, n: int, slots: int) -> FloatArray:
        """Round trips with spikes, ``[n, slots]``."""
        rtt_s = super().draw_rtt_s(rng, n, slots)
        if self.spike_share and self.spike_s:
            spikes = rng.random((n, slots)) < self.spike_share
            rtt_s += spikes * rng.exponential(self.spike_s, size=(n, slots))
        return rtt_s
