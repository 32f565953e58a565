"""The batched environment as Stable-Baselines3 wants it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from covspec_core.randomness import mix
from env.play import Observations
from env.vector import CoVSpecVectorEnv
from env.views import VIEWS
from policies.memory import Memory, ObservationSettings

Stepped = tuple[Observations, np.ndarray, np.ndarray, list[dict[str, Any]]]
"""Observations, rewards, which sessions are over, and what else there is to say of each."""
KNOWN_SHARE = 0.98
"""What of the running costs per token is kept from step to step."""


class RunningCost:
    """Average cost of a token on every link, for differential rewards.

    A session's tokens are given, so crediting each with a constant changes no optimum; with the
    average cost as the constant (R-learning, Schwartz 1993), rewards are near zero on average,
    and discounting by rounds favours neither long nor short ones.

    Args:
        links: Number of links.
    """

    def __init__(self, links: int) -> None:
        self._cost, self._tokens = np.ones(links), np.ones(links)

    def credit(self, row: np.ndarray, cost: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Take in a step's costs; the credit for its tokens. All shapes ``[B]``.

        Args:
            row: Link of each session.
            cost: Negative rewards.
            tokens: Tokens, in shares of the session's edge-only seconds.
        """
        for total, amounts in ((self._cost, cost), (self._tokens, tokens)):
            seen = np.bincount(row, amounts, minlength=len(total))
            total *= KNOWN_SHARE
            total += (1 - KNOWN_SHARE) * seen
        return (self._cost / np.maximum(self._tokens, 1e-12))[row] * tokens


class Batched(VecEnv):
    """Sessions that have no attributes and no wrappers of their own."""

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: sessions have no attributes of their own."""
        raise NotImplementedError("sessions of a batched environment share their attributes")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Sessions are never wrapped one by one."""
        return [False] * len(list(self._get_indices(indices)))


class SB3VecEnv(Batched):
    """A :class:`~env.vector.CoVSpecVectorEnv` behind SB3's ``VecEnv`` interface.

    Args:
        env: The batched environment.
        differential: Credit tokens with the running average of their cost.
        view: Of the actions, one of :data:`env.views.VIEWS`.
        observation: What of the environment's observations is shown.
    """

    def __init__(
        self,
        env: CoVSpecVectorEnv,
        differential: bool = False,
        view: str = "parts",
        observation: ObservationSettings | None = None,
    ) -> None:
        self.env = env
        self._running = RunningCost(env.play.sessions.path.table.n) if differential else None
        self._view, own = VIEWS[view](env.play.codec), env.play.codec.fields
        shown = observation or ObservationSettings()
        fields = shown.among(own)
        self._columns = np.array([own.index(name) for name in fields])
        self._whole = fields == own
        self._memory = Memory(shown.history)
        width = len(fields) * shown.history
        space = spaces.Box(0.0, 1.0, (width,), np.float32)
        super().__init__(env.num_envs, space, self._view.space)
        self._clear()

    def _clear(self) -> None:
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, int)
        self._memory.clear()

    def _shown(self, observations: Observations) -> Observations:
        """Observations without what is not shown, the last axis being fields."""
        return observations if self._whole else observations[..., self._columns]

    def reset(self) -> Observations:
        """Begin new sessions; the seed given to :meth:`seed` is used once.

        Environments count seeds up from row to row. So that trainings of neighbouring seeds do not
        play each other's sessions, it is spread over all numbers first.
        """
        seed = self._seeds[0]
        observations, _ = self.env.reset(seed=None if seed is None else int(mix(int(seed), 0)))
        self._reset_seeds()
        self._clear()
        return self._memory.add(self._shown(observations))

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> Stepped:
        """Play one round, or at token level one step of it, everywhere."""
        work = self._work_of_a_token()
        observations, rewards, done, _, infos = self.env.step(self._view.indices(self._actions))
        self._returns += rewards
        if self._running is not None:
            row, tokens = work[0], work[1] * infos["round"].emitted
            rewards = rewards + self._running.credit(row, -rewards, tokens)
        self._lengths += 1
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for ended in np.flatnonzero(done):
            rows[ended] = self._final(infos, int(ended))
        self._returns[done], self._lengths[done] = 0.0, 0
        shown = self._memory.add(self._shown(observations), done)
        return shown, rewards.astype(np.float32), done, rows

    def _work_of_a_token(self) -> tuple[np.ndarray, np.ndarray]:
        """Link of each session, and a token's share of its edge-only seconds, before a step."""
        play = self.env.play
        step_s = play.sessions.scenario.profile.edge_step_s * play.sessions.path.edge_factor
        return play.sessions.path.row.copy(), step_s / play.edge_only_s

    def _final(self, infos: dict[str, Any], row: int) -> dict[str, Any]:
        episode = {"r": float(self._returns[row]), "l": int(self._lengths[row])}
        episode["speedup"] = float(infos["speedup"][row])
        last = self._memory.ending(row, self._shown(infos["final_obs"][row]))
        return {"terminal_observation": last, "episode": episode}

    def close(self) -> None:
        """Close the batched environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The batched environment's attribute, once per session asked for."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Masks of the actions; sessions have no other methods of their own."""
        if method_name != "action_masks" or method_args or method_kwargs:
            raise NotImplementedError("sessions of a batched environment share their methods")
        masks = self.env.action_masks()
        return [masks[row] for row in self._get_indices(indices)]
