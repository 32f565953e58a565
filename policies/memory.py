"""What a controller sees of a status: some of its fields, and those of the rounds before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting
from env.observations import RANGES
from env.presets import build

MOST_ROUNDS = 64


@dataclass(frozen=True)
class ObservationSettings:
    """A file of the group ``observation``.

    Attributes:
        without: Status fields, or beginnings of their names, that are not shown.
        history: Rounds that are shown, the present one included.
    """

    without: tuple[str, ...] = ()
    history: int = 1

    def __post_init__(self) -> None:
        for start in self.without:
            if not any(name.startswith(start) for name in RANGES) or not start:
                raise InvalidSetting(
                    f"observation.without must hold beginnings of {sorted(RANGES)}, got {start!r}"
                )
        if not self.fields:
            raise InvalidSetting(f"observation.without must leave a field, got {self.without}")
        if not 1 <= self.history <= MOST_ROUNDS:
            raise InvalidSetting(
                f"observation.history must lie in [1, {MOST_ROUNDS}], got {self.history}"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Status fields that are shown, in the codec's order."""
        return self.among(tuple(RANGES))

    def among(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        """Those of a codec's fields that are shown."""
        return tuple(name for name in fields if not name.startswith(self.without))

    @staticmethod
    def of(values: Mapping[str, Any]) -> ObservationSettings:
        """From the group's values."""
        return build(ObservationSettings, values, "observation")


class Memory:
    """The last rounds of every session, newest last; a session begins with its first one only.

    Args:
        rounds: How many are kept.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self._kept: NDArray[np.float32] | None = None

    def clear(self) -> None:
        """All sessions begin anew with what is shown next."""
        self._kept = None

    def add(
        self,
        shown: NDArray[np.float32],
        begun: NDArray[np.bool_] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Take in a round, ``[B, F]``; all that is kept, oldest first, ``[B, rounds * F]``.

        Args:
            shown: Observations of the round.
            begun: Sessions that begin with it, shape ``[B]``; their past becomes this round.
            rows: Which sessions are shown, once all were; all again if ``None``.
        """
        if self.rounds == 1:
            return shown
        if rows is not None and self._kept is not None:
            self._kept[rows, :-1], self._kept[rows, -1] = self._kept[rows, 1:], shown
            return self._kept[rows].reshape(len(shown), -1)
        if self._kept is None or len(self._kept) != len(shown):
            self._kept = np.repeat(shown[:, None], self.rounds, axis=1)
        else:
            self._kept = np.concatenate([self._kept[:, 1:], shown[:, None]], axis=1)
        if begun is not None and begun.any():
            self._kept[begun] = shown[begun, None]
        return self._kept.reshape(len(shown), -1)

    def ending(self, row: int, last: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a session shows that ends with an observation ``[F]``, shape ``[rounds * F]``."""
        if self._kept is None:
            return last
        return np.concatenate([self._kept[row, 1:].ravel(), last])
