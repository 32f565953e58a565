"""Models of Stable-Baselines3 and sb3-contrib from settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sb3_contrib import QRDQN, TQC, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from policies.algorithms.settings import A2CSettings, PPOSettings, QSettings, SACSettings, Settings

FIGURES = (
    "approx_kl", "entropy_loss", "explained_variance", "value_loss", "policy_loss", "loss",
    "actor_loss", "critic_loss", "ent_coef",
)  # fmt: skip
"""What the libraries tell of an update, each as far as the algorithm has it."""


class Constant:
    """A schedule that the trainer sets anew for every rollout; pickles, as a closure would not."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, progress_remaining: float) -> float:
        """The value, whatever the progress."""
        return self.value


def new_model(settings: Settings, env: VecEnv, seed: int) -> BaseAlgorithm:
    """An untrained model that draws from a seed."""
    model = MAKERS[settings.kind](settings, env, _common(settings, seed))
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _common(settings: Settings, seed: int) -> dict[str, Any]:
    return {
        "learning_rate": settings.learning_rate,
        "gamma": settings.gamma,
        "seed": seed,
        "device": "cpu",
        "stats_window_size": 2 * settings.num_envs,
    }


def _actor_critic(settings: PPOSettings | A2CSettings) -> dict[str, Any]:
    return {
        "n_steps": settings.rollout_steps,
        "gae_lambda": settings.gae_lambda,
        "ent_coef": settings.entropy,
    }


def _ppo(settings: PPOSettings, env: VecEnv, common: dict[str, Any]) -> BaseAlgorithm:
    hidden = list(settings.hidden)
    extra: dict[str, Any] = {"net_arch": {"pi": hidden, "vf": hidden}}
    if settings.lstm_units:
        extra["lstm_hidden_size"] = settings.lstm_units
    kinds = {"ppo": PPO, "maskable_ppo": MaskablePPO, "recurrent_ppo": RecurrentPPO}
    return kinds[settings.kind](
        "MlpLstmPolicy" if settings.lstm_units else "MlpPolicy",
        env,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        clip_range=settings.clip_range,
        policy_kwargs=extra,
        **_actor_critic(settings),
        **common,
    )


def _a2c(settings: A2CSettings, env: VecEnv, common: dict[str, Any]) -> BaseAlgorithm:
    hidden = list(settings.hidden)
    extra = {"net_arch": {"pi": hidden, "vf": hidden}}
    return A2C("MlpPolicy", env, policy_kwargs=extra, **_actor_critic(settings), **common)


def _replay(settings: QSettings | SACSettings) -> dict[str, Any]:
    return {
        "buffer_size": settings.buffer_rounds,
        "learning_starts": settings.learning_starts,
        "batch_size": settings.batch_size,
        "train_freq": (1, "step"),
        "gradient_steps": settings.updates,
    }


def _q(settings: QSettings, env: VecEnv, common: dict[str, Any]) -> BaseAlgorithm:
    extra: dict[str, Any] = {"net_arch": list(settings.hidden)}
    if settings.quantiles:
        extra["n_quantiles"] = settings.quantiles
    return (QRDQN if settings.quantiles else DQN)(
        "MlpPolicy",
        env,
        target_update_interval=settings.target_rounds,
        policy_kwargs=extra,
        **_replay(settings),
        **common,
    )


def _sac(settings: SACSettings, env: VecEnv, common: dict[str, Any]) -> BaseAlgorithm:
    hidden = list(settings.hidden)
    extra: dict[str, Any] = {"net_arch": {"pi": hidden, "qf": hidden}}
    more = {"tau": settings.tau} | _replay(settings) | common
    if not settings.quantiles:
        return SAC("MlpPolicy", env, policy_kwargs=extra, **more)
    extra["n_quantiles"] = settings.quantiles
    return TQC(
        "MlpPolicy", env, policy_kwargs=extra,
        top_quantiles_to_drop_per_net=settings.dropped, **more,
    )  # fmt: skip


MAKERS: dict[str, Callable[[Any, VecEnv, dict[str, Any]], BaseAlgorithm]] = {
    "ppo": _ppo,
    "maskable_ppo": _ppo,
    "recurrent_ppo": _ppo,
    "a2c": _a2c,
    "dqn": _q,
    "qr_dqn": _q,
    "sac": _sac,
    "tqc": _sac,
}


def schedule(model: BaseAlgorithm, settings: Settings, done: float) -> None:
    """Set what falls in the course of a training, for the next rollout.

    Args:
        model: In training.
        settings: Of the algorithm.
        done: Share of the training that is over.
    """
    model.lr_schedule = Constant(settings.learning_rate * max(1 - done, 0.05))
    if isinstance(settings, PPOSettings | A2CSettings):
        assert isinstance(model, OnPolicyAlgorithm)
        model.ent_coef = settings.entropy * (1 - done)
    if isinstance(settings, QSettings):
        assert isinstance(model, DQN | QRDQN)
        fallen = min(done / settings.explore_share, 1.0)
        model.exploration_schedule = Constant(1.0 - fallen * (1.0 - settings.explore))
