"""The goodput maximiser: vLLM's adaptive K on this engine's rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.randomness import uniform
from covspec_core.rounds import Floats, Ints, Status
from covspec_core.scenario import Scenario
from policies.lengths import LengthRule, Seen, check_range, check_share


@dataclass(frozen=True, slots=True)
class GoodputSettings:
    """Constants of the goodput maximiser.

    Attributes:
        keep: Share of visual tokens.
        width: Branches.
        start: Acceptance of every position before anything was seen.
        weight: Of the newest window in the running acceptances.
        window: Checked rounds of a window.
        patience: The length stays unless the best one is further away than this.
        explore: Chance of drafting the longest block, to hear of late positions.
        shortest: Shortest draft; 0 turns drafting off.
        longest: Longest draft.
        seed: Of the exploration.
    """

    keep: float = 1 / 12
    width: int = 4
    start: float = 0.9
    weight: float = 0.3
    window: int = 10
    patience: int = 1
    explore: float = 0.1
    shortest: int = 1
    longest: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self)
        for name in ("start", "weight", "explore"):
            check_share(name, getattr(self, name))


class Goodput(LengthRule):
    """The length of most accepted tokens per second, from an acceptance for every position.

    Source: adaptive K of vLLM (pull requests 44336 and 47111), after SmartSpec's goodput (Liu et
    al., arXiv 2406.14066); their constant costs are replaced by those of profile and link. With
    one acceptance for all positions it would be :class:`~policies.rules.AdaptiveRule`.
    """

    def __init__(self, scenario: Scenario, settings: GoodputSettings) -> None:
        self._settings = settings
        super().__init__(scenario, settings)

    def _forget(self, size: int) -> None:
        self._decided = 0
        most = self._lengths[-1]
        self._place = np.arange(most)
        self._acceptance = np.full((size, most), self._settings.start)
        self._stood, self._tried = np.zeros((size, most)), np.zeros((size, most))
        self._rounds = np.zeros(size, dtype=np.int64)
        self._length = np.zeros(size, dtype=np.int64) - 1

    def _learn(self, seen: Seen) -> None:
        stood = self._place < seen.accepted[:, None]
        refused = (self._place == seen.accepted[:, None]) & seen.refused[:, None]
        self._stood += stood & seen.checked[:, None]
        self._tried += (stood | refused) & seen.checked[:, None]
        self._rounds += seen.checked
        full = (self._rounds >= self._settings.window)[:, None]
        newest = self._stood / np.maximum(self._tried, 1)
        step = self._settings.weight * (newest - self._acceptance)
        self._acceptance += np.where(full & (self._tried > 0), step, 0.0)
        for counts in (self._stood, self._tried):
            counts *= ~full
        self._rounds *= ~full[:, 0]

    def _choose(self, status: Status) -> Ints:
        best = self._lengths[self._goodput(status).argmax(1)]
        stays = np.abs(best - self._length) <= self._settings.patience
        self._length = np.where(stays & (self._length >= 0), self._length, best)
        chance = uniform(self._settings.seed, np.arange(len(status)), self._decided)
        self._decided += 1
        explores = chance < self._settings.explore
        return np.where(explores, self._lengths[-1], self._length)

    def _goodput(self, status: Status) -> Floats:
        """Expected tokens per second, shape ``[B, lengths]``."""
        ones = np.ones((len(status), 1))
        stand = np.concatenate([ones, np.cumprod(self._acceptance, axis=1)], axis=1)
        tokens, all_stand = np.cumsum(stand, axis=1)[:, self._lengths], stand[:, self._lengths]
        refused_s = (1 - all_stand) * self._times.law_s(status)
        seconds = self._times.seconds(status, self._lengths, refused_s)
        return np.where(self._lengths == 0, self._burst, tokens) / seconds
