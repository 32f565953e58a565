"""Right answers and speed of systems as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies.accuracy_report import ALL, REFERENCE
from policies.report import table


def markdown(report: Mapping[str, Any], figures: Sequence[str] = ()) -> str:
    """The report as a page."""
    made, systems = report["provenance"][-1], report["systems"]
    commits = dict.fromkeys(one["commit"][:12] for one in report["provenance"])
    groups = list(next(iter(systems.values()))["sets"])
    lines = [
        "# Right answers and speed", "",
        f"`{made['command']}` at commit `{'`, `'.join(commits)}` ({made['changed_files']} changed "
        f"files), seed {made['seed']}, {made['hardware']}. Live models, temperature "
        f"{report['config']['experiment']['temperature']:g}, {report['questions_of_every_set']} "
        "questions of every set; 95 % intervals.", "",
        "Right answers, % (Wilson):", "", *_right_table(systems, groups), "",
        *_lossless(systems), "",
        "Speed over edge-only (all its virtual seconds over the system's, all sets; of lossless "
        f"systems on the first {report['questions_of_lossless_speeds']} questions of every set) "
        "and costs:", "",
        *_cost_table(systems), "",
        *_pruning_table(report["pruning"]),
        f"Right answers by kind of question, set `{groups[0]}`, %:", "",
        *_kind_table(systems, groups[0]), "",
        *(f"![{name.removesuffix('.png')}]({name})\n" for name in figures),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _interval(share: Mapping[str, Any], form: str = "{:.1f}") -> str:
    values = [100 * value for value in (share["mean"], *share["ci95"])]
    mean, low, high = map(form.format, values)
    return f"{mean} ({low} to {high})"


def _right_table(systems: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    rows = [
        [
            f"{name}{' *' if s['right_is_the_references'] else ''}",
            *(_interval(s["sets"][group]["right"]) for group in groups),
        ]
        for name, s in systems.items()
    ]
    return table(["system", *groups], rows)


def _lossless(systems: Mapping[str, Any]) -> list[str]:
    return [
        f"- `{name}`{' *' if s['right_is_the_references'] else ''}: "
        f"{s['equal_texts']['equal']} of {s['equal_texts']['of']} texts equal {REFERENCE}'s"
        + ("; its right answers are taken from there." if s["right_is_the_references"] else ".")
        for name, s in systems.items()
        if s["lossless"]
    ]


def _cost_table(systems: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, s in systems.items():
        all_sets = s["sets"][ALL]
        speed, loss = all_sets["speedup"], all_sets["right_over_edge_only"]
        rows.append([
            name,
            f"{speed['mean']:.3f} ({speed['ci95'][0]:.3f} to {speed['ci95'][1]:.3f})",
            "0" if s["right_is_the_references"] else _interval(loss, "{:+.1f}"),
            f"{all_sets['unchecked']:.1%}",
            f"{all_sets['deviations']:.2%}",
            f"{all_sets['mb_per_1024_tokens']:.3f}",
            f"{all_sets['tokens_per_answer']:.1f}",
            str(speed["n"]),
        ])  # fmt: skip
    head = ["system", "speed", "right over edge-only, points", "unchecked", "deviations",
            "MiB per 1024 tokens", "tokens per answer", "answers"]  # fmt: skip
    return table(head, rows)


def _pruning_table(pruning: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for few, stated in pruning.items():
        rows = [
            [
                group, f"{p['broken']}", f"{p['repaired']}", f"{p['of']}",
                _interval(p["right_over_all_tokens"], "{:+.1f}"),
            ]
            for group, p in stated["sets"].items()
        ]  # fmt: skip
        head = ["set", "broken", "repaired", "of", "difference, points"]
        lines += [f"Pruning: `{few}` against `{stated['whole']}`:", "", *table(head, rows), ""]
    return lines


def _kind_table(systems: Mapping[str, Any], group: str) -> list[str]:
    kinds = list(next(iter(systems.values()))["sets"][group]["kinds"])
    rows = [
        [kind, *(f"{100 * s['sets'][group]['kinds'][kind]['mean']:.0f}" for s in systems.values())]
        for kind in kinds
    ]
    return table(["kind", *systems], rows)
