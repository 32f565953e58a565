"""What the rivals share: they set the draft length only, and learn from checked rounds."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import CHANCE_OFF, GATE_OFF, STOP_OFF, Actions, Bools, Floats, Ints, Status
from covspec_core.scenario import Scenario
from covspec_core.source import Stops
from policies.beliefs import RoundTimes, checked


class Constants(Protocol):
    """Constants that every length rule has."""

    @property
    def keep(self) -> float:
        """Share of visual tokens."""

    @property
    def width(self) -> int:
        """Branches."""

    @property
    def shortest(self) -> int:
        """Shortest draft."""

    @property
    def longest(self) -> int:
        """Longest draft."""


def allowed_lengths(scenario: Scenario, shortest: int, longest: int) -> Ints:
    """Draft lengths that a rule may choose among.

    Raises:
        InvalidSetting: If the scenario has none in the range.
    """
    lengths = np.array(scenario.draft_lengths)
    allowed = (lengths >= shortest) & (lengths <= longest)
    if not allowed.any():
        raise InvalidSetting(
            f"rule needs a draft length in [{shortest}, {longest}], "
            f"the scenario has {scenario.draft_lengths}"
        )
    return lengths[allowed]


class Seen(NamedTuple):
    """What the last round showed, shape ``[B]`` each.

    Attributes:
        checked: The edge judged a block.
        refused: It refused a token of it.
        accepted: Drafted tokens that stood.
        tokens: Answer tokens that it brought; a round that ends an answer counts as a whole one.
        seconds: What it took, by the profile and the link as reported.
    """

    checked: Bools
    refused: Bools
    accepted: Ints
    tokens: Ints
    seconds: Floats


class LengthRule:
    """Sets the draft length; keep and width are constants, the gate is the scenario's.

    Subclasses say how rounds teach (``_learn``), which length follows (``_choose``) and which
    stops end a block before it is reached (``_stops``).

    Args:
        scenario: Costs, protocol and choices.
        settings: Constants.

    Raises:
        InvalidSetting: If the scenario has no draft length in the range of the settings.
    """

    def __init__(self, scenario: Scenario, settings: Constants) -> None:
        self._keep, self._width = settings.keep, settings.width
        self._gate, self._burst = scenario.gate_threshold, scenario.edge_burst
        self._times = RoundTimes(scenario, settings.keep)
        self._lengths = allowed_lengths(scenario, settings.shortest, settings.longest)
        self.begin(0)

    def begin(self, size: int) -> None:
        """Forget all rounds."""
        self._last: tuple[Ints, Floats] | None = None
        self._forget(size)

    def decide(self, status: Status) -> Actions:
        """Learn from the round before, then choose."""
        if self._last is not None:
            self._learn(self._seen(status, *self._last))
        length, n, stops = self._choose(status), len(status), self._stops(status)
        # Seconds if all stands, and if a token is refused.
        both = np.concatenate([np.zeros((n, 1)), self._times.law_s(status)], axis=1)
        self._last = length, self._times.seconds(status, length[:, None], both)
        return Actions(
            keep=np.full(n, self._keep),
            draft_length=length,
            branch_width=np.full(n, self._width),
            gate_threshold=np.full(n, self._gate),
            entropy_stop=stops.entropy,
            chance_stop=stops.chance,
        )

    def _seen(self, status: Status, length: Ints, seconds: Floats) -> Seen:
        refused = status["rejected"] > 0
        accepted = status["accepted"].astype(np.int64)
        return Seen(
            checked=checked(status, gated=self._gate < GATE_OFF),
            refused=refused,
            accepted=accepted,
            tokens=np.where(length == 0, self._burst, accepted + 1),
            seconds=np.where(refused, seconds[:, 1], seconds[:, 0]),
        )

    def _snap(self, wanted: Floats | Ints) -> Ints:
        """The longest allowed lengths that are no longer than wanted, else the shortest."""
        place = np.searchsorted(self._lengths, wanted, side="right") - 1
        return self._lengths[np.maximum(place, 0)]

    def _forget(self, size: int) -> None:
        raise NotImplementedError

    def _learn(self, seen: Seen) -> None:
        """Nothing, unless a rule says otherwise."""

    def _choose(self, status: Status) -> Ints:
        raise NotImplementedError

    def _stops(self, status: Status) -> Stops:
        """What ends a block before its length; nothing unless a rule says otherwise."""
        return Stops(np.full(len(status), STOP_OFF), np.full(len(status), CHANCE_OFF))


def check_range(settings: Constants) -> None:
    """Refuse a range of lengths that is none."""
    if not 0 <= settings.shortest <= settings.longest:
        raise InvalidSetting(
            f"rule needs 0 <= shortest <= longest, got {settings.shortest} and {settings.longest}"
        )


def check_share(name: str, value: float) -> None:
    """Refuse a weight or chance outside [0, 1]."""
    if not 0 <= value <= 1:
        raise InvalidSetting(f"rule needs 0 <= {name} <= 1, got {value}")
