"""Models of the radio link: each draws many independent realisations as a ``LinkTable``.

All classes are settings and hold no random state. Their rates come first from the generator,
the round trips last, so that equal seeds give equal fades under every delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.table import FloatArray, LinkTable
from covspec_core.rules import check


class Channel(Protocol):
    """Anything that can draw links."""

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw ``n`` independent links that last ``duration_s`` or a little more, then repeat.

        Raises:
            InvalidSetting: If ``n`` is below 1, or ``duration_s`` is not finite and above 0.
        """


def shannon_bps(bandwidth_hz: float, snr: FloatArray | float) -> FloatArray:
    """Capacity ``B log2(1 + SNR)`` in bit/s (Shannon, 1948); ``snr`` is a ratio, not in dB."""
    return bandwidth_hz * np.log2(1.0 + np.asarray(snr, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class Delayed:
    """Base of the channels: the round trip of an empty link.

    Attributes:
        rtt_s: Lowest and highest round-trip delay; each link draws its own, uniformly.
        jitter_s: Mean of an exponential delay added anew in each slot; 0 for none.
    """

    rtt_s: tuple[float, float] = (0.018, 0.018)
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        pair = isinstance(self.rtt_s, tuple | list) and len(self.rtt_s) == 2
        if not (pair and all(isinstance(end, int | float) for end in self.rtt_s)):
            raise InvalidSetting(f"rtt_s must be two numbers, got {self.rtt_s!r}")
        object.__setattr__(self, "rtt_s", tuple(self.rtt_s))  # YAML has lists only
        if not 0 <= self.rtt_s[0] <= self.rtt_s[1] < math.inf:
            raise InvalidSetting(f"rtt_s must have 0 <= low <= high < inf, got {self.rtt_s!r}")
        self._check(">= 0", "jitter_s")

    def _check(self, rule: str, *names: str) -> None:
        """Refuse fields that are no finite numbers or break a rule."""
        check(self, rule, *names)

    def draw_rtt_s(self, rng: np.random.Generator, n: int, slots: int) -> FloatArray:
        """Round trips, ``[n, slots]``."""
        low_s, high_s = self.rtt_s
        rtt_s = np.repeat(rng.uniform(low_s, high_s, size=(n, 1)), slots, axis=1)
        if self.jitter_s:
            rtt_s += rng.exponential(self.jitter_s, size=(n, slots))
        return rtt_s


@dataclass(frozen=True)
class ConstantLink(Delayed):
    """Rates that never change.

    Attributes:
        up_bps: Rate from device to edge.
        down_bps: Rate from edge to device.
        slot_s: How often the jitter is drawn.
    """

    up_bps: float
    down_bps: float
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(">= 0", "up_bps", "down_bps")
        self._check("above 0", "slot_s")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`Channel`."""
        # Without jitter one slot says it all, and nearly every transfer ends inside its slot.
        slot_s = self.slot_s if self.jitter_s else duration_s
        slots = count_slots(n, duration_s, slot_s)
        up_bps, down_bps = np.full((n, slots), self.up_bps), np.full((n, slots), self.down_bps)
        return LinkTable(slot_s, up_bps, down_bps, self.draw_rtt_s(rng, n, slots))


@dataclass(frozen=True)
class AwgnLink(Delayed):
    """White Gaussian noise at a fixed SNR, used at capacity: 5 MHz and 10 dB are 17.297 Mbit/s.

    Attributes:
        bandwidth_hz: Bandwidth of the uplink.
        snr_db: Signal-to-noise ratio.
        down_scale: Downlink rate over uplink rate.
        slot_s: How often the jitter is drawn.
    """

    bandwidth_hz: float
    snr_db: float
    down_scale: float = field(default=1.0, kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "bandwidth_hz", "slot_s")
        self._check(">= 0", "down_scale")
        self._check("in [-200, 200]", "snr_db")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`Channel`; only the round trips are random."""
        up_bps = float(shannon_bps(self.bandwidth_hz, 10 ** (self.snr_db / 10)))
        link = ConstantLink(
            up_bps,
            self.down_scale * up_bps,
            slot_s=self.slot_s,
            rtt_s=self.rtt_s,
            jitter_s=self.jitter_s,
        )
        return link.realise(rng, n, duration_s)


@dataclass(frozen=True)
class RayleighLink(Delayed):
    """Rayleigh block fading: each coherence block draws a new SNR, used at capacity.

    The SNR is exponential with mean ``g = 10^(mean_snr_db / 10)``, independent between blocks
    (Ozarow, Shamai, Wyner, 1994; Tse and Viswanath, 2005, chapter 5). The mean rate is
    ``B exp(1/g) E1(1/g) / ln 2``, and a block lies below rate ``r`` with probability
    ``1 - exp(-(2^(r/B) - 1) / g)``.

    Attributes:
        bandwidth_hz: Bandwidth of the uplink.
        mean_snr_db: Mean SNR, as a ratio in dB.
        coherence_s: Length of a block, and of a slot of the table.
        shared_fade: Uplink and downlink see the same fade (time division), or each its own.
        down_scale: Downlink bandwidth over uplink bandwidth.
    """

    bandwidth_hz: float
    mean_snr_db: float
    coherence_s: float
    shared_fade: bool = field(default=True, kw_only=True)
    down_scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "bandwidth_hz", "coherence_s")
        self._check(">= 0", "down_scale")
        self._check("in [-200, 200]", "mean_snr_db")

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`Channel`."""
        slots = count_slots(n, duration_s, self.coherence_s)
        up_bps = self._draw_bps(rng, n, slots)
        down_bps = up_bps if self.shared_fade else self._draw_bps(rng, n, slots)
        rtt_s = self.draw_rtt_s(rng, n, slots)
        return LinkTable(self.coherence_s, up_bps, self.down_scale * down_bps, rtt_s)

    def _draw_bps(self, rng: np.random.Generator, n: int, slots: int) -> FloatArray:
        snr = rng.exponential(10 ** (self.mean_snr_db / 10), size=(n, slots))
        return shannon_bps(self.bandwidth_hz, snr)


@dataclass(frozen=True)
class GilbertElliottLink(Delayed):
    """A link that changes between a good and a bad rate (Gilbert, 1960; Elliott, 1963).

    The state is a Markov process in continuous time with exponential sojourns, started in its
    stationary law and seen at the start of each slot. It is bad for a share
    ``b = mean_bad_s / (mean_good_s + mean_bad_s)`` of the time, and its autocorrelation is
    ``exp(-lag (1/mean_good_s + 1/mean_bad_s))``. Runs of bad slots are geometric; their mean,
    ``slot_s / ((1 - b) (1 - exp(-slot_s (1/mean_good_s + 1/mean_bad_s))))``, exceeds
    ``mean_bad_s`` a little, since visits between two slot starts are not seen.

    Attributes:
        good_bps: Uplink rate in the good state.
        bad_bps: Uplink rate in the bad state; 0 is an outage.
        mean_good_s: Mean sojourn in the good state.
        mean_bad_s: Mean sojourn in the bad state.
        down_scale: Downlink rate over uplink rate; both directions share the state.
        slot_s: Length of a slot.
    """

    good_bps: float
    bad_bps: float
    mean_good_s: float
    mean_bad_s: float
    down_scale: float = field(default=1.0, kw_only=True)
    slot_s: float = field(default=0.05, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "good_bps", "mean_good_s", "mean_bad_s", "slot_s")
        self._check(">= 0", "bad_bps", "down_scale")
        if self.bad_bps > self.good_bps:
            raise InvalidSetting(
                f"bad_bps must be <= good_bps = {self.good_bps!r}, got {self.bad_bps!r}"
            )

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`Channel`."""
        slots = count_slots(n, duration_s, self.slot_s)
        # A two-state process forgets: at this rate it redraws its state from the stationary law.
        forget_hz = 1 / self.mean_good_s + 1 / self.mean_bad_s
        redrawn = rng.random((n, slots)) < -math.expm1(-forget_hz * self.slot_s)
        drawn_bad = rng.random((n, slots)) * (self.mean_good_s + self.mean_bad_s) < self.mean_bad_s
        latest = np.maximum.accumulate(np.where(redrawn, np.arange(slots), 0), axis=1)
        bad = np.take_along_axis(drawn_bad, latest, axis=1)
        up_bps = np.where(bad, self.bad_bps, self.good_bps)
        rtt_s = self.draw_rtt_s(rng, n, slots)
        return LinkTable(self.slot_s, up_bps, self.down_scale * up_bps, rtt_s)


def count_slots(n: int, duration_s: float, slot_s: float) -> int:
    """Slots that cover a duration, at least one.

    Raises:
        InvalidSetting: If ``n`` is below 1, or ``duration_s`` is not finite and above 0.
    """
    if n < 1:
        raise InvalidSetting(f"n must be >= 1, got {n!r}")
    if not 0 < duration_s < math.inf:
        raise InvalidSetting(f"duration_s must be finite and above 0, got {duration_s!r}")
    return max(1, math.ceil(duration_s / slot_s - 1e-9))  # 0.3 s are three slots of 0.1 s
