"""Trains a controller with Stable-Baselines3: rollout by rollout, resumable, validated."""

from __future__ import annotations

import hashlib
import io
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting, RunConflict
from env.play import World
from env.rewards import RewardWeights
from env.vector import CoVSpecVectorEnv
from policies.imitation import demonstrations, hold_policy, imitate
from policies.judging import judge, worth
from policies.learned import LearnedController, Weights
from policies.vec_env import SB3VecEnv

CHECKPOINT = "checkpoint.pkl"
DIGEST_BYTES = hashlib.sha256().digest_size
MOST = 2**53
RANGES: dict[str, tuple[float, float]] = {
    "total_steps": (1, MOST),
    "num_envs": (1, MOST),
    "rollout_steps": (1, MOST),
    "batch_size": (2, MOST),
    "epochs": (1, MOST),
    "learning_rate": (1e-12, 1.0),
    "gamma": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "clip_range": (1e-6, 1.0),
    "entropy": (0.0, 1e3),
    "threads": (1, 1024),
    "validate_every": (1, MOST),
    "imitation_rounds": (0, MOST),
    "imitation_epochs": (0, MOST),
    "value_rollouts": (0, MOST),
}
"""Least and greatest value of each number in the settings."""


@dataclass(frozen=True)
class PPOSettings:
    """Proximal policy optimisation (Schulman et al. 2017) as SB3 has it.

    Attributes:
        total_steps: Rounds to train on.
        num_envs: Sessions side by side.
        rollout_steps: Rounds per session and update.
        batch_size: Rounds per minibatch.
        epochs: Passes over a rollout.
        learning_rate: At the start; falls linearly to a twentieth.
        gamma: Discount per round.
        gae_lambda: Of the generalised advantage.
        clip_range: Of the probability ratio.
        entropy: Weight of the entropy bonus at the start; falls linearly to zero.
        hidden: Units of each hidden layer, for policy and value alike.
        threads: Torch threads.
        differential: Credit tokens with the running average of their cost.
        validate_every: Rollouts between two validations.
        imitation_rounds: Rounds per session in which a teacher is copied first; 0 for none.
        imitation_epochs: Passes over them.
        value_rollouts: Rollouts after that in which only the value network learns.
    """

    total_steps: int
    num_envs: int = 1024
    rollout_steps: int = 32
    batch_size: int = 2048
    epochs: int = 6
    learning_rate: float = 1e-3
    gamma: float = 0.98
    gae_lambda: float = 0.9
    clip_range: float = 0.2
    entropy: float = 0.003
    hidden: tuple[int, ...] = (64, 64)
    threads: int = 2
    differential: bool = True
    validate_every: int = 8
    imitation_rounds: int = 0
    imitation_epochs: int = 6
    value_rollouts: int = 6

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidSetting(f"algorithm.{name} must lie in [{low}, {high}], got {value}")
        if min(self.hidden, default=1) < 1:
            raise InvalidSetting(f"algorithm.hidden must hold units >= 1, got {self.hidden}")
        if self.num_envs * self.rollout_steps < self.batch_size:
            raise InvalidSetting(
                "algorithm.batch_size must be at most num_envs * rollout_steps = "
                f"{self.num_envs * self.rollout_steps}, got {self.batch_size}"
            )


@dataclass
class Progress:
    """How a training stands; what a checkpoint must bring back beside the model.

    Attributes:
        best: Best worth on validation so far, see :func:`policies.judging.worth`.
        best_layers: The network that reached it.
        history: One row of figures per rollout.
        seconds: Time spent, over all interruptions.
        copied: Whether a teacher was copied first.
    """

    best: float = -np.inf
    best_layers: Weights = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    copied: bool = False


class Trainer:
    """A resumable training run.

    Args:
        settings: Of the algorithm.
        train: Scenario, links and requests to learn from.
        validation: The same to choose by.
        reward: Weights of the reward's terms while learning.
        seed: Of everything.
        validation_sessions: Sessions per validation.
        teacher: Gives the controller to copy before learning.
    """

    def __init__(
        self,
        settings: PPOSettings,
        train: World,
        validation: World,
        reward: RewardWeights,
        seed: int,
        validation_sessions: int = 256,
        teacher: Callable[[], Controller] | None = None,
    ) -> None:
        torch.set_num_threads(settings.threads)
        self.settings, self._validation = settings, validation
        self._sessions, self._seed, self._reward = validation_sessions, seed, reward
        self.env = CoVSpecVectorEnv(settings.num_envs, world=train, reward=reward)
        self.model = _new_model(settings, SB3VecEnv(self.env, settings.differential), seed)
        self.progress = Progress()
        self._world, self._teacher = train, teacher

    @property
    def steps(self) -> int:
        """Rounds trained on so far."""
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
        if self.steps == 0 and self._teacher is not None and self.settings.imitation_rounds:
            self._copy(self._teacher())
        while self.steps < self.settings.total_steps:
            on_rollout(self._one_rollout())
            if should_stop():
                return self.steps >= self.settings.total_steps
        return True

    def _copy(self, teacher: Controller) -> None:
        settings, began = self.settings, time.perf_counter()
        shown = demonstrations(
            self._world, teacher, settings.num_envs, settings.imitation_rounds, self._seed
        )
        imitate(self.model, *shown, settings.imitation_epochs, settings.learning_rate, self._seed)
        self.progress.copied = True
        self.progress.seconds += time.perf_counter() - began

    def _one_rollout(self) -> dict[str, float]:
        began = time.perf_counter()
        done = self.steps / self.settings.total_steps
        rate = self.settings.learning_rate * max(1 - done, 0.05)
        self.model.lr_schedule = _Constant(rate)
        self.model.ent_coef = self.settings.entropy * (1 - done)
        size = self.settings.num_envs * self.settings.rollout_steps
        young = self.steps < self.settings.value_rollouts * size
        hold_policy(self.model, held=self.progress.copied and young)
        self.model.learn(size, reset_num_timesteps=False, progress_bar=False)
        self.progress.seconds += time.perf_counter() - began
        row = self._figures(size / (time.perf_counter() - began))
        due = len(self.progress.history) % self.settings.validate_every == 0
        if due or self.steps >= 0.98 * self.settings.total_steps:
            row |= self._validate()
        self.progress.history.append(row)
        return row

    def _figures(self, rate: float) -> dict[str, float]:
        episodes = list(self.model.ep_info_buffer or [])
        logged = self.model.logger.name_to_value
        row = {"steps": float(self.steps), "steps_per_s": rate, "seconds": self.progress.seconds}
        for name in ("approx_kl", "entropy_loss", "explained_variance", "value_loss"):
            row[name] = float(logged.get(f"train/{name}", np.nan))
        if episodes:
            row["train_return"] = float(np.mean([e["r"] for e in episodes]))
            row["train_speedup"] = float(np.mean([e["speedup"] for e in episodes]))
        return row

    def _validate(self) -> dict[str, float]:
        layers = layers_of(self.model)
        controller = LearnedController(self.env.play.codec, layers)
        scores = judge(self._validation, controller, self._sessions, self._seed)
        value = worth(scores, self._reward)
        if value > self.progress.best:
            self.progress.best, self.progress.best_layers = value, layers
        return {"validation_speedup": float(scores.speedup.mean()), "validation_worth": value}

    def controller(self, meta: dict[str, Any]) -> LearnedController:
        """The best network by validation, ready to deploy."""
        return LearnedController(self.env.play.codec, self.progress.best_layers, meta)

    def save(self, folder: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the last one intact."""
        folder.mkdir(parents=True, exist_ok=True)
        zipped = io.BytesIO()
        self.model.save(zipped)
        state = {
            "asked": (self.settings, self._reward, self._seed),
            "model": zipped.getvalue(),
            "env": self.model.env,
            "progress": self.progress,
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state(),  # noqa: NPY002 (SB3 shuffles minibatches with it)
        }
        partial = folder / f"{CHECKPOINT}.partial"
        written = pickle.dumps(state)
        partial.write_bytes(hashlib.sha256(written).digest() + written)
        partial.replace(folder / CHECKPOINT)

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint as if nothing had happened.

        Raises:
            RunConflict: If it is missing, damaged, or was made under other settings.
        """
        try:
            written = (folder / CHECKPOINT).read_bytes()
            if hashlib.sha256(written[DIGEST_BYTES:]).digest() != written[:DIGEST_BYTES]:
                raise ValueError("its checksum is wrong")
            state = pickle.loads(written[DIGEST_BYTES:])
        except Exception as error:  # A damaged pickle raises whatever its bytes happen to mean.
            path = folder / CHECKPOINT
            raise RunConflict(f"{path} is no readable checkpoint: {error}") from error
        asked = (self.settings, self._reward, self._seed)
        if state["asked"] != asked:
            raise RunConflict(f"{folder} was trained with {state['asked']}, now asked for {asked}")
        self.env, self.progress = state["env"].env, state["progress"]
        self.model = PPO.load(io.BytesIO(state["model"]), env=state["env"], force_reset=False)
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        torch.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])  # noqa: NPY002


class _Constant:
    """A schedule that the trainer sets anew for every rollout; pickles, as a closure would not."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, progress_remaining: float) -> float:
        return self.value


def _new_model(settings: PPOSettings, env: SB3VecEnv, seed: int) -> PPO:
    hidden = list(settings.hidden)
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=settings.rollout_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        ent_coef=settings.entropy,
        policy_kwargs={"net_arch": {"pi": hidden, "vf": hidden}},
        seed=seed,
        device="cpu",
        stats_window_size=2 * settings.num_envs,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def layers_of(model: PPO) -> Weights:
    """The policy network of an SB3 model as plain arrays."""
    policy = model.policy
    linear = [m for m in policy.mlp_extractor.policy_net if isinstance(m, torch.nn.Linear)]
    return [
        (m.weight.detach().numpy().T.copy(), m.bias.detach().numpy().copy())
        for m in (*linear, policy.action_net)
    ]
