"""Trains a controller with Stable-Baselines3: rollout by rollout, resumable, validated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting, RunConflict
from covspec_core.scenario import Scenario
from env.codec import Codec
from env.play import World
from env.rewards import RewardWeights
from env.vector import BATCHES
from policies.algorithms.export import network_of
from policies.algorithms.models import FIGURES, new_model, schedule
from policies.algorithms.settings import PPOSettings, Settings
from policies.checkpoints import read_checkpoint, write_checkpoint
from policies.imitation import copy_teacher, hold_policy
from policies.judging import judge_mix, worth
from policies.learned import LearnedController, controller_of
from policies.memory import ObservationSettings
from policies.networks import Network
from policies.side_by_side import SideBySide, shares
from policies.vec_env import SB3VecEnv

VALIDATION_SEED: Final = 0
"""Of the sessions and links that all trainings are validated on, so that seeds compare."""


@dataclass
class Progress:
    """How a training stands; what a checkpoint must bring back beside the model.

    Attributes:
        best: Best worth on validation so far, see :func:`policies.judging.worth`.
        best_network: The network that reached it.
        history: One row of figures per rollout.
        seconds: Time spent, over all interruptions.
        copied: Whether a teacher was copied first.
    """

    best: float = -np.inf
    best_network: Network | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    copied: bool = False


def codec_at(level: str, scenario: Scenario, settings: Settings) -> Codec:
    """What an algorithm sees and sets in a scenario at a level.

    Raises:
        InvalidSetting: If they do not go together.
    """
    if level == "token" and isinstance(settings, PPOSettings) and settings.imitates:
        raise InvalidSetting(
            "algorithm.imitation_rounds must be 0 at token level, as teachers decide round by "
            f"round, got {settings.imitation_rounds}"
        )
    return Codec.of(scenario).at(level)


class Trainer:
    """A resumable training run.

    Args:
        settings: Of the algorithm.
        train: Scenarios with equal choices, links and requests to learn from, in equal shares.
        validation: The same to choose by.
        reward: Weights of the reward's terms while learning.
        seed: Of everything.
        validation_sessions: Sessions per validation.
        teacher: Gives the controller of a scenario to copy before learning.
        observation: What the controller sees.
        level: When it decides, one of :data:`env.actions.LEVELS`.

    Raises:
        InvalidSetting: If level and other settings do not go together.
    """

    def __init__(
        self,
        settings: Settings,
        train: Sequence[World],
        validation: Sequence[World],
        reward: RewardWeights,
        seed: int,
        validation_sessions: int = 256,
        teacher: Callable[[Scenario], Controller] | None = None,
        observation: ObservationSettings | None = None,
        level: str = "round",
    ) -> None:
        torch.set_num_threads(settings.threads)
        self.settings, self._validation = settings, validation
        self._sessions, self._seed, self._reward = validation_sessions, seed, reward
        self._shown = observation or ObservationSettings()
        codec, self._level = codec_at(level, train[0].scenario, settings), level
        self._codec = replace(codec, fields=self._shown.among(codec.fields))
        self.model: BaseAlgorithm = new_model(settings, self._batch(train), seed)
        self.progress = Progress()
        self._teacher = teacher

    def _batch(self, worlds: Sequence[World]) -> SB3VecEnv | SideBySide:
        settings, sizes = self.settings, shares(self.settings.num_envs, len(worlds))
        batches = (
            BATCHES[self._level](size, world=world, reward=self._reward)
            for size, world in zip(sizes, worlds, strict=True)
        )
        parts = [
            SB3VecEnv(batch, settings.differential, settings.view, self._shown) for batch in batches
        ]
        return parts[0] if len(parts) == 1 else SideBySide(parts)

    @property
    def steps(self) -> int:
        """Rounds trained on so far; at token level steps of them."""
        return int(self.model.num_timesteps)

    def run(
        self,
        on_rollout: Callable[[dict[str, float]], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train until done or asked to stop after a rollout.

        Returns:
            Whether training is complete.
        """
        settings = self.settings
        if self.steps == 0 and isinstance(settings, PPOSettings) and settings.imitates:
            if self._teacher is None:
                raise InvalidSetting("algorithm.imitation_rounds needs a teacher, got none")
            self._copy(settings, self._teacher)
        while self.steps < self.settings.total_steps:
            on_rollout(self._one_rollout())
            if should_stop():
                return self.steps >= self.settings.total_steps
        return True

    def _copy(self, settings: PPOSettings, teacher: Callable[[Scenario], Controller]) -> None:
        began, model = time.perf_counter(), self.model
        assert isinstance(model, OnPolicyAlgorithm)
        copy_teacher(model, teacher, settings, self._seed)
        self.progress.copied = True
        self.progress.seconds += time.perf_counter() - began

    def _one_rollout(self) -> dict[str, float]:
        began, settings = time.perf_counter(), self.settings
        schedule(self.model, settings, self.steps / settings.total_steps)
        if self.progress.copied and isinstance(settings, PPOSettings):
            young = self.steps < settings.value_rollouts * settings.rollout
            assert isinstance(self.model, OnPolicyAlgorithm)
            hold_policy(self.model, held=young)
        self.model.learn(settings.rollout, reset_num_timesteps=False, progress_bar=False)
        self.progress.seconds += time.perf_counter() - began
        row = self._figures(settings.rollout / (time.perf_counter() - began))
        due = len(self.progress.history) % settings.validate_every == 0
        if due or self.steps >= 0.98 * settings.total_steps:
            row |= self._validate()
        self.progress.history.append(row)
        return row

    def _figures(self, rate: float) -> dict[str, float]:
        episodes = list(self.model.ep_info_buffer or [])
        logged = self.model.logger.name_to_value
        row = {"steps": float(self.steps), "steps_per_s": rate, "seconds": self.progress.seconds}
        for name in FIGURES:
            if f"train/{name}" in logged:
                row[name] = float(logged[f"train/{name}"])
        if episodes:
            row["train_return"] = float(np.mean([e["r"] for e in episodes]))
            row["train_speedup"] = float(np.mean([e["speedup"] for e in episodes]))
        return row

    def _validate(self) -> dict[str, float]:
        network = self.network()
        controller = controller_of(self._codec, network)
        scores = judge_mix(self._validation, lambda _: controller, self._sessions, VALIDATION_SEED)
        value = worth(scores, self._reward)
        if value > self.progress.best:
            self.progress.best, self.progress.best_network = value, network
        return {"validation_speedup": float(scores.speedup.mean()), "validation_worth": value}

    def network(self) -> Network:
        """The policy as it stands."""
        return network_of(self.model, self.settings, self._shown.history)

    def controller(
        self, meta: dict[str, Any] | None = None, network: Network | None = None
    ) -> LearnedController:
        """A network, the best by validation if ``None``, ready to deploy.

        Raises:
            RunConflict: If nothing was validated yet.
        """
        network = network or self.progress.best_network
        if network is None:
            raise RunConflict("a training has a controller once it was validated, got none yet")
        return controller_of(self._codec, network, meta)

    def save(self, folder: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the last one intact.

        The model is kept with optimisers, sessions, replay buffer and states of memory; without
        its last rollout, which was learned from and which the next one overwrites.
        """
        model = copy(self.model)
        if isinstance(model, OnPolicyAlgorithm):
            del model.rollout_buffer
        write_checkpoint(
            folder,
            {
                "asked": self._asked,
                "model": model,
                "progress": self.progress,
                "torch": torch.get_rng_state(),
                "numpy": np.random.get_state(),  # noqa: NPY002 (SB3 shuffles minibatches with it)
            },
        )

    @property
    def _asked(self) -> tuple[Any, ...]:
        return self.settings, self._reward, self._seed, self._shown, self._level

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint as if nothing had happened.

        Raises:
            RunConflict: If it is missing, damaged, or was made under other settings.
        """
        state = read_checkpoint(folder)
        if state["asked"] != self._asked:
            raise RunConflict(
                f"{folder} was trained with {state['asked']}, now asked for {self._asked}"
            )
        model = state["model"]
        if isinstance(self.model, OnPolicyAlgorithm):
            model.rollout_buffer = self.model.rollout_buffer
        self.model, self.progress = model, state["progress"]
        torch.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
