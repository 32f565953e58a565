"""Reports: every controller in every regime, with intervals, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from covspec_core.engine import Controller
from covspec_core.scenario import Scenario
from env.play import World
from policies.judging import Scores, concatenate, gain, judge
from policies.launcher import SERIAL, Launcher
from policies.runs import write_json, write_text

ALL = "all"
Judged = dict[str, dict[str, Scores]]


def judge_all(
    controllers: Mapping[str, Callable[[Scenario], Controller]],
    worlds: Mapping[str, World],
    sessions: int,
    seed: int,
    say: Callable[[str], None],
    launcher: Launcher = SERIAL,
) -> Judged:
    """Scores by controller and regime, ``all`` included; a pair of both is a piece of work.

    Every controller is made anew for each regime's scenario.
    """
    pairs = list(product(controllers, worlds))
    made = {(name, regime): controllers[name](worlds[regime].scenario) for name, regime in pairs}
    shared = (made, worlds, sessions, seed)
    found: dict[str, dict[str, Scores]] = {name: {} for name in controllers}
    for place, scores in launcher.each(_judge_pair, shared, pairs):
        name, regime = pairs[place]
        found[name][regime] = scores
        if len(found[name]) == len(worlds):
            parts = {regime: found[name][regime] for regime in worlds}
            found[name] = parts | {ALL: concatenate(parts)}
            say(f"judged {name}: {found[name][ALL].speedup.mean():.3f}x over {len(parts)} regimes")
    return found


def _judge_pair(
    shared: tuple[Mapping[tuple[str, str], Controller], Mapping[str, World], int, int],
    pair: tuple[str, str],
) -> Scores:
    controllers, worlds, sessions, seed = shared
    return judge(worlds[pair[1]], controllers[pair], sessions, seed)


BASELINES = ("edge_only", "device_only", "random")
"""Controllers that no gain is stated over: their speed-up says it all."""


def compare(judged: Judged, ours: str, rivals: Iterable[str], seed: int) -> dict[str, Any]:
    """Gains of one controller over others, by regime."""
    return {
        f"{ours}_vs_{rival}": {
            regime: gain(judged[ours][regime], judged[rival][regime], seed)
            for regime in judged[ours]
        }
        for rival in rivals
        if ours in judged and rival in judged
    }


def build_report(
    judged: Judged, provenance: Mapping[str, Any], config: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Everything a report holds, as plain values."""
    rivals = [name for name in judged if name not in ("learned", *BASELINES)]
    return {
        "provenance": dict(provenance),
        "config": dict(config),
        "controllers": {
            name: {regime: scores.summary() for regime, scores in regimes.items()}
            for name, regimes in judged.items()
        },
        "comparisons": compare(judged, "learned", rivals, seed),
    }


def write_report(report: Mapping[str, Any], folder: Path, figures: Iterable[str] = ()) -> None:
    """``report.json`` and ``report.md``."""
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", markdown(report, figures))


def markdown(report: Mapping[str, Any], figures: Iterable[str] = ()) -> str:
    """The report as a page."""
    made = report["provenance"]
    lines = [
        "# Report",
        "",
        f"`{made['command']}` at commit `{made['commit'][:12]}`"
        f" ({made['changed_files']} changed files), seed {made['seed']}, {made['hardware']}.",
        "",
        "Speed over edge-only, mean over sessions (virtual seconds, same sessions for all):",
        "",
        *_speed_table(report["controllers"]),
        "",
        "All regimes together:",
        "",
        *_cost_table(report["controllers"]),
        "",
        *_gains(report["comparisons"]),
        *(f"![{Path(name).stem}]({name})\n" for name in figures),
    ]
    return "\n".join(lines) + "\n"


def _speed_table(controllers: Mapping[str, Any]) -> list[str]:
    regimes = list(next(iter(controllers.values())))
    rows = [
        [name, *(f"{by[regime]['speedup']:.3f}" for regime in regimes)]
        for name, by in controllers.items()
    ]
    return table(["controller", *regimes], rows)


def _cost_table(controllers: Mapping[str, Any]) -> list[str]:
    columns = {
        "MiB per 1024 tokens": ("mb_per_1024_tokens", "{:.3f}"),
        "deviations %": ("deviation_rate", "{:.2%}"),
        "time to first token s": ("ttft_s", "{:.2f}"),
        "price saved %": ("price_saved", "{:.1%}"),
        "J per token": ("energy_j_per_token", "{:.2f}"),
        "tokens per round": ("tokens_per_round", "{:.2f}"),
    }
    rows = [
        [name, *(form.format(by[ALL][key]) for key, form in columns.values())]
        for name, by in controllers.items()
    ]
    return table(["controller", *columns], rows)


def _gains(comparisons: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, by in comparisons.items():
        rows = [
            [regime, f"{g['gain_percent']:+.1f} %", f"{g['ci95'][0]:+.1f} to {g['ci95'][1]:+.1f}"]
            for regime, g in by.items()
        ]
        title = name.replace("_vs_", " against ").replace("_", " ")
        lines += [f"Gain in speed, {title}:", "", *table(["regime", "gain", "95 %"], rows), ""]
    return lines


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
