"""The acceptance head's reliability as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from policies.figures import COLOURS, OURS
from policies.head_scores import AHEAD, BINS, RIVALS, Said, reliability
from policies.proper_scores import TRUTH

LOOKS = {
    "head": (OURS, "o", "-"),
    RIVALS[0]: (COLOURS[0], "s", "-"),
    RIVALS[1]: (COLOURS[3], "^", "--"),
}
"""Colour, mark and line of every predictor."""


def draw(said: Said, path: Path) -> None:
    """What is said against what is true, and below how often it is said, a column an ``n``."""
    figure, panels = plt.subplots(
        2, len(AHEAD), figsize=(3.1 * len(AHEAD), 4.8), height_ratios=(3, 1.2),
        sharex=True, sharey="row", layout="constrained",
    )  # fmt: skip
    for k, n in enumerate(AHEAD):
        above, below = panels[:, k]
        above.plot([0, 1], [0, 1], color="0.3", lw=0.8, ls="--")
        for name, look in LOOKS.items():
            _predictor(above, below, name, look, said[name][..., k], said[TRUTH][..., k])
        above.set_title("next token" if n == 1 else f"next {n} tokens", fontsize=10)
        above.set_aspect("equal")
        below.set_xlabel("chance said")
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("true chance that all stand")
    panels[1, 0].set_ylabel("positions")
    panels[1, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0, 0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _predictor(
    above: Any, below: Any, name: str, look: tuple[str, str, str], said: Any, true: Any
) -> None:
    (colour, mark, line), found = look, reliability(said, true)
    label = name if name == "head" else f"{name}, calibrated"
    above.plot(
        found["said"], found["true"], color=colour, marker=mark, ms=4, lw=1, ls=line, label=label
    )
    shares, edges = np.histogram(said, BINS, (0, 1))
    below.stairs(shares / shares.sum(), edges, color=colour, lw=1.2, ls=line)
