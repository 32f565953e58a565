"""Rules that end a block while it is drafted, by its entropies or by what the head foresees.

Two are one threshold on the entropy, which the engine's ``entropy_stop`` takes: what differs is
how the threshold comes about. Two are one on the chance that all tokens stand, its
``chance_stop``. Replays of them are exact in what is committed, and near in what a block that
leaves the text costs (:mod:`covspec_core.replay`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Actions, Ints, Status
from covspec_core.scenario import Scenario
from covspec_core.source import Stops
from policies.lengths import LengthRule, Seen, check_range, check_share
from policies.rules import Foresight, ForesightSettings, RuleSettings


@dataclass(frozen=True, slots=True)
class SvipSettings:
    """Constants of SVIP; those of its code, but for the longest draft, which is 40 there.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        scale: Factor ``c`` on the entropy, above 0.
        threshold: Root of the scaled entropy beyond which drafting ends, >= 0.
        shortest: Kept at 1: a block has its first token before its entropy is looked at.
        longest: Longest draft.
    """

    keep: float = 1 / 12
    width: int = 4
    scale: float = 0.15
    threshold: float = 0.3
    shortest: int = 1
    longest: int = 10

    def __post_init__(self) -> None:
        check_range(self)
        if not self.scale > 0 or not self.threshold >= 0:
            raise InvalidSetting(
                f"rule needs scale > 0 and threshold >= 0, got {self.scale} and {self.threshold}"
            )


class Svip(LengthRule):
    """Draft until ``sqrt(c H) > h``.

    Source: SVIP (arXiv 2411.18462), a self-verification length policy.
    """

    def __init__(self, scenario: Scenario, settings: SvipSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        """It goes by the law in hand alone."""

    def _choose(self, status: Status) -> Ints:
        return np.full(len(status), self._lengths[-1])

    def _stops(self, status: Status) -> Stops:
        entropy = np.full(len(status), self._settings.threshold**2 / self._settings.scale)
        return super()._stops(status)._replace(entropy=entropy)


@dataclass(frozen=True, slots=True)
class AdaEdlSettings:
    """Constants of AdaEDL. The factor on the entropy is the source's; steps and targets are ours.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        gamma: Factor on the entropy in the bound, above 0.
        start: First threshold on the bound, in [0, 1].
        target: Acceptance that the threshold is moved to hold, in [0, 1].
        weight: Of the newest round in the running acceptance, in [0, 1].
        step: By which the threshold moves after a checked round, in [0, 1].
        shortest: Kept at 1: a block has its first token before its entropy is looked at.
        longest: Longest draft.
    """

    keep: float = 1 / 12
    width: int = 4
    gamma: float = 0.2
    start: float = 0.4
    target: float = 0.9
    weight: float = 0.5
    step: float = 0.01
    shortest: int = 1
    longest: int = 10

    def __post_init__(self) -> None:
        check_range(self)
        for name in ("start", "target", "weight", "step"):
            check_share(name, getattr(self, name))
        if not self.gamma > 0:
            raise InvalidSetting(f"rule needs gamma > 0, got {self.gamma}")


class AdaEdl(LengthRule):
    """Draft until the bound ``1 - sqrt(gamma H)`` on the acceptance falls below a threshold.

    Source: AdaEDL (arXiv 2410.18351). The threshold rises while fewer tokens than wanted stand.
    """

    def __init__(self, scenario: Scenario, settings: AdaEdlSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        self._threshold = np.full(size, self._settings.start)
        self._acceptance = np.full(size, self._settings.target)

    def _learn(self, seen: Seen) -> None:
        chosen = self._settings
        judged = np.maximum(seen.accepted + seen.refused, 1)
        newest = chosen.weight * (seen.accepted / judged - self._acceptance)
        self._acceptance += np.where(seen.checked, newest, 0.0)
        step = chosen.step * np.sign(chosen.target - self._acceptance)
        self._threshold = np.clip(self._threshold + np.where(seen.checked, step, 0.0), 0.0, 1.0)

    def _choose(self, status: Status) -> Ints:
        return np.full(len(status), self._lengths[-1])

    def _stops(self, status: Status) -> Stops:
        entropy = (1.0 - self._threshold) ** 2 / self._settings.gamma
        return super()._stops(status)._replace(entropy=entropy)


@dataclass(frozen=True, slots=True)
class SpecDecPPSettings:
    """Constants of SpecDec++.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        stop: Largest chance of a rejection that is risked; the source has 0.3 to 0.7.
        shortest: 0 hands places to the edge where the first token alone is risked too much, as far
            as the device foresees it before it drafts; 1 drafts it whatever it is.
        longest: Longest draft; 20 in the source.
    """

    keep: float = 1 / 12
    width: int = 4
    stop: float = 0.7
    shortest: int = 1
    longest: int = 10

    def __post_init__(self) -> None:
        check_range(self)
        check_share("stop", self.stop)


class SpecDecPP(LengthRule):
    """Draft until the foreseen chance that a token of the block is refused passes a threshold.

    Source: SpecDec++ (Huang et al., arXiv 2405.19715, section 3): the chance is one minus the
    product of what the head says of the tokens drawn so far; here one token more counts, which
    spares it tokens that it would distrust. :class:`policies.rivals.Threshold` looks ahead from the
    committed text instead.
    """

    foresees = True

    def __init__(self, scenario: Scenario, settings: SpecDecPPSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        """It goes by the head alone."""

    def _choose(self, status: Status) -> Ints:
        hopeless = (status["awake"] > 0) & (status["chance_1"] < 1 - self._settings.stop)
        return np.where(hopeless, self._lengths[0], self._lengths[-1])

    def _stops(self, status: Status) -> Stops:
        chance = np.full(len(status), 1 - self._settings.stop)
        return super()._stops(status)._replace(chance=chance)


@dataclass(frozen=True, slots=True)
class ForesightStopSettings(ForesightSettings):
    """Constants of foresight with a stop: foresight's, and SpecDec++'s.

    Attributes:
        stop: Largest chance of a rejection that is risked.
    """

    stop: float = 0.7

    def __post_init__(self) -> None:
        RuleSettings.__post_init__(self)
        check_share("stop", self.stop)


class ForesightStop(Foresight):
    """Foresight's length, which SpecDec++'s stop cuts short where the block itself disappoints.

    Ours: the length is planned from the committed text, with the link and all costs; what the head
    says of every token as it is drafted is seen only then. Worth more than the longest draft with
    the stop wherever foresight drafts at all: where a call is cheap, its length alone knows it.
    """

    def __init__(self, scenario: Scenario, settings: ForesightStopSettings) -> None:
        super().__init__(scenario, settings)
        self._least = 1 - settings.stop

    def decide(self, status: Status) -> Actions:
        """Foresight's decision, and the least chance at which its block goes on."""
        stop = np.full(len(status), self._least)
        return replace(super().decide(status), chance_stop=stop)
