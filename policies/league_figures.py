"""Figures of a league."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from policies.figures import COLOURS, OURS
from policies.league_page import best_rival, by_speed, lossy
from policies.league_report import RULE
from policies.report import ALL, BASELINES

Report = Mapping[str, Any]
PANELS = 4
"""Panels side by side."""
STYLES = ("-", "--", "-.", ":")


def draw_all(report: Report, folder: Path) -> list[str]:
    """Every figure that a report has something for; their names."""
    speed_by_regime(report, folder / "league_speed.png")
    drawn = ["league_speed.png"]
    if report["learned"]:
        improvement(report, folder / "league_improvement.png")
        drawn.append("league_improvement.png")
    profiles(report, folder / "league_profiles.png")
    drawn.append("league_profiles.png")
    if gap_closed(report, folder / "league_gap.png"):
        drawn.append("league_gap.png")
    if report["sensitivity"]:
        sensitivity(report, folder / "league_sensitivity.png")
        drawn.append("league_sensitivity.png")
    return drawn


def speed_by_regime(report: Report, path: Path) -> None:
    """Mean speed-up with intervals, a panel a regime, the fastest over all regimes on top."""
    names = [name for name in by_speed(report) if name not in BASELINES][::-1]
    regimes = list(report["controllers"][names[0]])
    columns = min(PANELS, len(regimes))
    rows = -(-len(regimes) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2.6 * columns + 1.6, rows * (0.21 * len(names) + 0.8)),
        layout="constrained", squeeze=False, sharey=True,
    )  # fmt: skip
    for axes in panels.flat[len(regimes) :]:
        axes.set_visible(False)
    for axes, regime in zip(panels.flat, regimes, strict=False):
        for place, name in enumerate(names):
            own = report["controllers"][name][regime]
            _point(axes, own["speedup"], own["speedup_ci95"], place, *_look(report, name))
        axes.axvline(1.0, color="0.3", lw=0.8, ls="--")
        axes.set_title(_words(regime), fontsize=10)
        axes.tick_params(labelsize=9)
        _clean(axes)
    panels[0, 0].set_yticks(range(len(names)), [_label(report, name) for name in names])
    figure.supxlabel("speed over edge-only (virtual time)", fontsize=10)
    _save(figure, path)


def _point(
    axes: Axes, value: float, bounds: list[float], place: float, colour: str, filled: bool
) -> None:
    axes.plot(bounds, [place, place], color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot(value, place, "o", ms=4.5, color=colour, mfc=colour if filled else "white")


def _look(report: Report, name: str) -> tuple[str, bool]:
    """Colour, and whether the mark is filled: it is hollow for those that may deviate."""
    return OURS if name in report["learned"] else COLOURS[0], not lossy(report, name)


def improvement(report: Report, path: Path) -> None:
    """Chance that a training seed is faster than a rival in a session, over all regimes."""
    rivals = [n for n in by_speed(report) if n not in report["learned"]][::-1]
    figure, axes = plt.subplots(figsize=(5.6, 0.26 * len(rivals) + 1.0), layout="constrained")
    for number, ours in enumerate(report["learned"]):
        colour = OURS if number == 0 else COLOURS[number % len(COLOURS)]
        shift = 0.2 * (number - (len(report["learned"]) - 1) / 2)
        for place, rival in enumerate(rivals):
            own = report["comparisons"][f"{ours}_vs_{rival}"][ALL]["improvement"]
            _point(axes, own["probability"], own["ci95"], place - shift, colour, True)
        axes.plot([], [], "o-", color=colour, label=_words(ours))
    axes.axvline(0.5, color="0.3", lw=0.8, ls="--")
    axes.set_xlim(-0.02, 1.02)
    axes.set_yticks(range(len(rivals)), [_label(report, name) for name in rivals])
    axes.set_xlabel("chance of being faster than ... in a session")
    if len(report["learned"]) > 1:
        axes.legend(fontsize=9, frameon=False)
    _clean(axes)
    _save(figure, path)


def profiles(report: Report, path: Path) -> None:
    """Share of seeds and sessions above a speed, with bands, for those one looks at first."""
    rival = best_rival(report, ALL)
    names = dict.fromkeys((*report["learned"], rival, RULE, "best_fixed", "paper_rule"))
    known = report["profiles"]["controllers"]
    shown = [name for name in names if name in known]
    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    for number, name in enumerate(shown):
        colour = _line_colour(report, name, number)
        own, levels = known[name], report["profiles"]["levels"]
        axes.plot(levels, own["share"], STYLES[number % len(STYLES)], color=colour,
                  label=_label(report, name))  # fmt: skip
        axes.fill_between(levels, own["low"], own["high"], color=colour, alpha=0.2, lw=0)
    axes.set_xlabel("speed over edge-only, all regimes")
    axes.set_ylabel("share of seeds and sessions above")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(fontsize=9, frameon=False)
    _clean(axes)
    _save(figure, path)


def gap_closed(report: Report, path: Path) -> bool:
    """Share of the way from the tuned rule to the law oracle, by regime; whether there is any."""
    rows = {
        ours: {
            regime: own["gaps"]["law_oracle"]
            for regime, own in report["comparisons"][f"{ours}_vs_{RULE}"].items()
            if own["gaps"].get("law_oracle", {}).get("gap_closed") is not None
        }
        for ours in report["learned"]
    }
    regimes = list(dict.fromkeys(regime for own in rows.values() for regime in own))[::-1]
    if not regimes:
        return False
    figure, axes = plt.subplots(figsize=(5.6, 0.3 * len(regimes) + 1.0), layout="constrained")
    for number, (ours, own) in enumerate(rows.items()):
        colour = OURS if number == 0 else COLOURS[number % len(COLOURS)]
        for regime, gap in own.items():
            place = regimes.index(regime) - 0.2 * number
            _point(axes, gap["gap_closed"], gap["ci95"], place, colour, True)
        axes.plot([], [], "o-", color=colour, label=_words(ours))
    for bound in (0.0, 1.0):
        axes.axvline(bound, color="0.3", lw=0.8, ls="--")
    axes.set_yticks(range(len(regimes)), [_words(regime) for regime in regimes])
    axes.set_xlabel("share of the way from the tuned rule to the law oracle")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if len(rows) > 1:
        axes.legend(fontsize=9, frameon=False)
    _clean(axes)
    _save(figure, path)
    return True


def sensitivity(report: Report, path: Path) -> None:
    """Change of speed by what is told of the link: wrong rates, and old ones."""
    kinds = {"wrong": "sigma of the rates' log-normal error", "stale": "age of the report, rounds"}
    told = {kind: [t for t in report["sensitivity"] if t.startswith(kind)] for kind in kinds}
    shown = [kind for kind in kinds if told[kind]]
    figure, panels = plt.subplots(
        1, len(shown), figsize=(3.9 * len(shown), 3.9), layout="constrained",
        squeeze=False, sharey=True,
    )  # fmt: skip
    for axes, kind in zip(panels.flat, shown, strict=True):
        _losses(axes, report, told[kind])
        axes.set_xlabel(kinds[kind])
        axes.axhline(0.0, color="0.3", lw=0.8, ls="--")
        _clean(axes)
    panels[0, 0].set_ylabel("change of its own speed, %")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    _save(figure, path)


def _losses(axes: Axes, report: Report, told: list[str]) -> None:
    names = list(report["sensitivity"][told[0]])
    for number, name in enumerate(names):
        rows = [report["sensitivity"][t][name][ALL] for t in told]
        values = [row["change_percent"] for row in rows]
        errors = [[v - r["ci95"][0] for v, r in zip(values, rows, strict=True)],
                  [r["ci95"][1] - v for v, r in zip(values, rows, strict=True)]]  # fmt: skip
        places = [i + 0.06 * (number - (len(names) - 1) / 2) for i in range(len(told))]
        axes.errorbar(places, values, yerr=errors, marker="o", ms=4, lw=1.2, elinewidth=0.8,
                      ls=STYLES[number % len(STYLES)], color=_line_colour(report, name, number),
                      label=_label(report, name))  # fmt: skip
    axes.set_xticks(range(len(told)), [t.split("_")[1] for t in told])


def _line_colour(report: Report, name: str, number: int) -> str:
    if report["learned"] and name == report["learned"][0]:
        return OURS
    return ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999")[number % 6]


def _label(report: Report, name: str) -> str:
    return f"{_words(name)}{' (lossy)' if lossy(report, name) else ''}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="0.9", lw=0.6)
    axes.set_axisbelow(True)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=160)
    plt.close(figure)
