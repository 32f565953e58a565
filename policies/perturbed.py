"""Controllers that are told the wrong thing about the link: what their decisions are worth then.

Both wrappers change the status alone, before the controller sees it, and use nothing of the future.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Actions, Floats, Status

RATES: Final = ("up_bps", "down_bps")
LINK_FIELDS: Final = (*RATES, "up_trend", "down_trend", "rtt_s")


class _Told:
    """A controller behind a changed status.

    Args:
        controller: Who decides.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.changes: Mapping[str, Any] = getattr(controller, "changes", {})
        self.foresees = bool(getattr(controller, "foresees", False))

    def begin(self, size: int) -> None:
        """Forget everything; ``size`` new sessions follow."""
        self._controller.begin(size)


class WrongLink(_Told):
    """Rates that the modem misjudges by one factor a session and direction.

    The logarithms of the factors are normal with mean 0. One factor for a whole session is the
    error that no averaging over rounds removes; trends are ratios of rates, so they stay.

    Args:
        controller: Who decides.
        sigma: Standard deviation of a factor's logarithm.
        seed: Of the factors.
    """

    def __init__(self, controller: Controller, sigma: float, seed: int) -> None:
        if sigma < 0:
            raise InvalidSetting(f"sigma must be >= 0, got {sigma}")
        super().__init__(controller)
        self._sigma, self._seed = sigma, seed

    def begin(self, size: int) -> None:
        """Draw the factors of ``size`` new sessions, the same for every controller."""
        super().begin(size)
        drawn = np.random.default_rng(self._seed).normal(0.0, 1.0, (size, len(RATES)))
        self.factors: Floats = np.exp(self._sigma * drawn)

    def decide(self, status: Status) -> Actions:
        """The controller's decision on the rates as misjudged."""
        told = Status(status.values.copy())
        for column, name in enumerate(RATES):
            told[name] = status[name] * self.factors[:, column]
        return self._controller.decide(told)


class StaleLink(_Told):
    """Link fields as they stood some rounds ago; before that, as they stood in the first round.

    Args:
        controller: Who decides.
        rounds: Age of what is told, in rounds.
    """

    def __init__(self, controller: Controller, rounds: int) -> None:
        if rounds < 0:
            raise InvalidSetting(f"rounds must be >= 0, got {rounds}")
        super().__init__(controller)
        self._rounds = rounds

    def begin(self, size: int) -> None:
        """Forget what was reported."""
        super().begin(size)
        self._past: deque[Status] = deque(maxlen=self._rounds + 1)

    def decide(self, status: Status) -> Actions:
        """The controller's decision on the old report."""
        self._past.append(Status(status.values.copy()))
        told = Status(status.values.copy())
        for name in LINK_FIELDS:
            told[name] = self._past[0][name]
        return self._controller.decide(told)
