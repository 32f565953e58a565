"""A measured trace as a picture: rates and round trips over time, and how often which rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from covspec_core.errors import InvalidSetting
from covspec_core.links.pieces import Piece
from policies.figures import COLOURS

SHOWN = 6
"""Pieces in a figure, the longest ones."""


def draw_trace(pieces: Sequence[Piece], slot_s: float, path: Path) -> None:
    """Draw the longest pieces of a trace, one row each.

    Raises:
        InvalidSetting: If Matplotlib knows no such format of a picture.
    """
    longest = sorted(pieces, key=lambda piece: -piece.length_s)[:SHOWN]
    size = (9, 2.2 * len(longest) + 0.6)
    figure, rows = plt.subplots(len(longest), 2, figsize=size, width_ratios=(3, 1),
                                squeeze=False, layout="constrained")  # fmt: skip
    for (over_time, how_often), piece in zip(rows, longest, strict=True):
        _draw_piece(over_time, how_often, piece, slot_s)
    rows[0, 0].legend(fontsize=8, frameon=False, ncols=3)
    try:
        figure.savefig(path, dpi=160)
    except ValueError as error:
        raise InvalidSetting(f"plot must name a picture, got {str(path)!r} ({error})") from error
    finally:
        plt.close(figure)


def _draw_piece(over_time: Any, how_often: Any, piece: Piece, slot_s: float) -> None:
    *rates, rtt_s = piece.on_slots(slot_s)
    time_s = slot_s * np.arange(len(rtt_s))
    for way, bps, colour in zip(("up", "down"), rates, COLOURS, strict=False):
        over_time.plot(time_s, bps / 1e6, color=colour, lw=0.7, label=way)
        how_often.plot(np.sort(bps) / 1e6, np.linspace(0, 1, len(bps)), color=colour)
    if not np.isnan(rtt_s).all():
        trips = over_time.twinx()
        trips.plot(time_s, rtt_s * 1e3, color=COLOURS[2], lw=0.5)
        trips.set_ylabel("round trip, ms", color=COLOURS[2], fontsize=8)
    over_time.set_title(piece.name, fontsize=7)
    over_time.set_xlabel("s")
    over_time.set_ylabel("Mbit/s")
    how_often.set_xlabel("Mbit/s")
    how_often.set_ylabel("share of slots below")
