"""Right answers and speed of systems, with intervals, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from env.rewards import MEGABYTE
from policies.answers import Row
from policies.judging import PAPER_TOKENS
from policies.report import table
from policies.shares import bootstrap_share, right_share
from policies.systems import System

REFERENCE: Final = "edge_only"
SEEN: Final = "test"
UNSEEN, ALL = "unseen", "all"
"""Names of sets taken together: those out of distribution, and all."""
Answers = dict[tuple[str, str], list[Row]]
"""Rows by system and set, in the order of the questions."""
Floats = NDArray[np.float64]


def groups_of(sets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What figures are stated over: every set, those out of distribution, all."""
    unseen = tuple(name for name in sets if name != SEEN)
    groups = {name: (name,) for name in sets}
    if len(unseen) > 1:
        groups[UNSEEN] = unseen
    return groups | {ALL: tuple(sets)}


def summary(
    systems: Sequence[System], found: Answers, sets: Sequence[str],
    pruning: Mapping[str, str], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Every figure of a report.

    Args:
        systems: Who answered.
        found: What they answered; a lossless system perhaps only the first questions.
        sets: Of the drawn world.
        pruning: A system that sees few visual tokens, and the same with all.
        seed: Of the resampling.
    """
    groups = groups_of(sets)
    stated = {s.name: _system(s, found, groups, seed) for s in systems}
    return {
        "questions_of_every_set": len(found[REFERENCE, sets[0]]),
        "systems": stated,
        "frontier": {group: frontier(stated, group) for group in groups},
        "pruning": {
            few: {"whole": whole, "sets": _pruned(found, few, whole, groups, seed)}
            for few, whole in pruning.items()
        },
    }


def _system(
    system: System, found: Answers, groups: Mapping[str, tuple[str, ...]], seed: int
) -> dict[str, Any]:
    own = {group: _rows(found, system.name, sets) for group, sets in groups.items()}
    same = {group: _rows(found, REFERENCE, sets) for group, sets in groups.items()}
    equal = [a["answer"] == b["answer"] for a, b in _paired(found, system.name, REFERENCE, groups)]
    taken = system.lossless and all(equal)
    return {
        "family": system.family,
        "threshold": system.threshold,
        "protocol": system.controller(0)[1].protocol.name,
        "lossless": system.lossless,
        "right_is_the_references": taken,
        "equal_texts": {"equal": sum(equal), "of": len(equal)},
        "sets": {
            group: _right(same[group] if taken else own[group])
            | _against(found, system.name, groups[group], seed)
            | _costs(own[group], seed)
            for group in groups
        },
    }


def _rows(found: Answers, name: str, sets: Sequence[str]) -> list[Row]:
    return [row for each in sets for row in found[name, each]]


def _paired(
    found: Answers, one: str, other: str, groups: Mapping[str, tuple[str, ...]]
) -> list[tuple[Row, Row]]:
    """Answers of two systems to the questions that both were asked."""
    return [
        pair
        for name in groups[ALL]
        for pair in zip(found[one, name], found[other, name], strict=False)
    ]


def _right(rows: Sequence[Row]) -> dict[str, Any]:
    kinds = sorted({row["kind"] for row in rows})
    by_kind = {kind: _share([row for row in rows if row["kind"] == kind]) for kind in kinds}
    return {"right": _share(rows), "kinds": by_kind}


def _share(rows: Sequence[Row]) -> dict[str, Any]:
    right = np.array([row["right"] for row in rows], dtype=np.float64)
    return right_share(right) | {"n": len(rows)}


def _against(found: Answers, name: str, sets: Sequence[str], seed: int) -> dict[str, Any]:
    pairs = _paired(found, name, REFERENCE, {ALL: tuple(sets)})
    return {"right_over_edge_only": _difference(pairs, seed)}


def _difference(pairs: Sequence[tuple[Row, Row]], seed: int) -> dict[str, Any]:
    """Difference of the shares of right answers, paired."""
    gained = np.array([float(a["right"]) - float(b["right"]) for a, b in pairs])
    return bootstrap_share(gained, np.ones_like(gained), seed)


def _costs(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    def column(name: str) -> Floats:
        return np.array([row[name] for row in rows], dtype=np.float64)

    tokens = column("tokens")
    speedup = bootstrap_share(column("seconds_edge_only"), column("seconds"), seed)
    return {
        "speedup": speedup | {"n": len(rows)},
        "unchecked": float(column("unchecked").sum() / tokens.sum()),
        "deviations": float(column("deviations").sum() / tokens.sum()),
        "mb_per_1024_tokens": float(column("bytes").sum() / MEGABYTE / tokens.sum() * PAPER_TOKENS),
        "tokens_per_answer": float(tokens.mean()),
    }


def frontier(stated: Mapping[str, Any], group: str) -> list[str]:
    """Systems than which no other is both as fast and as right, the slowest first."""
    places = {
        name: (s["sets"][group]["speedup"]["mean"], s["sets"][group]["right"]["mean"])
        for name, s in stated.items()
    }

    def beaten(name: str) -> bool:
        x, y = places[name]
        return any(a >= x and b >= y and (a, b) != (x, y) for a, b in places.values())

    return sorted((name for name in places if not beaten(name)), key=lambda name: places[name])


def _pruned(
    found: Answers, few: str, whole: str, groups: Mapping[str, tuple[str, ...]], seed: int
) -> dict[str, Any]:
    """How right answers change with the visual tokens kept, question by question."""
    stated = {}
    for group, sets in groups.items():
        pairs = _paired(found, few, whole, {ALL: sets})
        stated[group] = {
            "broken": sum(b["right"] and not a["right"] for a, b in pairs),
            "repaired": sum(a["right"] and not b["right"] for a, b in pairs),
            "of": len(pairs),
            "right_over_all_tokens": _difference(pairs, seed),
        }
    return stated


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
        "Speed over edge-only (virtual seconds, all sets) and what it costs:", "",
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
