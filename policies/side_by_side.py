"""Several batched environments as one, so that a controller learns to play them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from covspec_core.errors import InvalidSetting
from policies.vec_env import Batched, SB3VecEnv


def shares(total: int, parts: int) -> list[int]:
    """A whole number in parts that differ by one at most.

    Raises:
        InvalidSetting: If there are too few for one each.
    """
    if total < parts:
        raise InvalidSetting(f"num_envs must be >= {parts}, one for each part, got {total}")
    ends = [total * part // parts for part in range(parts + 1)]
    return [end - start for start, end in pairwise(ends)]


class SideBySide(Batched):
    """Sessions of several environments in one batch, part behind part.

    Args:
        parts: Environments with equal spaces.

    Raises:
        InvalidSetting: If their spaces differ.
    """

    def __init__(self, parts: Sequence[SB3VecEnv]) -> None:
        self.parts, first = tuple(parts), parts[0]
        for part in parts:
            spaces = part.observation_space, part.action_space
            if spaces != (first.observation_space, first.action_space):
                raise InvalidSetting(f"parts of a mix must have equal spaces, got {spaces}")
        self._ends = np.cumsum([part.num_envs for part in parts])
        super().__init__(int(self._ends[-1]), first.observation_space, first.action_space)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed every part with that of its first session."""
        own = super().seed(seed)
        for part, start in zip(self.parts, (0, *self._ends), strict=False):
            part.seed(own[start])
        return own

    def reset(self) -> NDArray[np.float32]:
        """Begin new sessions everywhere."""
        self._reset_seeds()
        return np.concatenate([part.reset() for part in self.parts])

    def step_async(self, actions: np.ndarray) -> None:
        """Hand every part its actions."""
        for part, own in zip(self.parts, np.split(actions, self._ends[:-1]), strict=True):
            part.step_async(own)

    def step_wait(self) -> VecEnvStepReturn:
        """Play one round everywhere."""
        steps = [part.step_wait() for part in self.parts]
        observations, rewards, done = (
            np.concatenate([step[i] for step in steps]) for i in range(3)
        )
        return observations, rewards, done, [info for step in steps for info in step[3]]

    def close(self) -> None:
        """Close every part."""
        for part in self.parts:
            part.close()

    def _asked(
        self, indices: VecEnvIndices, ask: Callable[[VecEnv, NDArray[np.int64]], Sequence[Any]]
    ) -> list[Any]:
        """Answers of every part for those of its sessions that are asked for."""
        return [answer for part, rows in self._places(indices) for answer in ask(part, rows)]

    def _places(self, indices: VecEnvIndices) -> Iterator[tuple[VecEnv, NDArray[np.int64]]]:
        """Runs of sessions in one part, in the order asked for, with their places in it."""
        rows = np.fromiter(self._get_indices(indices), dtype=np.int64)
        owner = np.searchsorted(self._ends, rows, side="right")
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(owner)) + 1):
            number = int(owner[run[0]])
            part = self.parts[number]
            yield part, rows[run] - self._ends[number] + part.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the environment of each session asked for."""
        return self._asked(indices, lambda part, rows: part.get_attr(attr_name, rows))

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """What a method of each session asked for gives."""
        return self._asked(
            indices,
            lambda part, rows: part.env_method(
                method_name, *method_args, indices=rows, **method_kwargs
            ),
        )
