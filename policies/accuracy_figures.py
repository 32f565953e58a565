"""Figures of right answers: against speed, and by kind of question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator, PercentFormatter

from policies.accuracy_report import ALL, SEEN, UNSEEN

COLOURS = ("#000000", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#8B4513")
MARKERS = "sDo^vPX*"
"""Okabe and Ito's palette, brown for its yellow, and a shape for each family."""
TITLES = {
    SEEN: "in distribution",
    UNSEEN: "out of distribution, all sets",
    ALL: "all sets",
}
COLUMNS = 2
TICKS = (0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
LABEL_PIXELS = 14.0
"""Distance to the next labelled point, down or across."""


def tradeoff(report: Mapping[str, Any], groups: Sequence[str], path: Path) -> None:
    """Right answers against speed over edge-only, a panel a group, with 95 % intervals.

    Args:
        report: As ``policies.accuracy_report.summary`` gives it.
        groups: Sets, or sets taken together.
        path: PNG to write.
    """
    systems = report["systems"]
    columns, rows = min(COLUMNS, len(groups)), -(-len(groups) // COLUMNS)
    families = list(dict.fromkeys(s["family"] for s in systems.values()))
    figure, panels = plt.subplots(
        rows, columns, figsize=(4.6 * columns, 3.5 * rows + 0.8),
        layout="constrained", squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    for axes in panels.flat[len(groups) :]:
        axes.set_visible(False)
    for axes, group in zip(panels.flat, groups, strict=False):
        _draw_frontier(axes, systems, report["frontier"][group], group)
        for number, family in enumerate(families):
            own = [s for s in systems.values() if s["family"] == family]
            _draw_family(axes, family, own, group, number)
        axes.set_xscale("log")
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelbottom=True, labelleft=True, labelsize=9)
        axes.set_ylim(-0.03, 1.06)
        axes.set_title(TITLES.get(group, f"out of distribution: {group}"), fontsize=10)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(lw=0.4, color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("speed over edge-only (virtual time)")
    for axes in panels[:, 0]:
        axes.set_ylabel("right answers")
    figure.draw_without_rendering()
    for axes, group in zip(panels.flat, groups, strict=False):
        _label_thresholds(axes, systems, families, group)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    note = (
        f"{report['questions_of_every_set']} questions of every set, of lossless systems' speeds "
        f"{report['questions_of_lossless_speeds']}; 95 % intervals; numbers: threshold of the gate"
    )
    figure.suptitle(note, fontsize=8, color="0.35")
    _save(figure, path)


def _draw_frontier(axes: Any, systems: Mapping[str, Any], names: Sequence[str], group: str) -> None:
    """Steps below which every system is beaten by another one."""
    x, y = (
        [systems[name]["sets"][group][key]["mean"] for name in names]
        for key in ("speedup", "right")
    )
    axes.step(x, y, where="pre", color="0.8", lw=5, solid_capstyle="round", zorder=0,
              label="frontier")  # fmt: skip


def _draw_family(
    axes: Any, family: str, own: Sequence[Mapping[str, Any]], group: str, number: int
) -> None:
    points = [s["sets"][group] for s in own]
    x, y = (np.array([p[key]["mean"] for p in points]) for key in ("speedup", "right"))
    errors = [
        np.abs(np.array([p[key]["ci95"] for p in points]).T - means)
        for key, means in (("speedup", x), ("right", y))
    ]
    label = f"{family.replace('_', ' ')}{' (lossless)' if own[0]['lossless'] else ''}"
    colour = _colour(number)
    axes.errorbar(x, y, xerr=errors[0], yerr=errors[1], color=colour, lw=1.2, elinewidth=0.7,
                  marker=MARKERS[number % len(MARKERS)], ms=4.5,
                  label=label)  # fmt: skip


def _label_thresholds(
    axes: Any, systems: Mapping[str, Any], families: Sequence[str], group: str
) -> None:
    """The threshold beside every point that leaves room for it; in view once all is drawn."""
    taken: list[Any] = []
    for system in systems.values():
        if system["threshold"] is None:
            continue
        stated = system["sets"][group]
        place = stated["speedup"]["mean"], stated["right"]["mean"]
        seen = axes.transData.transform(place)
        if all(np.abs(seen - other).max() >= LABEL_PIXELS for other in taken):
            taken.append(seen)
            axes.annotate(f"{system['threshold']:g}", place, xytext=(5, 3), fontsize=7,
                          textcoords="offset points",
                          color=_colour(families.index(system["family"])))  # fmt: skip


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def by_kind(report: Mapping[str, Any], group: str, shown: Sequence[str], path: Path) -> None:
    """Right answers by kind of question with Wilson's 95 % intervals.

    Args:
        report: As ``policies.accuracy_report.summary`` gives it.
        group: A set, or sets taken together.
        shown: Systems.
        path: PNG to write.
    """
    kinds = list(next(iter(report["systems"].values()))["sets"][group]["kinds"])
    places = np.arange(len(kinds))
    figure, axes = plt.subplots(figsize=(9.0, 3.2), layout="constrained")
    for number, name in enumerate(shown):
        stated = report["systems"][name]["sets"][group]["kinds"]
        means = np.array([stated[kind]["mean"] for kind in kinds])
        bounds = np.array([stated[kind]["ci95"] for kind in kinds]).T
        slot = 0.7 * ((number + 0.5) / len(shown) - 0.5)
        axes.errorbar(places + slot, means, yerr=np.abs(bounds - means), ls="none", ms=4.5,
                      color=_colour(number), marker=MARKERS[number % len(MARKERS)],
                      elinewidth=0.9, label=name.replace("_", " "))  # fmt: skip
    for edge in places[1:] - 0.5:
        axes.axvline(edge, color="0.92", lw=0.8, zorder=0)
    axes.set_xticks(places, kinds)
    axes.set_xlim(-0.5, len(kinds) - 0.5)
    axes.set_ylabel("right answers")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)
    axes.set_title(f"{TITLES.get(group, group)}; 95 % intervals", fontsize=8, color="0.35")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    plt.close(figure)
