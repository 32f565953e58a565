"""Paired judging: every controller plays the same requests, links and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from covspec_core.engine import Controller, decision
from covspec_core.errors import InvalidSetting
from covspec_core.randomness import mix
from covspec_core.rounds import Floats
from covspec_core.scenario import Scenario
from covspec_core.sessions import Sessions
from env.play import World
from env.rewards import MEGABYTE, RewardWeights
from policies import measures
from policies.baselines import changed
from policies.measures import Draws, interquartile_mean, interval

PAPER_TOKENS = 1024
"""Tokens per request in the paper's tables; bytes are stated for as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What sessions cost under one controller, shape ``[sessions]`` each.

    Of several regimes together ``[regimes, sessions]``: a column is one number of a session, whose
    luck they share.

    Attributes:
        seconds: Virtual seconds of the session.
        edge_only_s: The same for the edge alone.
        tokens: Answer tokens.
        bytes: Encoded bytes both ways, images not included.
        deviations: Unchecked tokens that the target would not have written.
        charged: Target positions on the bill.
        energy_j: Energy of device and radio.
        ttft_s: Mean time to the first token of a request.
        rounds: Rounds played.
    """

    seconds: Floats
    edge_only_s: Floats
    tokens: Floats
    bytes: Floats
    deviations: Floats
    charged: Floats
    energy_j: Floats
    ttft_s: Floats
    rounds: Floats

    @property
    def speedup(self) -> Floats:
        """Speed over edge-only."""
        return self.edge_only_s / self.seconds

    def summary(self) -> dict[str, float | int]:
        """Figures of a report: means over sessions, shares over all tokens."""
        tokens = self.tokens.sum()
        return {
            "speedup": float(self.speedup.mean()),
            "speedup_iqm": interquartile_mean(self.speedup),
            "mb_per_1024_tokens": float(self.bytes.sum() / MEGABYTE / tokens * PAPER_TOKENS),
            "deviation_rate": float(self.deviations.sum() / tokens),
            "ttft_s": float(self.ttft_s.mean()),
            "price_saved": float(1 - self.charged.sum() / tokens),
            "energy_j_per_token": float(self.energy_j.sum() / tokens),
            "tokens_per_round": float(tokens / self.rounds.sum()),
            "n_sessions": self.seconds.size,
        }


def worth(scores: Scores, weights: RewardWeights) -> float:
    """Mean speed-up less all that a reward punishes beside time, in its proportion to time.

    Equal to the mean speed-up where time is all that counts.
    """
    punished = {
        "megabytes": scores.bytes / MEGABYTE,
        "joules": scores.energy_j,
        "charged": scores.charged,
        "deviations": scores.deviations,
    }
    costs = sum(getattr(weights, name) * amount for name, amount in punished.items())
    return float(np.mean(scores.speedup - costs / max(weights.time, 1e-9)))


def stack(parts: Iterable[Scores]) -> Scores:
    """The sessions of several regimes together, equally many of each."""
    parts = list(parts)
    return Scores(*(np.stack([getattr(p, f.name) for p in parts]) for f in fields(Scores)))


def judge(world: World, controller: Controller, sessions: int, seed: int) -> Scores:
    """Play sessions to their end.

    Args:
        world: Scenario, links and requests; a baseline plays under settings of its own.
        controller: Who decides.
        sessions: How many.
        seed: Decides requests, links and noise; equal for all controllers to compare.
    """
    world = replace(world, scenario=changed(world.scenario, controller))
    scenario = world.scenario
    play = Sessions(scenario, world.links, world.replay(sessions), sessions)
    rows = np.arange(sessions)
    seeds = mix(seed, rows)
    play.begin(rows, seeds)
    controller.begin(sessions)
    alone = play.edge_only_s(rows)
    sums = {f.name: np.zeros(sessions) for f in fields(Scores)} | {"edge_only_s": alone}
    going = np.ones(sessions, dtype=bool)
    while going.any():
        first, start_s = play.fresh & going, play.request_s.copy()
        result = play.play(decision(controller, play))
        for name, amount in (
            ("tokens", result.emitted),
            ("bytes", result.bytes_up + result.bytes_down),
            ("deviations", result.deviations),
            ("charged", result.charged),
            ("energy_j", result.energy_j),
            ("rounds", np.ones(sessions)),
            ("ttft_s", np.where(first, result.first_s - start_s, 0.0) / scenario.requests),
        ):
            sums[name] += np.where(going, amount, 0)
        over = np.flatnonzero(result.session_done)
        ended = over[going[over]]
        sums["seconds"][ended] = result.received_s[ended]
        going[ended] = False
        if over.size and going.any():
            # Finished rows play on, unobserved, so that all rows keep one step.
            play.begin(over, seeds[over])
    return Scores(**sums)


def judge_mix(
    worlds: Sequence[World], make: Callable[[Scenario], Controller], sessions: int, seed: int
) -> Scores:
    """Sessions of several worlds together, in equal shares of at least one each.

    Args:
        worlds: Scenarios, links and requests.
        make: Gives the controller of a scenario.
        sessions: How many in all, rounded up to equal shares.
        seed: See :func:`judge`.
    """
    share = -(-sessions // len(worlds))
    return stack(judge(world, make(world.scenario), share, seed) for world in worlds)


def mean_interval(scores: Scores, seed: int = 0) -> list[float]:
    """A 95 % bootstrap interval of the mean speed-up over sessions."""
    return interval(_draws(scores, seed).means(_speeds(scores)))


def gain(ours: Scores, theirs: Scores, seed: int = 0) -> dict[str, Any]:
    """Gain in mean speed-up over another controller, with a paired 95 % bootstrap interval.

    Args:
        ours: Sessions of one controller.
        theirs: The same sessions under the other.
        seed: Of the resampling.

    Raises:
        InvalidSetting: If the scores are of other sessions.
    """
    _require_same("gain", ours, theirs)
    return measures.gain(_speeds(ours), _speeds(theirs), _draws(ours, seed))


def gap_closed(ours: Scores, rule: Scores, oracle: Scores, seed: int = 0) -> dict[str, Any]:
    """Share of the gap in mean speed-up from a rule to an oracle that a controller closes.

    Args:
        ours: Sessions of one controller.
        rule: The same sessions under the rule: a share of 0.
        oracle: The same sessions under the oracle: a share of 1.
        seed: Of the resampling.

    Returns:
        ``gap_closed`` with a paired 95 % bootstrap interval ``ci95``; both ``None`` if there is no
        gap, resampled or not.

    Raises:
        InvalidSetting: If the scores are of other sessions.
    """
    _require_same("gap_closed", ours, rule, oracle)
    speeds = _speeds(ours), _speeds(rule), _speeds(oracle)
    return measures.gap_closed(*speeds, _draws(ours, seed))


def _require_same(name: str, *scores: Scores) -> None:
    if any(not np.array_equal(own.edge_only_s, scores[0].edge_only_s) for own in scores[1:]):
        raise InvalidSetting(f"{name} needs the same sessions of all {len(scores)}, got others")


def _speeds(scores: Scores) -> Floats:
    """Speed-ups as measures take them, ``[1, regimes, sessions]``."""
    return scores.speedup.reshape(1, -1, scores.speedup.shape[-1])


def _draws(scores: Scores, seed: int) -> Draws:
    """Resamples of sessions, alike in all regimes."""
    return Draws.of(1, scores.speedup.shape[-1], seed)
