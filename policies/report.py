"""Reports: every controller in every regime, with intervals, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from covspec_core.engine import Controller
from covspec_core.scenario import Scenario
from env.play import World
from policies.bounds import BOUNDS
from policies.judging import Scores, gain, gap_closed, judge, stack
from policies.launcher import SERIAL, Launcher
from policies.runs import write_json, write_text

ALL = "all"
ORACLE = "law_oracle"
"""Gaps are those to it; see :func:`policies.oracles.law_oracle` for what it bounds."""
Judged = dict[str, dict[str, Scores]]
Shared = TypeVar("Shared")


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
    made = {
        (name, regime): controllers[name](world.scenario)
        for name, (regime, world) in product(controllers, worlds.items())
    }
    shared = (made, worlds, sessions, seed)
    return _gathered(_judge_pair, shared, controllers, worlds, say, launcher)


def judge_bounds(
    names: Sequence[str],
    worlds: Mapping[str, World],
    sessions: int,
    seed: int,
    say: Callable[[str], None],
    launcher: Launcher = SERIAL,
) -> Judged:
    """As :func:`judge_all`, of upper bounds by their names among ``BOUNDS``.

    Raises:
        InvalidSetting: If a regime has no such bound.
    """
    shared = (worlds, sessions, seed)
    return _gathered(_judge_bound, shared, names, worlds, say, launcher)


def _gathered(
    work: Callable[[Shared, tuple[str, str]], Scores],
    shared: Shared,
    names: Iterable[str],
    worlds: Mapping[str, World],
    say: Callable[[str], None],
    launcher: Launcher,
) -> Judged:
    pairs = list(product(names, worlds))
    found: dict[str, dict[str, Scores]] = {name: {} for name, _ in pairs}
    for place, scores in launcher.each(work, shared, pairs):
        name, regime = pairs[place]
        found[name][regime] = scores
        if len(found[name]) == len(worlds):
            parts = {regime: found[name][regime] for regime in worlds}
            found[name] = parts | {ALL: stack(parts.values())}
            say(f"judged {name}: {found[name][ALL].speedup.mean():.3f}x over {len(parts)} regimes")
    return found


def _judge_pair(
    shared: tuple[Mapping[tuple[str, str], Controller], Mapping[str, World], int, int],
    pair: tuple[str, str],
) -> Scores:
    controllers, worlds, sessions, seed = shared
    return judge(worlds[pair[1]], controllers[pair], sessions, seed)


def _judge_bound(shared: tuple[Mapping[str, World], int, int], pair: tuple[str, str]) -> Scores:
    worlds, sessions, seed = shared
    name, world = pair[0], worlds[pair[1]]
    return judge(world, BOUNDS[name](world, sessions, seed), sessions, seed)


BASELINES = ("edge_only", "device_only", "random")
"""Controllers that no gain is stated over: their speed-up says it all."""


def compare(judged: Judged, ours: str, rivals: Iterable[str], seed: int) -> dict[str, Any]:
    """Gains of one controller over others, by regime, and shares of their gaps to the bound."""
    return {
        f"{ours}_vs_{rival}": {
            regime: gain(judged[ours][regime], judged[rival][regime], seed)
            | _closed(judged, ours, rival, regime, seed)
            for regime in judged[ours]
        }
        for rival in rivals
        if ours in judged and rival in judged
    }


def _closed(judged: Judged, ours: str, rival: str, regime: str, seed: int) -> dict[str, Any]:
    """Share of a rival's gap to the bound that is closed; ``None`` where there is no gap."""
    if ORACLE not in judged:
        return {}
    own, rule, bound = (judged[name][regime] for name in (ours, rival, ORACLE))
    share = gap_closed(own, rule, bound, seed)
    return {"gap_closed": share["gap_closed"], "gap_ci95": share["ci95"]}


def build_report(
    judged: Judged, provenance: Mapping[str, Any], config: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Everything a report holds, as plain values."""
    rivals = [name for name in judged if name not in ("learned", *BASELINES, *BOUNDS)]
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


def made_by(processes: Iterable[Mapping[str, Any]]) -> list[str]:
    """How figures were made: a line for every process that had a part in them."""
    return [
        f"`{made['command']}` at commit `{made['commit'][:12]}`"
        f" ({made['changed_files']} changed files), seed {made['seed']}, {made['hardware']}."
        for made in processes
    ]


def markdown(report: Mapping[str, Any], figures: Iterable[str] = ()) -> str:
    """The report as a page."""
    lines = [
        "# Report",
        "",
        *made_by([report["provenance"]]),
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


def shown(name: str) -> str:
    """A controller's name; bounds say that they are none to be used."""
    return f"{name} (bound, not deployable)" if name in BOUNDS else name


def _speed_table(controllers: Mapping[str, Any]) -> list[str]:
    regimes = list(next(iter(controllers.values())))
    rows = [
        [shown(name), *(f"{by[regime]['speedup']:.3f}" for regime in regimes)]
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
        [shown(name), *(form.format(by[ALL][key]) for key, form in columns.values())]
        for name, by in controllers.items()
    ]
    return table(["controller", *columns], rows)


def _gains(comparisons: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, by in comparisons.items():
        rows = [
            [
                regime,
                f"{g['gain_percent']:+.1f} %",
                f"{g['ci95'][0]:+.1f} to {g['ci95'][1]:+.1f}",
                *_gap_cells(g),
            ]
            for regime, g in by.items()
        ]
        head = ["regime", "gain", "95 %", "gap to law oracle closed", "95 %"][: len(rows[0])]
        title = name.replace("_vs_", " against ").replace("_", " ")
        lines += [f"Gain in speed, {title}:", "", *table(head, rows), ""]
    return lines


def _gap_cells(found: Mapping[str, Any]) -> list[str]:
    if "gap_closed" not in found:
        return []
    if found["gap_closed"] is None:
        return ["no gap", ""]
    low, high = found["gap_ci95"]
    return [f"{found['gap_closed']:.0%}", f"{low:.0%} to {high:.0%}"]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
