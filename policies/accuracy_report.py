"""Right answers and speed of systems, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from env.rewards import MEGABYTE
from policies.answers import Row
from policies.judging import PAPER_TOKENS
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
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in sets}
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
        "questions_of_lossless_speeds": min(len(found[s.name, sets[0]]) for s in systems),
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
