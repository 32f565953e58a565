"""Other views of the actions, for algorithms that know one kind of space alone.

A view turns its own actions into the indices that environments take. ``parts`` is the
environment's own ``MultiDiscrete``, ``flat`` a ``Discrete`` of all combinations, ``box`` a ``Box``
with one real number a part. Wrappers give the same views to a single environment::

    env = FlatActions(gymnasium.make("env:CoVSpec-v0"))
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction, InvalidSetting
from env.codec import Codec

MOST_COMBINATIONS = 4096
"""More choices than that no Q network should have to rank."""


class View(Protocol):
    """Actions of one kind of space.

    Attributes:
        space: Of one session's action.
        outputs: Numbers that a network gives for it.
    """

    space: spaces.Space[Any]
    outputs: int

    def indices(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """Indices ``[B, P]`` of the actions of ``B`` sessions."""


class PartsView:
    """The environment's own actions, one index a part, shape ``[B, P]``."""

    def __init__(self, codec: Codec) -> None:
        self.space: spaces.Space[Any] = codec.action_space
        self.outputs = sum(codec.sizes)

    def indices(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """The same; the codec checks them."""
        return actions


class FlatView:
    """All combinations of the parts, one number each, shape ``[B]``.

    Where nothing is sent no branch is drafted, so what sends nothing (draft length 0, or at token
    level whatever is no ``SEND``) comes with the first branch width only. It keeps its keep levels,
    as they hold for the rest of a request.

    Raises:
        InvalidSetting: If there are too many combinations.
    """

    def __init__(self, codec: Codec) -> None:
        if np.prod(codec.sizes) > MOST_COMBINATIONS:
            raise InvalidSetting(
                f"a flat view takes at most {MOST_COMBINATIONS} combinations of the action's "
                f"parts, got {codec.sizes}; choose an algorithm that acts in parts, such as ppo"
            )
        every = np.array(list(product(*map(range, codec.sizes))), dtype=np.int64)
        self._table = every[~codec.idle(every) | (every[:, 2] == 0)]
        self.outputs = len(self._table)
        self.space: spaces.Space[Any] = spaces.Discrete(self.outputs)

    def indices(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """Rows of the table of combinations.

        Raises:
            InvalidAction: If a number is none of them.
        """
        actions = np.asarray(actions)
        whole = actions.dtype.kind in "iu" and actions.ndim == 1
        if not whole or ((actions < 0) | (actions >= self.outputs)).any():
            raise InvalidAction(f"an action must lie in Discrete({self.outputs}), got {actions}")
        return self._table[actions]


class BoxView:
    """One real number in [-1, 1] a part, shape ``[B, P]``; levels share the range evenly."""

    def __init__(self, codec: Codec) -> None:
        self._sizes = np.array(codec.sizes)
        self.outputs = len(codec.sizes)
        self.space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (self.outputs,), np.float32)

    def indices(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """The level in whose share of the range a number lies.

        Raises:
            InvalidAction: If a number is NaN or beyond the range.
        """
        actions = np.asarray(actions)
        fits = actions.shape[1:] == self._sizes.shape
        if not fits or not (np.abs(actions) <= 1.0).all():
            raise InvalidAction(f"an action must lie in [-1, 1]^{self.outputs}, got {actions}")
        levels = np.floor((actions + 1.0) / 2.0 * self._sizes).astype(np.int64)
        return np.minimum(levels, self._sizes - 1)


VIEWS: dict[str, Callable[[Codec], View]] = {
    "parts": PartsView,
    "flat": FlatView,
    "box": BoxView,
}


class _ViewedActions(
    gymnasium.ActionWrapper[NDArray[np.float32], Any, NDArray[np.int64]], RecordConstructorArgs
):
    """A single environment whose actions are those of a view."""

    _view_type: Callable[[Codec], View]

    def __init__(self, env: gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._view = self._view_type(env.unwrapped.play.codec)  # type: ignore[attr-defined]
        self.action_space = self._view.space

    def action(self, action: Any) -> NDArray[np.int64]:
        """Indices of the parts."""
        return self._view.indices(np.asarray(action)[None])[0]


class FlatActions(_ViewedActions):
    """A single environment with a ``Discrete`` action, for DQN and its kin."""

    _view_type = FlatView


class BoxActions(_ViewedActions):
    """A single environment with a ``Box`` action, for SAC and its kin."""

    _view_type = BoxView
