"""A league as a page, where learning does not help included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from policies.league_report import RULE
from policies.report import ALL, BASELINES, made_by, table

Report = Mapping[str, Any]


def markdown(report: Report, figures: Iterable[str] = ()) -> str:
    """The page."""
    lines = [
        "# League",
        "",
        *made_by([*report["earlier"], report["provenance"]]),
        "",
        *_who(report),
        "## Speed over edge-only",
        "",
        "Mean over training seeds and sessions, virtual seconds, same sessions for all.",
        "",
        *_speeds(report),
        "",
        *_where_not(report),
        *_gains(report),
        "## Costs beside speed, all regimes",
        "",
        *_costs(report),
        "",
        *_sensitivity(report),
        *_left_out(report),
        *(f"![{Path(name).stem}]({name})\n" for name in figures),
    ]
    return "\n".join(lines) + "\n"


def _who(report: Report) -> list[str]:
    groups = "; ".join(f"{_words(g)}: {', '.join(r)}" for g, r in report["groups"].items())
    seeds = ", ".join(f"{name} {len(paths)}" for name, paths in report["trained"].items())
    return [f"Regimes: {groups}. Training seeds: {seeds or 'none'}. Intervals are 95 % bootstraps "
            "over seeds and sessions, which regimes share (policies/measures.py).", ""]  # fmt: skip


def lossy(report: Report, name: str) -> bool:
    """Whether a controller wrote what the target would not have written."""
    return any(own["deviation_rate"] > 0 for own in report["controllers"][name].values())


def by_speed(report: Report) -> list[str]:
    """All controllers, the fastest over all regimes first."""
    whole = report["controllers"]
    return sorted(whole, key=lambda name: -whole[name][ALL]["speedup"])


def _speeds(report: Report) -> list[str]:
    names = by_speed(report)
    head = ["regime", *(f"{n}{' (lossy)' if lossy(report, n) else ''}" for n in names)]
    regimes = report["controllers"][names[0]]
    cells = {n: report["controllers"][n] for n in names}
    rows = [[regime, *(f"{cells[n][regime]['speedup']:.3f}" for n in names)] for regime in regimes]
    spread = [_with_interval(cells[n][ALL], "speedup", "speedup_ci95") for n in names]
    iqm = [_with_interval(cells[n][ALL], "speedup_iqm", "speedup_iqm_ci95") for n in names]
    both = [["all, with interval", *spread], ["all, interquartile mean", *iqm]]
    # One controller a row reads better than one a column: there are more of them.
    return table(*_turned([head, *rows, *both]))


def _turned(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    head, *rest = [list(column) for column in zip(*rows, strict=True)]
    return ["controller", *head[1:]], rest


def _with_interval(own: Mapping[str, Any], value: str, bounds: str) -> str:
    return f"{own[value]:.3f} ({own[bounds][0]:.3f} to {own[bounds][1]:.3f})"


def best_rival(report: Report, regime: str) -> str | None:
    """The fastest lossless controller of a regime that is not learned, if there is one."""
    names = [
        name
        for name in report["controllers"]
        if name not in (*report["learned"], *BASELINES) and not lossy(report, name)
    ]
    speeds = {name: report["controllers"][name][regime]["speedup"] for name in names}
    return max(speeds, key=lambda name: speeds[name], default=None)


def not_helped(report: Report, ours: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Regimes and rivals over which a gain is not above 0 with its whole interval."""
    found = []
    regimes = next(iter(report["controllers"].values()))
    for regime in regimes:
        rivals = (RULE, best_rival(report, regime), "edge_only")
        for rival in dict.fromkeys(name for name in rivals if name is not None):
            gains = report["comparisons"].get(f"{ours}_vs_{rival}")
            if gains is not None and gains[regime]["ci95"][0] <= 0:
                found.append((regime, rival, gains[regime]))
    return found


def _where_not(report: Report) -> list[str]:
    lines: list[str] = []
    for ours in report["learned"]:
        rows = [[r, rival, *_gain(g)] for r, rival, g in not_helped(report, ours)]
        lines += [f"## Where `{ours}` does not help", ""]
        if rows:
            lines += ["Against the tuned rule, the best lossless rule of the regime and the edge "
                      "alone; gains whose interval holds 0 or lies below it:", "",
                      *table(["regime", "against", "gain", "95 %"], rows), ""]  # fmt: skip
        else:
            lines += [
                "In every regime its gain over the tuned rule, the best lossless rule of the "
                "regime and the edge alone lies above 0 with its whole interval.",
                "",
            ]
    return lines


def _gain(own: Mapping[str, Any]) -> list[str]:
    low, high = own["ci95"]
    return [f"{own['gain_percent']:+.1f} %", f"{low:+.1f} to {high:+.1f}"]


def _gains(report: Report) -> list[str]:
    lines: list[str] = []
    for ours in report["learned"]:
        versus = report["comparisons"][f"{ours}_vs_{RULE}"]
        rows = [
            [r, *_gain(g), f"{g['improvement']['probability']:.2f}", *_gap(g)]
            for r, g in versus.items()
        ]
        head = ["regime", "gain", "95 %", "chance of improvement", "gap closed", "95 %"]
        lines += [f"## `{ours}` against the tuned rule", "", *table(head, rows), ""]
        rows = [
            [rival, *_gain(own[ALL]), f"{own[ALL]['improvement']['probability']:.2f}"]
            for rival in by_speed(report)
            if (own := report["comparisons"].get(f"{ours}_vs_{rival}"))
        ]
        head = ["against", "gain", "95 %", "chance of improvement"]
        lines += [f"## `{ours}` against all, all regimes", "", *table(head, rows), ""]
    return lines


def _gap(own: Mapping[str, Any]) -> list[str]:
    law = own["gaps"].get("law_oracle")
    if law is None or law["gap_closed"] is None:
        return ["-", "-"]
    low, high = law["ci95"]
    return [f"{law['gap_closed']:.0%}", f"{low:.0%} to {high:.0%}"]


def _costs(report: Report) -> list[str]:
    columns = {
        "MiB per 1024 tokens": ("mb_per_1024_tokens", "{:.3f}"),
        "price saved": ("price_saved", "{:.1%}"),
        "J per token": ("energy_j_per_token", "{:.2f}"),
        "deviations": ("deviation_rate", "{:.2%}"),
        "time to first token, s": ("ttft_s", "{:.2f}"),
        "tokens per round": ("tokens_per_round", "{:.2f}"),
    }
    rows = [
        [name, *(form.format(report["controllers"][name][ALL][key]) for key, form in
                 columns.values())]
        for name in by_speed(report)
    ]  # fmt: skip
    return table(["controller", *columns], rows)


def _sensitivity(report: Report) -> list[str]:
    if not report["sensitivity"]:
        return []
    rows = [
        [name, *(" (".join(_gain({"gain_percent": own[name][ALL]["change_percent"],
                                  "ci95": own[name][ALL]["ci95"]})) + ")"
                 for own in report["sensitivity"].values())]
        for name in next(iter(report["sensitivity"].values()))
    ]  # fmt: skip
    return ["## Told wrong things about the link", "",
            "Change of a controller's own speed, all regimes. `wrong_S`: reported rates are off by "
            "one log-normal factor a session of sigma S. `stale_K`: the report is K rounds old.",
            "", *table(["controller", *report["sensitivity"]], rows), ""]  # fmt: skip


def _left_out(report: Report) -> list[str]:
    refused: dict[str, list[str]] = {}
    for place, why in report["left_out"].items():
        refused.setdefault(why, []).append(place)
    lines = [f"- {'; '.join(places)}: {why}" for why, places in refused.items()]
    return ["## Left out", "", *lines, ""] if lines else []


def _words(name: str) -> str:
    return name.replace("_", " ")
