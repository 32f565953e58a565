"""A device that moves past base stations: path loss, shadowing and handovers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import Delayed, count_slots, shannon_bps
from covspec_core.links.processes import gauss_markov
from covspec_core.links.table import FloatArray, LinkTable
from covspec_core.rules import check_range


@dataclass(frozen=True)
class MobilityLink(Delayed):
    """A straight road past sites at equal distances, the nearest of which serves.

    The mean SNR follows the log-distance path loss, ``border_snr_db + 10 e log10(d_border / d)``
    (Rappaport, 2002, section 4.9), plus log-normal shadowing along the road with autocorrelation
    ``exp(-metres / decorrelation_m)`` (Gudmundson, 1991), up to ``peak_snr_db``. At each border
    between two cells the link carries nothing for ``handover_s``, in both directions.

    Each link draws its place on the road and its speed, uniformly.

    Attributes:
        bandwidth_hz: Bandwidth of the uplink.
        border_snr_db: Uplink SNR at the border between two cells, without shadowing.
        speed_mps: Lowest and highest speed of a device in m/s.
        site_m: Distance between sites along the road.
        offset_m: Distance between road and sites.
        exponent: Path loss exponent ``e``; 2 is free space.
        sigma_db: Standard deviation of the shadowing.
        decorrelation_m: Way over which the shadowing decorrelates.
        peak_snr_db: SNR above which the rate no longer grows.
        handover_s: Length of the gap at a border; 0 for none.
        down_scale: Downlink bandwidth over uplink bandwidth.
        down_snr_db: SNR of the downlink over that of the uplink, in dB.
        slot_s: Length of a slot; gaps count in proportion to the part of a slot they take.
    """

    bandwidth_hz: float
    border_snr_db: float
    speed_mps: tuple[float, float]
    site_m: float = field(default=500.0, kw_only=True)
    offset_m: float = field(default=50.0, kw_only=True)
    exponent: float = field(default=3.5, kw_only=True)
    sigma_db: float = field(default=6.0, kw_only=True)
    decorrelation_m: float = field(default=50.0, kw_only=True)
    peak_snr_db: float = field(default=30.0, kw_only=True)
    handover_s: float = field(default=0.05, kw_only=True)
    down_scale: float = field(default=1.0, kw_only=True)
    down_snr_db: float = field(default=0.0, kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "bandwidth_hz", "site_m", "offset_m", "decorrelation_m", "slot_s")
        self._check(">= 0", "handover_s", "down_scale")
        self._check("in [0, 10]", "exponent")
        self._check("in [0, 100]", "sigma_db")
        self._check("in [-200, 200]", "border_snr_db", "peak_snr_db", "down_snr_db")
        check_range(self, "speed_mps", "above 0")
        object.__setattr__(self, "speed_mps", tuple(self.speed_mps))  # YAML has lists only
        shortest_s = self.site_m / self.speed_mps[1]
        if self.handover_s >= shortest_s:
            raise InvalidSetting(
                f"handover_s must be below the time in a cell, {shortest_s:.3g} s, "
                f"got {self.handover_s!r}"
            )

    def realise(self, rng: np.random.Generator, n: int, duration_s: float) -> LinkTable:
        """Draw links, see :class:`~covspec_core.links.channels.Channel`."""
        slots = count_slots(n, duration_s, self.slot_s)
        speed_mps = rng.uniform(*self.speed_mps, size=n)
        start_m = rng.uniform(0, self.site_m, size=n)
        keep = np.exp(-self.slot_s * speed_mps / self.decorrelation_m)
        shadow_db = self.sigma_db * gauss_markov(rng.standard_normal((n, slots)), keep)
        border_s = self.slot_s * np.arange(slots + 1)
        road_m = start_m[:, None] + speed_mps[:, None] * border_s
        snr_db = self.mean_snr_db((road_m[:, 1:] + road_m[:, :-1]) / 2) + shadow_db
        gaps_s = np.diff(self._gaps_s(road_m, speed_mps))
        carried = np.clip(1 - gaps_s / self.slot_s, 0.0, 1.0)  # rounding may pass the ends
        up_bps = carried * self._rate_bps(snr_db, 1.0)
        down_bps = carried * self._rate_bps(snr_db + self.down_snr_db, self.down_scale)
        return LinkTable(self.slot_s, up_bps, down_bps, self.draw_rtt_s(rng, n, slots))

    def mean_snr_db(self, road_m: FloatArray) -> FloatArray:
        """Uplink SNR without shadowing at places along the road; sites stand at 0, site_m, ..."""
        away_m = (road_m + self.site_m / 2) % self.site_m - self.site_m / 2
        nearer = (self.offset_m**2 + self.site_m**2 / 4) / (self.offset_m**2 + away_m**2)
        return self.border_snr_db + 5 * self.exponent * np.log10(nearer)

    def _rate_bps(self, snr_db: FloatArray, scale: float) -> FloatArray:
        snr = 10 ** (np.minimum(snr_db, self.peak_snr_db) / 10)
        return shannon_bps(scale * self.bandwidth_hz, snr)

    def _gaps_s(self, road_m: FloatArray, speed_mps: FloatArray) -> FloatArray:
        """Time spent in gaps before each place on a road, ``[n, places]``; grows with it."""
        cell, inside = np.divmod(road_m / self.site_m + 0.5, 1.0)
        since_s = inside * self.site_m / speed_mps[:, None]
        return cell * self.handover_s + np.minimum(since_s, self.handover_s)
