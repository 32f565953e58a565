"""Figures of visual token reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection

CELL = 16
"""Pixels of one visual token in a panel."""
MOST_COLUMNS = 6
"""Reductions side by side; more of them begin another band below."""
VEIL, GREY = 0.22, 150.0
"""How much of a dropped token shows, and the level it fades to: no colour of its own."""

# Okabe and Ito's palette, safe for colour-blind readers. CoVSpec and its signals are solid, other
# published reductions dashed, controls grey and dotted.
STYLES: dict[str, tuple[str, str, str]] = {
    "covspec": ("#000000", "-", "o"),
    "relevance": ("#0072B2", "-", "^"),
    "activity": ("#56B4E9", "-", "v"),
    "cover": ("#009E73", "-", "s"),
    "divprune": ("#D55E00", "--", "D"),
    "visionzip": ("#E69F00", "--", "P"),
    "verifier_guided": ("#CC79A7", "--", "*"),
    "visionzip+merging": ("#8c564b", "--", "p"),
    "random": ("#777777", ":", "x"),
    "uniform": ("#777777", "--", "+"),
    "none": ("#999999", "-.", "1"),
}
SPARE = ("#7f3fbf", "#b5a000", "#c02060")
TITLES = {"test": "in distribution"}
SLOT, SPREAD = 0.08, 0.66
"""Room of one reduction, and of all at most, as shares of that between two keeps."""
LABEL_INCHES = 1.75
ROWS = {
    "acceptance": "acceptance, $\\sum\\min(p, q)$",
    "acceptance_over_random": "acceptance over random (paired)",
    "right": "draft alone right",
}
Point = Mapping[str, Any]
Curves = Mapping[str, Mapping[str, Sequence[Point]]]


def kept_side_by_side(
    image: Image.Image,
    orders: Mapping[str, NDArray[np.int64]],
    kept: Mapping[tuple[str, int], NDArray[np.int64]],
    question: str,
    path: Path,
) -> None:
    """What every reduction leaves of an image: one column a reduction, one row a keep, in bands.

    Args:
        image: As the models see it; it is drawn square.
        orders: Order of the visual tokens by reduction, ``[n_visual]`` each, a square grid.
        kept: What is left by reduction and number of tokens kept.
        question: What was asked.
        path: PNG to write.
    """
    side = round(len(next(iter(orders.values()))) ** 0.5)
    keeps = list(dict.fromkeys(keep for _, keep in kept))
    square = np.asarray(image.resize((side * CELL, side * CELL), Image.Resampling.LANCZOS))
    columns, band = min(MOST_COLUMNS, len(orders)), len(keeps) + 1
    rows = band * -(-len(orders) // columns)
    tight = ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.02, hspace=0.0, wspace=0.0)
    figure, panels = plt.subplots(
        rows, columns + 1, squeeze=False, layout=tight,
        figsize=(1.45 * (columns + 1) + 0.6, 1.5 * rows + 0.6),
    )  # fmt: skip
    for axes in panels.flat:
        axes.set_axis_off()
    panels[0, 0].imshow(square)
    panels[0, 0].set_title("image", fontsize=9)
    for number, (name, order) in enumerate(orders.items()):
        top, column = band * (number // columns), number % columns + 1
        drawn = _draw_ranks(panels[top, column], order, side)
        title = name.replace("_", " ").replace("+", " + ")
        panels[top, column].set_title(title, fontsize=9)
        for row, keep in enumerate(keeps, start=top + 1):
            draw_kept(panels[row, column], square, kept[name, keep], side)
    for top in range(0, rows, band):
        for row, keep in enumerate(keeps, start=top + 1):
            axes = panels[row, 0]
            axes.text(0.95, 0.5, f"{keep} kept\nof {side * side}", fontsize=9, ha="right",
                      va="center", transform=axes.transAxes)  # fmt: skip
    ends = [1, 10, side * side]
    bar = figure.colorbar(drawn, ax=panels[:, -1], fraction=0.06, aspect=30, ticks=ends)
    bar.set_label("place in the order (top row of a band)", fontsize=8)
    bar.ax.set_yticklabels(map(str, ends), fontsize=8)
    bar.ax.minorticks_off()
    figure.suptitle(f"“{question}”", fontsize=10)
    _save(figure, path)


def _draw_ranks(axes: Any, order: NDArray[np.int64], side: int) -> Any:
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    return axes.imshow(ranks.reshape(side, side), cmap="viridis_r",
                       norm=mpl.colors.LogNorm(1, len(order)))  # fmt: skip


def draw_kept(axes: Any, square: NDArray[np.uint8], kept: NDArray[np.int64], side: int) -> None:
    """Kept tokens as they are and outlined, the others faded to grey."""
    mask = np.isin(np.arange(side * side), kept).reshape(side, side)
    shown = np.kron(mask, np.ones((CELL, CELL)))[..., None]
    faint = GREY + VEIL * (square.astype(float) - GREY)
    axes.imshow((square * shown + faint * (1 - shown)).astype(np.uint8))
    edges = _edges(mask) * CELL - 0.5
    for colour, width in (("white", 1.6), ("black", 0.7)):
        axes.add_collection(LineCollection(list(edges), colors=colour, linewidths=width))


def _edges(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sides of cells between kept and dropped, in cells: ``[edges, 2, 2]``, (x, y) of both ends."""
    padded = np.pad(mask, 1)
    y, x = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([np.stack([x, y], 1), np.stack([x, y + 1], 1)], 1)
    y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    level = np.stack([np.stack([x, y], 1), np.stack([x + 1, y], 1)], 1)
    return np.concatenate([upright, level]).astype(np.float64)


def against_keep(curves: Curves, questions: int, path: Path) -> None:
    """Acceptance and right answers against visual tokens kept, with 95 % intervals.

    Args:
        curves: By split and reduction, as ``policies.reductions.summary`` gives them.
        questions: Of every split.
        path: PNG to write.
    """
    rows = {key: label for key, label in ROWS.items() if _known(curves, key)}
    width = max(6.0, 3.6 * len(curves))
    figure, panels = plt.subplots(
        len(rows), len(curves), figsize=(width, 2.7 * len(rows) + 1.0),
        layout="constrained", sharex=True, sharey="row", squeeze=False,
    )  # fmt: skip
    for column, (split, by_name) in enumerate(curves.items()):
        panels[0, column].set_title(TITLES.get(split, f"out of distribution: {split}"), fontsize=10)
        for row, key in enumerate(rows):
            _draw_curves(panels[row, column], by_name, key)
        panels[-1, column].set_xlabel("visual tokens kept")
    for row, label in enumerate(rows.values()):
        panels[row, 0].set_ylabel(label)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=int(width / LABEL_INCHES),
                  frameon=False)  # fmt: skip
    note = f"{questions} questions each; bars: 95 % intervals over questions"
    figure.suptitle(note, fontsize=9, color="0.35")
    _save(figure, path)


def _known(curves: Curves, key: str) -> bool:
    first = next(iter(curves.values()))
    return any(key in point for points in first.values() for point in points)


def _draw_curves(axes: Any, by_name: Mapping[str, Sequence[Point]], key: str) -> None:
    kept = [point["kept"] for point in next(iter(by_name.values()))]
    for i, (name, points) in enumerate(by_name.items()):
        if any(key in point for point in points):
            slot = ((i + 0.5) / len(by_name) - 0.5) * min(SPREAD, SLOT * len(by_name))
            _draw_curve(axes, name, i, points, key, slot)
    if key.endswith("over_random"):
        axes.axhline(0.0, color=STYLES["random"][0], ls=":", lw=1)
    axes.set_xticks(range(len(kept)), [*map(str, kept[:-1]), "all"])
    axes.grid(axis="y", lw=0.4, color="0.9")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(
    axes: Any, name: str, i: int, points: Sequence[Point], key: str, slot: float
) -> None:
    """One reduction, in a slot of its own except where none or all is kept."""
    colour, line, marker = STYLES.get(name, (SPARE[i % len(SPARE)], "-.", "h"))
    means = np.array([point[key]["mean"] for point in points])
    bounds = np.abs(np.array([point[key]["ci95"] for point in points]).T - means)
    places = np.arange(len(points)) + slot
    places[0], places[-1] = 0, len(points) - 1
    if i > 0:
        bounds[:, [0, -1]] = 0.0
    ours = name == "covspec"
    axes.errorbar(places, means, yerr=bounds, color=colour, ls=line, marker=marker, ms=4,
                  lw=2 if ours else 1, elinewidth=0.8, label=name.replace("_", " "),
                  zorder=3 if ours else 2)  # fmt: skip


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    plt.close(figure)
