"""Rules of other systems that set a block's length before it is drafted, each as its source has it.

Those that stop inside a block are in :mod:`policies.stops`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.rounds import Ints, Status
from covspec_core.scenario import Scenario
from policies.beliefs import foreseen
from policies.lengths import LengthRule, Seen, check_range, check_share


@dataclass(frozen=True, slots=True)
class HuggingFaceSettings:
    """Constants of the heuristic schedule; the defaults are the library's.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        start: First draft length.
        up: Added when a whole block stood.
        down: Taken off otherwise.
        shortest: Shortest draft.
        longest: Longest draft; the library has no limit.
    """

    keep: float = 1 / 12
    width: int = 4
    start: int = 5
    up: int = 2
    down: int = 1
    shortest: int = 1
    longest: int = 10

    def __post_init__(self) -> None:
        check_range(self)


class HuggingFace(LengthRule):
    """Two tokens more after a block that stood, one less after any other.

    Source: ``num_assistant_tokens_schedule="heuristic"`` of Hugging Face transformers
    (``generation/candidate_generator.py``); the length lives on from request to request.
    """

    def __init__(self, scenario: Scenario, settings: HuggingFaceSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        self._length = np.full(size, self._settings.start)

    def _learn(self, seen: Seen) -> None:
        chosen = self._settings
        step = np.where(seen.refused, -chosen.down, chosen.up)
        moved = np.clip(self._length + step, max(chosen.shortest, 1), chosen.longest)
        self._length = np.where(seen.checked, moved, self._length)

    def _choose(self, status: Status) -> Ints:
        return self._snap(self._length)


@dataclass(frozen=True, slots=True)
class AdaptiveStepsSettings:
    """Constants of the adaptive steps; the defaults are SGLang's for one request at a time.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        low: Shortest of three lengths; 0 turns drafting off.
        middle: The length to start with.
        high: Longest length.
        weight: Of the newest round in the running count of accepted tokens.
        interval: Rounds between two decisions.
        warmup: Rounds before the first one.
        down: Added to the threshold below which the next shorter length is taken.
        up: Added to the threshold above which the next longer one is.
    """

    keep: float = 1 / 12
    width: int = 4
    low: int = 1
    middle: int = 3
    high: int = 7
    weight: float = 0.2
    interval: int = 5
    warmup: int = 10
    down: float = -0.25
    up: float = 0.0

    def __post_init__(self) -> None:
        check_range(self)
        check_share("weight", self.weight)

    @property
    def shortest(self) -> int:
        """Shortest draft."""
        return self.low

    @property
    def longest(self) -> int:
        """Longest draft."""
        return self.high


class AdaptiveSteps(LengthRule):
    """Few lengths, climbed and descended by a running mean of accepted tokens.

    Source: ``--speculative-adaptive`` of SGLang (``srt/speculative``, ``AdaptiveStepSlot``).
    """

    def __init__(self, scenario: Scenario, settings: AdaptiveStepsSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        chosen = self._settings
        self._steps = np.unique(self._snap(np.array([chosen.low, chosen.middle, chosen.high])))
        place = int(np.searchsorted(self._steps, self._snap(np.array(chosen.middle))))
        self._place = np.full(size, place)
        self._mean = np.full(size, float(self._steps[place] - 1))
        self._rounds = 0

    def _learn(self, seen: Seen) -> None:
        chosen = self._settings
        step = chosen.weight * (seen.accepted - self._mean)
        self._mean += np.where(seen.checked, step, 0.0)
        self._rounds += 1
        late = self._rounds - chosen.warmup
        if late > 0 and late % chosen.interval == 0:
            self._place = np.where(self._steps[self._place] == 0, self._probe(), self._moved())

    def _probe(self) -> Ints:
        """After a while without drafts the shortest one is tried again."""
        return np.minimum(self._place + 1, len(self._steps) - 1)

    def _moved(self) -> Ints:
        """The first steps down whose thresholds are undercut, else up while they are passed."""
        down = up = self._place
        for i in range(len(self._steps) - 1, 0, -1):
            under = abs(self._steps[i - 1] - 0.5) + self._settings.down
            down = np.where((down == i) & (self._mean <= under), i - 1, down)
        for i in range(len(self._steps) - 1):
            over = self._steps[i] - 0.5 + self._settings.up
            up = np.where((up == i) & (self._mean > over), i + 1, up)
        return np.where(down < self._place, down, up)

    def _choose(self, status: Status) -> Ints:
        return self._steps[self._place]


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """Constants of the threshold rule.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        stop: Largest chance of a rejection that is risked; the source has 0.3 to 0.7.
        asleep: Draft length where nothing is foreseen: at a start and after the edge alone.
        shortest: Shortest draft; 0 hands hopeless places to the edge.
        longest: Longest draft.
    """

    keep: float = 1 / 12
    width: int = 4
    stop: float = 0.7
    asleep: int = 4
    shortest: int = 2
    longest: int = 10

    def __post_init__(self) -> None:
        check_range(self)
        check_share("stop", self.stop)


class Threshold(LengthRule):
    """Draft as long as the foreseen chance of a rejection stays below a threshold.

    Source: SpecDec++ (Huang et al., arXiv 2405.19715). It stops inside a block, by what its head
    says of the tokens drafted so far (:class:`policies.stops.SpecDecPP`); this one foresees the
    whole block from the committed text.
    """

    foresees = True

    def __init__(self, scenario: Scenario, settings: ThresholdSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        """It goes by the head alone."""

    def _choose(self, status: Status) -> Ints:
        bold = (foreseen(status) >= 1 - self._settings.stop).sum(1) - 1
        awake = status["awake"] > 0
        return self._snap(np.where(awake, bold, self._settings.asleep))
