"""Bandits over draft lengths: they learn from what each length brought in this session alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Floats, Ints, Status
from covspec_core.scenario import Scenario
from policies.lengths import LengthRule, Seen, check_range, check_share

_FAILURE = 0.05
"""Chance with which BanditSpec's intervals may fail."""
_DELAYS_S = (0.02, 2.0)
"""Range of delays that SpecStop's channel states divide, evenly in their logarithm."""


@dataclass(frozen=True, slots=True)
class BanditSettings:
    """Constants of the bandit.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        explore: Half the range of a round's speed over the edge's own, scale of the interval.
        pulls: Rounds of every length before any is preferred.
        shortest: Shortest draft; 0 allows the edge alone.
        longest: Longest draft.
    """

    keep: float = 1 / 12
    width: int = 4
    explore: float = 1.0
    pulls: int = 2
    shortest: int = 1
    longest: int = 8

    def __post_init__(self) -> None:
        check_range(self)
        _check(self.explore, self.pulls)


def _check(explore: float, pulls: int) -> None:
    if explore < 0 or pulls < 1:
        raise InvalidSetting(f"bandit needs explore >= 0 and pulls >= 1, got {explore} and {pulls}")


class Bandit(LengthRule):
    """The length with the highest upper confidence bound on a round's tokens per second.

    Source: UCBSpec of BanditSpec (Hou et al., arXiv 2505.15141), interval
    ``(L/2) sqrt((1 + n)/n^2 (1 + 2 log(K t^2 sqrt(1 + n) / delta)))``, two pulls of every arm
    first; its speed is over that of the edge alone, so that the scale fits every profile.
    """

    def __init__(self, scenario: Scenario, settings: BanditSettings) -> None:
        self._settings, self._edge_step_s = settings, scenario.profile.edge_step_s
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        self._rows = np.arange(size)
        self._arm = np.zeros(size, dtype=np.int64)
        self._pulls = np.zeros((size, len(self._lengths)))
        self._sum = np.zeros_like(self._pulls)

    def _learn(self, seen: Seen) -> None:
        told = seen.checked | (self._lengths[self._arm] == 0)
        speed = seen.tokens * self._edge_step_s / seen.seconds
        self._pulls[self._rows, self._arm] += told
        self._sum[self._rows, self._arm] += np.where(told, speed, 0.0)

    def _choose(self, status: Status) -> Ints:
        self._arm = self._bound().argmax(1)
        return self._lengths[self._arm]

    def _bound(self) -> Floats:
        """Upper confidence bounds, infinite for arms not pulled often enough, ``[B, arms]``."""
        n, rounds = np.maximum(self._pulls, 1), self._pulls.sum(1, keepdims=True) + 1
        arms = len(self._lengths)
        inner = 1 + 2 * np.log(arms * rounds**2 * np.sqrt(1 + n) / _FAILURE)
        width = self._settings.explore * np.sqrt((1 + n) / n**2 * inner)
        return np.where(self._pulls < self._settings.pulls, np.inf, self._sum / n + width)


@dataclass(frozen=True, slots=True)
class SpecStopSettings:
    """Constants of UCB-SpecStop.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        explore: Scale of the interval, in tokens.
        pulls: Rounds of every length before any is preferred.
        states: Channel states that are told apart, each with estimates of its own.
        start: Acceptance that fills the estimates before anything was seen.
        prior: Rounds that this is worth; 0 trusts nothing but rounds.
        shortest: Shortest draft; 0 allows the edge alone.
        longest: Longest draft.
    """

    keep: float = 1 / 12
    width: int = 4
    explore: float = 0.5
    pulls: int = 1
    states: int = 3
    start: float = 0.8
    prior: float = 0.0
    shortest: int = 1
    longest: int = 8

    def __post_init__(self) -> None:
        check_range(self)
        _check(self.explore, self.pulls)
        check_share("start", self.start)
        if self.states < 1 or self.prior < 0:
            raise InvalidSetting(
                f"spec_stop needs states >= 1 and prior >= 0, got {self.states} and {self.prior}"
            )


class SpecStop(LengthRule):
    """The length with the least optimistic seconds per token, a ratio, in this channel state.

    Source: UCB-SpecStop (Sun et al., arXiv 2606.20591), known to us by its abstract and digest
    only: interval ``c sqrt(log(K t) / n)`` on the mean tokens, ratio of means, one table a channel
    state. The prior with a geometric acceptance is ours; it spares sessions of few rounds the pull
    of every arm. A state is the delay as reported, with that of a rejection's message.
    """

    def __init__(self, scenario: Scenario, settings: SpecStopSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        shape = (size, self._settings.states, len(self._lengths))
        self._rows = np.arange(size)
        self._arm, self._state = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._pulls, self._tokens, self._spent = (np.zeros(shape) for _ in range(3))

    def _learn(self, seen: Seen) -> None:
        told = seen.checked | (self._lengths[self._arm] == 0)
        cell = self._rows, self._state, self._arm
        self._pulls[cell] += told
        self._tokens[cell] += np.where(told, seen.tokens, 0)
        self._spent[cell] += np.where(told, seen.seconds, 0.0)

    def _choose(self, status: Status) -> Ints:
        self._state = self._channel(status)
        self._arm = self._tokens_per_s(status).argmax(1)
        return self._lengths[self._arm]

    def _channel(self, status: Status) -> Ints:
        borders = np.geomspace(*_DELAYS_S, self._settings.states + 1)[1:-1]
        delay_s = status["rtt_s"] + self._times.law_s(status)[:, 0]
        return np.searchsorted(borders, delay_s)

    def _tokens_per_s(self, status: Status) -> Floats:
        """Optimistic tokens per second of this state's arms, shape ``[B, arms]``."""
        pulls, tokens, spent = (
            table[self._rows, self._state] for table in (self._pulls, self._tokens, self._spent)
        )
        rounds, prior = pulls.sum(1, keepdims=True) + 1, self._settings.prior
        expected, expected_s = self._believed(status)
        n = np.maximum(pulls + prior, 1e-9)
        width = self._settings.explore * np.sqrt(np.log(len(self._lengths) * rounds) / n)
        upper = (tokens + prior * expected) / n + width
        mean_s = np.where(n > 1e-9, (spent + prior * expected_s) / n, 1.0)
        untried = pulls + (prior > 0) * self._settings.pulls < self._settings.pulls
        return np.where(untried, np.inf, upper / np.maximum(mean_s, 1e-9))

    def _believed(self, status: Status) -> tuple[Floats, Floats]:
        """Tokens and seconds of every length under a geometric acceptance, ``[B, arms]``."""
        a, g = self._settings.start, self._lengths
        stand = np.concatenate([[1.0], np.cumprod(np.full(max(g[-1], 1), a))])
        tokens = np.where(g == 0, self._burst, np.cumsum(stand)[g])
        refused_s = (1 - stand[g]) * self._times.law_s(status)
        return np.broadcast_to(tokens, (len(status), len(g))), self._times.seconds(
            status, g, refused_s
        )
