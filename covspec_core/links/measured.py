"""Which measured networks are emulated, and their figures out of a file of statistics.

Only networks of the training split are: whoever trains on their emulation has seen nothing of
the networks that are kept for validation and test.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covspec_core.errors import BrokenTrace
from covspec_core.links.fitting import SLOT_S, RttTarget, Target
from covspec_core.links.statistics import RateStatistics

BPS, S = 1e6, 1e-3


@dataclass(frozen=True)
class Plan:
    """One emulated network.

    Attributes:
        title: First line of its file.
        source: Id of the source in the statistics.
        group: Technology and mobility, the whole source if empty.
        pair: Trace in which both directions were measured; empty if there is none.
        rtt_s: Round trips to assume where none were measured.
    """

    title: str
    source: str
    group: str = ""
    pair: str = ""
    rtt_s: tuple[float, float] = (0.0, 0.0)


_MIXED = "5G NSA / LTE / 3G mixed"
_CREDITS = {
    "mahimahi-tmobile": "Winstein, Sivaraman, Balakrishnan, NSDI 2013",
    "ucc-5g-ireland": "Raca, Leahy, Sreenan, Quinlan, MMSys 2020",
    "wifi-office": "Meng et al., SIGCOMM 2022",
}
PLANS = {
    "lte_driving": Plan(
        "LTE in a moving car", "mahimahi-tmobile", "4G LTE | driving",
        "mm-tmobile-lte-drive", (0.04, 0.07),
    ),
    "umts_driving": Plan(
        "UMTS in a moving car, with outages of seconds", "mahimahi-tmobile",
        "3G UMTS | driving", "mm-tmobile-umts-drive", (0.08, 0.2),
    ),
    "nr_driving": Plan("5G (NSA) with falls to LTE, driving", "ucc-5g-ireland",
                       f"{_MIXED} | driving"),
    "nr_static": Plan("5G (NSA) with falls to LTE, standing", "ucc-5g-ireland",
                      f"{_MIXED} | static"),
    "wifi_office": Plan("Wi-Fi in an office: steady, with dips", "wifi-office",
                        rtt_s=(0.01, 0.04)),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What is known of a network.

    Attributes:
        credit: Who measured it.
        down: Downlink.
        up: Uplink, ``None`` if it was not measured.
        correlation: Between both, on a grid of 1 s; ``None`` likewise.
        rtt: Round trips, ``None`` if they were not measured.
    """

    credit: str
    down: Target
    up: Target | None
    correlation: float | None
    rtt: RttTarget | None


def read_measured(path: str | Path, plan: Plan) -> Measured:
    """Figures of a network.

    Args:
        path: ``statistics.json`` of a folder of measured traces.
        plan: Which network.

    Raises:
        BrokenTrace: If the file is missing, is no file of statistics or lacks the network.
    """
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenTrace(f"{path} must be a file of statistics: {error}") from error
    try:
        source = known["sources"][plan.source]
        group = source["by_technology_and_mobility"][plan.group] if plan.group else source
        pair = source["uplink_downlink"][plan.pair] if plan.pair else None
        return Measured(
            credit=f"{plan.source}: {_CREDITS[plan.source]}",
            down=_target(group["downlink"]),
            up=_target(group["uplink"]) if pair else None,
            correlation=float(pair["correlation_1s"]) if pair else None,
            rtt=_round_trips(group["rtt"]) if "rtt" in group else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenTrace(f"{path}: has no statistics of {plan.source} ({error!r})") from error


def _target(seen: dict[str, Any]) -> Target:
    """Figures of one direction of a network."""
    model, log = seen["acf_model"], seen["log_ar1"]
    fine_s, acf, outages = _fine(seen)
    between, within = log["sd_between_traces"] ** 2, log["sd_within_trace"] ** 2
    leave = seen["gilbert_elliott"]["p_bad_to_good"]
    figures = RateStatistics(
        mean_bps=seen["mean_mbps"] * BPS,
        median_bps=seen["median_mbps"] * BPS,
        p5_bps=seen["p5_mbps"] * BPS,
        p95_bps=seen["p95_mbps"] * BPS,
        acf_slot=acf or (1 - model["nu"]) * math.exp(-SLOT_S / model["tau_s"]),
        acf_1s=seen["autocorrelation_1s"]["pooled"],
        outage_share=seen["outage_fraction"],
        # Not the mean run: unknown seconds cut runs short, but not this probability.
        outage_s=1 / leave if leave else 0.0,
        slot_outage_share=outages or 0.0,
    )
    shares = np.cumsum(seen["markov4_fixed"]["share"])[:3].tolist()
    length_s = seen["valid_s"] / seen["n_traces"]
    kept = between / (between + within)
    return Target(figures, tuple(shares), fine_s, acf is not None, length_s, kept)


def _fine(seen: dict[str, Any]) -> tuple[float, float | None, float | None]:
    """Step of the finest grid below 1 s; autocorrelation and outages there, if measured."""
    for step_s, name in ((0.1, "100ms"), (0.2, "200ms")):
        acf, chain = seen.get(f"autocorrelation_{name}"), seen.get(f"gilbert_elliott_{name}")
        if acf and chain:
            return step_s, acf["pooled"], chain["bad_share"]
    return SLOT_S, None, None


def _round_trips(seen: dict[str, Any]) -> RttTarget:
    quantiles = [seen[f"{name}_ms"] * S for name in ("p5", "median", "p95", "p99")]
    return RttTarget(*quantiles)
