"""What a league found: every controller in every regime, gains, gaps and sensitivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from covspec_core.rounds import Floats
from policies import measures
from policies.judging import Scores, stack
from policies.measures import Draws
from policies.report import ALL, BASELINES

RULE: Final = "tuned_rule"
"""From where gaps are measured."""
LEVELS: Final = 60
"""Points of a performance profile."""
Played = dict[str, dict[str, list[Scores]]]
"""Scores by controller and regime, one for each training seed."""


@dataclass(frozen=True)
class Results:
    """Scores of a league.

    Attributes:
        played: Of every controller and regime, told the truth.
        groups: Regimes taken together, by name of the group.
        learned: Names of learned controllers.
        bounds: Scores of oracles, on the first sessions of some regimes.
        misled: Scores of controllers by what they are told of the link, on the first sessions.
        seed: Of the resampling.
    """

    played: Played
    groups: Mapping[str, tuple[str, ...]]
    learned: tuple[str, ...]
    bounds: Played
    misled: Mapping[str, Played]
    seed: int

    @cached_property
    def regimes(self) -> dict[str, tuple[str, ...]]:
        """Every regime, group and all of them, as the regimes they are made of."""
        each = tuple(name for group in self.groups.values() for name in group)
        groups = self.groups if len(self.groups) > 1 else {}
        return {name: (name,) for name in each} | dict(groups) | {ALL: each}

    def draws(self, scores: Floats) -> Draws:
        """Resamples of scores ``[seeds, regimes, sessions]``."""
        seeds, _, sessions = scores.shape
        return Draws.of(seeds, sessions, self.seed)


def speeds(scores: Mapping[str, list[Scores]], parts: Sequence[str], first: int = 0) -> Floats:
    """Speed-ups ``[seeds, regimes, sessions]``; the first sessions of each regime, or all for 0."""
    rows = [np.stack([own.speedup[: first or None] for own in scores[part]]) for part in parts]
    return np.stack(rows, axis=1)


def pooled(scores: Mapping[str, list[Scores]], parts: Sequence[str]) -> Scores:
    """All seeds and sessions of some regimes as if seeds were regimes."""
    return stack(own for part in parts for own in scores[part])


def build_findings(results: Results) -> dict[str, Any]:
    """Everything but provenance and settings, as plain values."""
    return {
        "groups": {name: list(regimes) for name, regimes in results.groups.items()},
        "learned": list(results.learned),
        "controllers": {n: _controller(results, s) for n, s in results.played.items()},
        "oracles": {n: _bound(results, s) for n, s in results.bounds.items()},
        "comparisons": {
            f"{ours}_vs_{rival}": _comparison(results, ours, rival)
            for ours in results.learned
            for rival in results.played
            if rival not in results.learned
        },
        "profiles": _profiles(results),
        "sensitivity": _sensitivity(results),
    }


def _controller(results: Results, scores: dict[str, list[Scores]]) -> dict[str, Any]:
    """Summary by regime: that of a run's report, with intervals over seeds and sessions."""
    found = {}
    for name, parts in results.regimes.items():
        every = speeds(scores, parts)
        own = measures.summary(every, results.draws(every))
        found[name] = pooled(scores, parts).summary() | {
            "speedup_ci95": own["mean_ci95"],
            "speedup_iqm": own["iqm"],
            "speedup_iqm_ci95": own["iqm_ci95"],
            "speedup_of_seeds": [float(mean) for mean in every.mean((1, 2))],
        }
    return found


def _known(results: Results, bound: Mapping[str, Any], parts: Sequence[str]) -> list[str]:
    """Regimes among some in which there is a bound."""
    return [part for part in parts if part in bound]


def _bound(results: Results, scores: dict[str, list[Scores]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, parts in results.regimes.items():
        if known := _known(results, scores, parts):
            own = pooled(scores, known).summary()
            found[name] = {"speedup": own["speedup"], "n_sessions": own["n_sessions"]}
            found[name]["regimes"] = known
    return found


def _comparison(results: Results, ours: str, rival: str) -> dict[str, Any]:
    """Gain, chance of improvement and shares of the gap, by regime."""
    found = {}
    for name, parts in results.regimes.items():
        own, theirs = (speeds(results.played[n], parts) for n in (ours, rival))
        draws = results.draws(own)
        found[name] = measures.gain(own, theirs, draws)
        found[name]["improvement"] = measures.improvement(own, theirs, draws)
        if rival == RULE:
            found[name] |= _gaps(results, ours, parts)
    return found


def _gaps(results: Results, ours: str, parts: Sequence[str]) -> dict[str, Any]:
    """``gap_closed`` to the first bound, and the same with an interval for every bound."""
    found: dict[str, Any] = {}
    for name, bound in results.bounds.items():
        known = _known(results, bound, parts)
        if not known:
            continue
        oracle = speeds(bound, known)
        own, rule = (speeds(results.played[n], known, oracle.shape[-1]) for n in (ours, RULE))
        found[name] = measures.gap_closed(own, rule, oracle, results.draws(own))
        found[name]["regimes"] = known
    law = found.get("law_oracle", {}).get("gap_closed")
    return {"gap_closed": law, "gaps": found}


def _profiles(results: Results) -> dict[str, Any]:
    """Share of seeds and sessions above a speed, over all regimes."""
    parts = results.regimes[ALL]
    shown = {n: speeds(s, parts) for n, s in results.played.items() if n not in BASELINES}
    if not shown:
        return {"levels": [], "controllers": {}}
    both = np.concatenate([own.ravel() for own in shown.values()])
    low, high = np.percentile(both, (0.5, 99.5))
    levels = np.linspace(low, high, LEVELS)
    return {
        "levels": [float(level) for level in levels],
        "controllers": {
            name: measures.profile(own, levels, results.draws(own)) for name, own in shown.items()
        },
    }


def _sensitivity(results: Results) -> dict[str, Any]:
    """What being told wrong costs each controller, in percent of its own speed, by regime."""
    return {
        told: {
            name: {
                regime: _loss(results, name, scores, parts)
                for regime, parts in results.regimes.items()
            }
            for name, scores in played.items()
        }
        for told, played in results.misled.items()
    }


def _loss(
    results: Results, name: str, scores: dict[str, list[Scores]], parts: Sequence[str]
) -> dict[str, Any]:
    misled = speeds(scores, parts)
    truth = speeds(results.played[name], parts, misled.shape[-1])
    draws = results.draws(misled)
    ratios = draws.means(misled) / draws.means(truth) - 1
    change = float(misled.mean() / truth.mean() - 1)
    return {
        "speedup": float(misled.mean()),
        "change_percent": 100 * change,
        "ci95": measures.interval(100 * ratios),
    }
