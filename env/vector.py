"""The natively batched environment: thousands of sessions in one NumPy step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting
from covspec_core.recording import Recording
from covspec_core.scenario import Scenario
from env.play import Observations, Play, World, keys_of
from env.rewards import RewardWeights
from env.tokens import TokenPlay


class CoVSpecVectorEnv(VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """``num_envs`` sessions side by side; see :class:`env.single.CoVSpecEnv`.

    A finished session is followed by the next one in the same step; its last observation is in
    ``infos["final_obs"]``. Session ``i`` under seed ``s`` equals a single environment's under
    seed ``s + i``.

    Args:
        num_envs: Number of sessions.
        scenario: What is emulated; built from ``choices`` if ``None``.
        split: ``train``, ``validation`` or ``test``.
        recording: A recording or its path; the embedded pair's if ``None``.
        reward: Weights of the reward's terms; time alone if ``None``.
        world: Scenario, links and requests already loaded; then nothing else may say what they are,
            and ``split`` is not read.
        **choices: Arguments of :func:`env.presets.named_scenario`; none beside ``scenario``.

    Raises:
        InvalidSetting: If a setting breaks its rule.
        BrokenRecording: If the recording cannot be read or has no such split.
    """

    _play_type: type[Play] = Play
    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Scenario | None = None,
        split: str = "train",
        recording: str | Recording | None = None,
        reward: RewardWeights | None = None,
        world: World | None = None,
        **choices: Any,
    ) -> None:
        if num_envs < 1:
            raise InvalidSetting(f"num_envs must be >= 1, got {num_envs}")
        also = choices | {"scenario": scenario, "recording": recording}
        if world is None:
            world = World.chosen(scenario, choices, split, recording)
        elif given := sorted(name for name, value in also.items() if value is not None):
            raise InvalidSetting(f"world must stand alone, got {given} beside it")
        self.num_envs = num_envs
        source = world.replay(num_envs)
        self.play = self._play_type(world, source, num_envs, reward or RewardWeights())
        self.single_observation_space = self.play.observation_space
        self.single_action_space = self.play.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seeded = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin new sessions everywhere.

        Args:
            seed: Of session 0, session ``i`` then has ``seed + i``; or one for each, where ``None``
                lets a session follow on those before, as no seed does everywhere.
            options: Not used.

        Raises:
            InvalidSetting: If seeds do not come one for each session, or one has more than 64 bits.
            LinkTimeout: If a link stays dead beyond the scenario's deadline.
        """
        if not self._seeded:
            self.play.seed(self.np_random.integers(2**63, size=self.num_envs, dtype=np.uint64))
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = range(int(seed), int(seed) + self.num_envs)
        if seed is not None:
            self._seed(seed)
        self._seeded = True
        self.play.begin(np.arange(self.num_envs))
        return self.play.observe(), {"edge_only_s": self.play.edge_only_s.copy()}

    def _seed(self, seeds: Sequence[int | None]) -> None:
        if len(seeds) != self.num_envs:
            raise InvalidSetting(
                f"seeds must come for {self.num_envs} sessions, got {len(seeds)} of them"
            )
        rows = np.array([row for row, own in enumerate(seeds) if own is not None], dtype=np.int64)
        self.play.seed(keys_of(seeds[row] for row in rows), rows)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[
        Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Play one round in every session; see :meth:`env.single.CoVSpecEnv.step`.

        ``infos`` hold columns: ``round`` is a :class:`~covspec_core.rounds.RoundResult`, ``terms``
        those of the rewards. Where sessions ended ``final_obs`` and ``speedup`` are theirs, as the
        masks ``_final_obs`` and ``_speedup`` say.
        """
        step = self.play.step(actions)
        infos: dict[str, Any] = {"round": step.result, "terms": step.terms}
        observations = step.observations
        rows = np.flatnonzero(step.done)
        if rows.size:
            infos |= self._final(rows, observations[rows])
            self.play.begin(rows)
            observations[rows] = self.play.observe_some(rows)
        return observations, step.rewards, step.done, np.zeros(self.num_envs, dtype=bool), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Choices that are not pointless, shape ``[num_envs, sum of sizes]``."""
        return self.play.masks()

    def _final(self, rows: NDArray[np.int64], observations: Observations) -> dict[str, Any]:
        done = np.zeros(self.num_envs, dtype=bool)
        done[rows] = True
        speedup = np.zeros(self.num_envs)
        speedup[rows] = self.play.edge_only_s[rows] / self.play.sessions.now_s[rows]
        final = np.full(self.num_envs, None, dtype=object)
        for row, observation in zip(rows, observations, strict=True):
            final[row] = observation
        return {"final_obs": final, "_final_obs": done, "speedup": speedup, "_speedup": done}


class CoVSpecTokenVectorEnv(CoVSpecVectorEnv):
    """``num_envs`` sessions, decided token by token; see :class:`env.single.CoVSpecTokenEnv`."""

    _play_type = TokenPlay


BATCHES: Final[dict[str, type[CoVSpecVectorEnv]]] = {
    "round": CoVSpecVectorEnv,
    "token": CoVSpecTokenVectorEnv,
}
"""By level, see :data:`env.actions.LEVELS`."""
