"""Controllers that follow a rule. All decide for many sessions at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import CHANCES, GATE_OFF, Actions, Floats, RoundAction, Status
from covspec_core.scenario import MOST_TOKENS, Scenario
from policies.baselines import Elsewhere
from policies.beliefs import RoundTimes, checked, foreseen
from policies.lengths import allowed_lengths


class Fixed:
    """The same action in every round.

    Args:
        action: What it sets.
    """

    def __init__(self, action: RoundAction) -> None:
        self.action, self.foresees = action, action.chance_stop > 0

    def begin(self, size: int) -> None:
        """Nothing to forget."""

    def decide(self, status: Status) -> Actions:
        """The action, for every session."""
        return Actions.full(len(status), self.action)


class Random:
    """Any choice of a scenario, uniformly.

    Args:
        scenario: Whose choices to draw from.
        seed: Of the draws.
    """

    def __init__(self, scenario: Scenario, seed: int = 0) -> None:
        self._scenario, self._seed = scenario, seed
        self.begin(0)

    def begin(self, size: int) -> None:
        """Start the draws again."""
        self._rng = np.random.default_rng(self._seed)

    def decide(self, status: Status) -> Actions:
        """A draw for every session."""
        n, scenario = len(status), self._scenario
        return Actions(
            keep=self._rng.choice(scenario.keep_levels, n),
            draft_length=self._rng.choice(scenario.draft_lengths, n),
            branch_width=self._rng.choice(scenario.branch_widths, n),
            gate_threshold=np.full(n, GATE_OFF),
        )


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Constants of the adaptive rule; the defaults are the paper's, or ours where it gives none.

    Attributes:
        keep: Share of visual tokens; 64 of 768 in the paper.
        width: Branches; at most 4 candidates in the digest's reading.
        gate_threshold: Smallest margin at which a block skips its check; the scenario's if
            ``None``, so that all its controllers give the same guarantee.
        weight: Of the newest round in the running acceptance.
        start: Acceptance before anything was seen.
        shortest: Shortest draft; 0 allows the edge alone, which the paper's rule does not know.
        longest: Longest draft.
        delay_scale: Factor on the round trip in the expected time of a round.
        law_scale: Factor on the time of a rejection's message.
        ready_scale: Factor on the tokens that a branch left ready; 0 plans as if there were none.
        acceptance_scale: Exponent on the running acceptance.
    """

    keep: float = 1 / 12
    width: int = 4
    gate_threshold: float | None = None
    weight: float = 0.2
    start: float = 0.9
    shortest: int = 1
    longest: int = 8
    delay_scale: float = 1.0
    law_scale: float = 1.0
    ready_scale: float = 1.0
    acceptance_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1 or not 0 < self.start < 1:
            raise InvalidSetting(
                f"rule needs 0 < weight <= 1 and 0 < start < 1, got {self.weight} and {self.start}"
            )
        if not 0 <= self.shortest <= self.longest:
            raise InvalidSetting(
                f"rule needs 0 <= shortest <= longest, got {self.shortest} and {self.longest}"
            )


@dataclass(frozen=True, slots=True)
class ForesightSettings(RuleSettings):
    """Constants of foresight: the rule's, the edge alone and long drafts allowed.

    Attributes:
        shortest: 0 allows the edge alone.
        longest: Longest draft.
    """

    shortest: int = 0
    longest: int = 10


class AdaptiveRule:
    """The paper's rule: the draft length of the best expected tokens per second.

    ``E(A, g) / (g t_d + t_v(g + 1) + D + (1 - A^g) t_p)`` with ``E = (1 - A^(g+1)) / (1 - A)``,
    a running mean ``A`` of the acceptance, round trip ``D`` and time ``t_p`` of a rejection's
    message (arXiv 2605.02218; formula and constants are our reading, it gives none).

    Args:
        scenario: Costs, protocol and choices.
        settings: Constants.
    """

    def __init__(self, scenario: Scenario, settings: RuleSettings) -> None:
        self._settings, self._burst = settings, scenario.edge_burst
        self._times = RoundTimes(scenario, settings.keep)
        gate = settings.gate_threshold
        self._gate = scenario.gate_threshold if gate is None else gate
        self._lengths = allowed_lengths(scenario, settings.shortest, settings.longest)
        self.begin(0)

    def begin(self, size: int) -> None:
        """Forget the running acceptance."""
        self._acceptance = np.full(size, self._settings.start)

    def decide(self, status: Status) -> Actions:
        """The best length under what was seen so far; all else is fixed."""
        self._update(status)
        best = self._tokens_per_s(status).argmax(1)
        n = len(status)
        return Actions(
            keep=np.full(n, self._settings.keep),
            draft_length=self._lengths[best],
            branch_width=np.full(n, self._settings.width),
            gate_threshold=np.full(n, self._gate),
        )

    def _update(self, status: Status) -> None:
        judged = status["accepted"] + status["rejected"]
        called = checked(status, gated=self._gate < GATE_OFF)
        newest = status["accepted"] / np.maximum(judged, 1)
        step = self._settings.weight * (newest - self._acceptance)
        self._acceptance += np.where(called, step, 0.0)

    def _expected(self, status: Status) -> tuple[Floats, Floats]:
        """Tokens that a round of every length brings, and the chance that all drafted ones stand.

        Returns:
            Shape ``[B, lengths]`` each.
        """
        a = np.clip(self._acceptance, 0.01, 0.99)[:, None] ** self._settings.acceptance_scale
        return (1 - a ** (self._lengths + 1)) / (1 - a), a**self._lengths

    def _tokens_per_s(self, status: Status) -> Floats:
        """Expected tokens per second, shape ``[B, lengths]``."""
        settings = self._settings
        tokens, all_stand = self._expected(status)
        law_s = settings.law_scale * self._times.law_s(status)
        refused_s = (1 - all_stand) * law_s
        seconds = self._times.seconds(
            status, self._lengths, refused_s, settings.delay_scale, settings.ready_scale
        )
        tokens_per_s: Floats = np.where(self._lengths == 0, self._burst, tokens) / seconds
        return tokens_per_s


class Foresight(AdaptiveRule):
    """The same rule with what the acceptance head foresees in place of the running mean.

    Model-predictive control over one round: wherever the device is awake, expected tokens and the
    chance of a rejection come from the head.
    """

    foresees = True

    def _expected(self, status: Status) -> tuple[Floats, Floats]:
        usual = super()._expected(status)
        seen, g = foreseen(status), np.minimum(self._lengths, CHANCES[-1])
        awake = status["awake"][:, None] > 0
        tokens, all_stand = np.cumsum(seen, axis=1)[:, g], seen[:, g]
        return np.where(awake, tokens, usual[0]), np.where(awake, all_stand, usual[1])


def edge_only(scenario: Scenario) -> Elsewhere:
    """The edge decodes everything, and no device reads along."""
    if scenario.draft_lengths[0] != 0:
        raise InvalidSetting(f"edge_only needs draft length 0, got {scenario.draft_lengths}")
    return Elsewhere(Fixed(RoundAction(scenario.keep_levels[0], 0, 0)), {"reads_along": False})


def device_only(scenario: Scenario, keep: float = 1.0) -> Elsewhere:
    """The device commits every block unchecked, however many stand unchecked already."""
    action = RoundAction(keep, scenario.draft_lengths[-1], 0, gate_threshold=0.0)
    return Elsewhere(Fixed(action), {"max_skipped": MOST_TOKENS})
