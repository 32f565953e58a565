"""Checks and draws a trace of yours: ``python -m policies.trace FILE --plot trace.png``.

FILE is an ``.npz`` with arrays ``[rows, 5]``, a ``.csv`` with a header, or, given twice, uplink and
downlink in the format of mahimahi.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.links.pieces import Cutting, Piece
from covspec_core.links.statistics import rate_statistics
from covspec_core.links.traces import CsvLink, MahimahiLink, NpzLink
from env.presets import CHANNELS
from policies.trace_figure import draw_trace

SLOT_S = 0.1
AnyTrace = NpzLink | CsvLink | MahimahiLink
_KINDS = {".npz": "npz", ".csv": "csv"}


@clear_end("trace")
def main(arguments: list[str] | None = None) -> None:
    """Say what is in a trace."""
    args = _parser().parse_args(arguments)
    cutting = Cutting(args.fill, args.least)
    link = open_trace(args.files, args.hold, cutting)
    print("\n".join(described(link.pieces, cutting)))
    if args.plot:
        draw_trace(link.pieces, SLOT_S, args.plot)
        print(f"figure: {args.plot}")
    print("as a link of yours (a file in conf/link):\n" + "\n".join(as_yaml(link)))


def open_trace(files: Sequence[Path], hold_limit_s: float, cutting: Cutting) -> AnyTrace:
    """A link that replays a file, by its name, or a pair of mahimahi files.

    Raises:
        InvalidSetting: If the files do not fit together.
    """
    kind = _KINDS.get(files[0].suffix.lower())
    if len(files) != (1 if kind else 2):
        wanted = f"one {files[0].suffix} file" if kind else "uplink and downlink (mahimahi)"
        raise InvalidSetting(f"files must be {wanted}, got {[str(file) for file in files]}")
    if kind is None:
        return MahimahiLink(str(files[0]), str(files[1]))
    single = NpzLink if kind == "npz" else CsvLink
    return single(str(files[0]), hold_limit_s=hold_limit_s, cutting=cutting)


def described(pieces: Sequence[Piece], cutting: Cutting) -> list[str]:
    """One line for all pieces, one for each piece and direction."""
    whole_s = sum(piece.length_s for piece in pieces)
    lines = [f"{len(pieces)} pieces without unknown rates, {whole_s:.0f} s"]
    for piece in pieces:
        assumed = np.allclose(piece.up_bps, cutting.up_share * piece.down_bps)
        uplink = ", uplink assumed as a share of the downlink" if assumed else ""
        lines.append(f"{piece.name}: {piece.length_s:.0f} s{_round_trips(piece)}{uplink}")
        up, down, _ = piece.on_slots(SLOT_S)
        lines += [f"  {way}: {_figures(bps)}" for way, bps in (("up  ", up), ("down", down))]
    return lines


def _figures(bps: np.ndarray) -> str:
    if len(bps) * SLOT_S < 2 - 1e-9:
        return f"mean {bps.mean() / 1e6:.3g} Mbit/s, too short for more"
    seen = rate_statistics(bps[None], SLOT_S)
    return (
        f"median {seen.median_bps / 1e6:.3g} Mbit/s ({seen.p5_bps / 1e6:.3g} to "
        f"{seen.p95_bps / 1e6:.3g} in 90 % of the seconds), autocorrelation at 1 s "
        f"{seen.acf_1s:.2f}, below 0.5 Mbit/s {100 * seen.outage_share:.1f} % of the time, "
        f"{seen.outage_s:.1f} s at once"
    )


def _round_trips(piece: Piece) -> str:
    if np.isnan(piece.rtt_s).all():
        return ", round trips not measured"
    return f", round trips {np.nanmedian(piece.rtt_s) * 1e3:.3g} ms in the median"


def as_yaml(link: AnyTrace) -> list[str]:
    """Lines of a file of ``conf/link``: the link with all settings that it was checked with."""
    kind = next(name for name, made in CHANNELS.items() if made is type(link))
    values = {"kind": kind, **asdict(link), "rtt_s": list(link.rtt_s)}
    lines = yaml.safe_dump(values, sort_keys=False, default_flow_style=None).splitlines()
    return [f"  {line}" for line in lines]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the trace into this file")
    parser.add_argument("--hold", type=float, default=5.0, help="longest interval of a row, s")
    parser.add_argument("--fill", type=float, default=6.0, help="longest gap that is bridged, s")
    parser.add_argument("--least", type=float, default=30.0, help="shortest piece that is kept, s")
    return parser


if __name__ == "__main__":
    main()
