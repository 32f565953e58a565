"""Figures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt

from policies.judging import Scores, mean_interval
from policies.report import BASELINES, Judged, shown

COLOURS = ("#0072B2", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#999999", "#F0E442", "#000000")
OURS = "#D55E00"
"""Okabe and Ito's palette, safe for colour-blind readers; one of its colours is for learned."""


def speed_by_regime(judged: Judged, path: Path) -> None:
    """Bars of mean speed-up per regime and controller, with 95 % bootstrap intervals.

    Rules and learned controllers only, where there are any: the device alone, several times as
    fast and often wrong, would flatten the rest.
    """
    judged = {n: s for n, s in judged.items() if n not in BASELINES} or judged
    regimes = list(next(iter(judged.values())))
    width = 0.8 / len(judged)
    figure, axes = plt.subplots(figsize=(1.6 * len(regimes) + 2, 3.6), layout="constrained")
    for i, (name, scores) in enumerate(judged.items()):
        places = np.arange(len(regimes)) + (i - (len(judged) - 1) / 2) * width
        means, errors = _means([scores[regime] for regime in regimes])
        lossy = any(scores[regime].deviations.any() for regime in regimes)
        label = f"{shown(name).replace('_', ' ')}{' (lossy)' if lossy else ''}"
        axes.bar(places, means, width, yerr=errors, label=label, capsize=1.5,
                 color=OURS if name == "learned" else COLOURS[i % len(COLOURS)],
                 error_kw={"lw": 0.8}, hatch="///" if lossy else None, edgecolor="white",
                 linewidth=0)  # fmt: skip
    axes.axhline(1.0, color="0.3", lw=0.8, ls="--")
    axes.set_xticks(range(len(regimes)), [r.replace("_", " ") for r in regimes])
    axes.set_ylabel("speed over edge-only (virtual time)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=min(4, len(judged)), loc="upper center",
                bbox_to_anchor=(0.5, -0.1), frameon=False)  # fmt: skip
    _save(figure, path)


def _means(scores: Sequence[Scores]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    means = np.array([s.speedup.mean() for s in scores])
    bounds = np.array([mean_interval(s) for s in scores]).T
    return means, np.abs(bounds - means)


def learning_curve(
    history: Sequence[Mapping[str, float]], rivals: Mapping[str, float], path: Path
) -> None:
    """Validation speed-up over training rounds, beside the rules on the same sessions."""
    rows = [row for row in history if "validation_speedup" in row]
    figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    axes.plot([r["steps"] / 1e6 for r in rows], [r["validation_speedup"] for r in rows],
              color=OURS, label="learned, validation")  # fmt: skip
    shown = [r for r in history if "train_speedup" in r]
    axes.plot([r["steps"] / 1e6 for r in shown], [r["train_speedup"] for r in shown],
              color=COLOURS[5], lw=0.8, label="while exploring, training split")  # fmt: skip
    for i, (name, value) in enumerate(rivals.items(), start=1):
        axes.axhline(value, color=COLOURS[i], ls="--", lw=1, label=f"{name}, validation")
    axes.set_xlabel("training rounds, millions")
    axes.set_ylabel("speed over edge-only")
    axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def kept_tokens_over_image(
    image: Image.Image, order: NDArray[np.int64], keeps: Sequence[float], question: str, path: Path
) -> None:
    """The image, and what is left of it at several shares of visual tokens."""
    side = round(len(order) ** 0.5)
    square = image.resize((side * 32, side * 32), Image.Resampling.LANCZOS)
    figure, panels = plt.subplots(1, len(keeps) + 1, figsize=(2.2 * (len(keeps) + 1), 2.7),
                                  layout="constrained")  # fmt: skip
    panels[0].imshow(square)
    panels[0].set_title("image", fontsize=9)
    for axes, keep in zip(panels[1:], keeps, strict=True):
        mask = np.zeros(len(order), dtype=bool)
        mask[order[: round(keep * len(order))]] = True
        veil = np.kron(mask.reshape(side, side), np.ones((32, 32)))[..., None]
        shown = np.asarray(square) * veil + (255 - 0.12 * (255 - np.asarray(square))) * (1 - veil)
        axes.imshow(shown.astype(np.uint8))
        axes.set_title(f"{mask.sum()} of {len(order)} tokens", fontsize=9)
    for axes in panels:
        axes.set_axis_off()
    figure.suptitle(f"“{question}”", fontsize=9)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=160)
    plt.close(figure)
