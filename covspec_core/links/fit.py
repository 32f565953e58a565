"""Fits the emulated networks: ``python -m covspec_core.links.fit TRACES/statistics.json``.

Writes one file of the group ``conf/link`` for each of them, with the figures to compare.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.links.fitting import (
    SLOT_S,
    Target,
    emulated,
    fit_correlation,
    fit_rate,
    fit_round_trips,
)
from covspec_core.links.measured import PLANS, Measured, Plan, read_measured
from covspec_core.links.network import NetworkLink, NetworkRate
from covspec_core.links.statistics import RateStatistics

UP_SHARE, UP_CORRELATION = 0.5, 0.3
"""For networks whose uplink was not measured: between those of the networks where it was."""
_BPS = ("median_bps", "dip_bps", "peak_bps")
_WHOLE = ("rtt_s", "jitter_s", "spike_share", "spike_s", "correlation", "slot_s")


@clear_end("fit")
def main(arguments: list[str] | None = None) -> None:
    """Fit the chosen networks."""
    args = _parser().parse_args(arguments)
    for name in args.only or PLANS:
        fit(name, args.statistics, args.out)


def fit(name: str, statistics: Path, out: Path) -> Path:
    """Fit one network and write its file.

    Raises:
        InvalidSetting: If the name is unknown.
        BrokenTrace: If the statistics cannot be read.
    """
    if name not in PLANS:
        raise InvalidSetting(f"network must be one of {sorted(PLANS)}, got {name!r}")
    measured = read_measured(statistics, PLANS[name])
    link = fit_link(PLANS[name], measured)
    path = out / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_yaml(PLANS[name], measured, link), encoding="utf-8")
    print(f"{path}\n" + "\n".join(_table(measured, link)), flush=True)
    return path


def fit_link(plan: Plan, measured: Measured) -> NetworkLink:
    """The emulated network, its numbers rounded as they are written."""
    down = _rounded(fit_rate(measured.down))
    up = _rounded(fit_rate(measured.up) if measured.up else _share_of(down))
    link = NetworkLink(up, down, slot_s=SLOT_S, correlation=UP_CORRELATION, rtt_s=plan.rtt_s)
    if measured.rtt:
        least_s, jitter_s, share, spike_s = map(_round, fit_round_trips(measured.rtt))
        link = replace(
            link, rtt_s=(least_s, least_s), jitter_s=jitter_s, spike_share=share, spike_s=spike_s
        )
    if measured.correlation is None:
        return link
    correlation = fit_correlation(link, measured.correlation, measured.down.duration_s)
    return replace(link, correlation=round(correlation, 3))


def as_yaml(plan: Plan, measured: Measured, link: NetworkLink) -> str:
    """The file of a network."""
    known = "both ways" if measured.up else "downlink alone; the uplink is assumed"
    lines = [
        f"# {plan.title}. Measured {known}",
        f"# ({measured.credit});",
        "# fitted by python -m covspec_core.links.fit. Measured ~ emulated, over 1 s or as said:",
        *(f"# {line}" for line in _table(measured, link)),
        *([] if measured.rtt else ["# Round trips are assumed, not measured."]),
        "kind: network",
        *(_line(name, getattr(link, name)) for name in _WHOLE),
    ]
    for way in ("up", "down"):
        rate: NetworkRate = getattr(link, way)
        lines += [f"{way}:", *(f"  {_line(n, getattr(rate, n))}" for n in rate.__slots__)]
    return "\n".join(lines) + "\n"


def _table(measured: Measured, link: NetworkLink) -> list[str]:
    """Measured and emulated figures, one line each."""
    lines = []
    for way, target in (("up", measured.up), ("down", measured.down)):
        if target is not None:
            given, _ = emulated(getattr(link, way), target)
            lines += [f"{way}: {line}" for line in _compared(target, given)]
    return lines


def _compared(target: Target, given: RateStatistics) -> list[str]:
    pairs = [
        (name.removesuffix("_bps"), getattr(target.figures, name) / 1e6, getattr(given, name) / 1e6)
        for name in ("mean_bps", "median_bps", "p5_bps", "p95_bps")
    ]
    fine = f"acf {target.fine_s:.1f} s" + ("" if target.fine_known else " (from a model)")
    pairs += [
        (name, getattr(target.figures, key), getattr(given, key))
        for name, key in (
            (fine, "acf_slot"), ("acf 1 s", "acf_1s"),
            ("outage share", "outage_share"), ("outage s", "outage_s"),
        )
    ]  # fmt: skip
    words = [f"{name} {seen:.3g} ~ {shown:.3g}" for name, seen, shown in pairs]
    return [", ".join(words[:4]) + " Mbit/s", ", ".join(words[4:])]


def _share_of(down: NetworkRate) -> NetworkRate:
    return replace(down, **{name: UP_SHARE * getattr(down, name) for name in _BPS})


def _rounded(rate: NetworkRate) -> NetworkRate:
    return replace(rate, **{name: _round(getattr(rate, name)) for name in rate.__slots__})


def _round(value: float) -> float:
    """To four digits, so that a file stays readable."""
    return float(f"{value:.4g}")


def _line(name: str, value: float | tuple[float, ...]) -> str:
    """One setting; megabits as in the other files, ``30.0e+6``."""
    if isinstance(value, tuple):
        return f"{name}: [{', '.join(f'{end:.6g}' for end in value)}]"
    if name in _BPS:
        return f"{name}: {_decimal(value / 1e6)}e+6"
    return f"{name}: {_decimal(value)}"


def _decimal(value: float) -> str:
    """Without exponent and with a point: YAML 1.1 reads everything else as text."""
    text = f"{value:.8f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("statistics", type=Path, help="statistics.json of a folder of traces")
    parser.add_argument("--out", type=Path, default=Path("conf/link"), help="folder of the files")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(PLANS)}")
    return parser


if __name__ == "__main__":
    main()
