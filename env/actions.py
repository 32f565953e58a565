"""What an action chooses: one index for each of its parts, and the values behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction
from covspec_core.rounds import Actions, Floats

LEVELS: Final = ("round", "token")
"""When decisions fall: before a round, or behind every drafted token of it."""
THRESHOLDS: Final = ("gate_threshold", "entropy_stop", "chance_stop")
GO_ON, SEND, GIVE_UP = range(3)
"""Choices behind a drafted token."""


@cache
def _choose_all() -> Callable[..., int]:
    """The compiled loop, which loads numba: the first action does."""
    from env.loops import choose_all

    return choose_all


class Choices:
    """Turns the indices of an action into values, and values into indices.

    Args:
        parts: Values to choose from by the name of a part, in the order of an action.

    Attributes:
        names: Of the parts.
    """

    def __init__(self, parts: Mapping[str, tuple[float, ...]]) -> None:
        self.names, self._parts = tuple(parts), parts
        sizes = [len(values) for values in parts.values()]
        # Repeated until all parts have as many.
        padded = [np.resize(values, max(sizes)) for values in parts.values()]
        self._counts, self._padded = np.array(sizes), np.array(padded, dtype=np.float64)

    def values(self, indices: NDArray[np.integer]) -> Floats:
        """What indices ``[B, P]`` choose in every part, shape ``[P, B]``.

        Raises:
            InvalidAction: If an index lies outside its space.
        """
        wrong = indices = np.asarray(indices)
        if indices.dtype.kind in "iu" and indices.shape[1:] == self._counts.shape:
            whole = np.ascontiguousarray(indices, dtype=np.int64)
            chosen = np.empty((len(self._counts), len(indices)))
            row = _choose_all()(whole, self._counts, self._padded, chosen)
            if row < 0:
                return chosen
            wrong = indices[row]
        sizes = tuple(self._counts.tolist())
        raise InvalidAction(f"an action must lie in MultiDiscrete{sizes}, got {wrong}")

    def indices(self, actions: Actions) -> NDArray[np.int64]:
        """Indices of actions, shape ``[B, P]``: the inverse of :meth:`values`.

        A threshold, which may be any number, is taken for the nearest one.

        Raises:
            InvalidAction: If another value is none of the choices.
        """
        columns = []
        for name, choices in self._parts.items():
            values = getattr(actions, name)
            same = np.isclose(values[:, None], choices)
            if name in THRESHOLDS:
                with np.errstate(invalid="ignore"):  # infinity less infinity
                    away = np.where(same, 0.0, np.abs(values[:, None] - choices))
                columns.append(away.argmin(1))
                continue
            wrong = ~same.any(1)
            if wrong.any():
                raise InvalidAction(f"{name} must be one of {choices}, got {values[wrong][0]}")
            columns.append(same.argmax(1))
        return np.stack(columns, axis=1)
