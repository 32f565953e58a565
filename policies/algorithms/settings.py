"""Settings of every algorithm; each checks itself. The group ``algorithm`` holds their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covspec_core.errors import InvalidSetting
from env.presets import build

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
    "lstm_units": (0, 4096),
    "buffer_rounds": (1, MOST),
    "learning_starts": (0, MOST),
    "updates": (1, MOST),
    "target_rounds": (1, MOST),
    "explore": (0.0, 1.0),
    "explore_share": (1e-6, 1.0),
    "tau": (1e-6, 1.0),
    "quantiles": (0, 1024),
    "dropped": (0, 1024),
}
"""Least and greatest value of each number in the settings."""
TEACHERS = ("tuned_rule", "tuned_foresight", "tuned_foresight_stop")


@dataclass(frozen=True)
class Settings:
    """What every algorithm has.

    Attributes:
        kind: One of :data:`KINDS`.
        total_steps: Rounds to train on.
        num_envs: Sessions side by side.
        rollout_steps: Rounds per session until the next update or, with a replay buffer, until
            the next look at the figures.
        learning_rate: At the start; falls linearly to a twentieth.
        gamma: Discount per round.
        hidden: Units of each hidden layer, of every network alike.
        threads: Torch threads.
        differential: Credit tokens with the running average of their cost.
        validate_every: Rollouts between two validations.
    """

    kind: str
    total_steps: int
    num_envs: int = 1024
    rollout_steps: int = 32
    learning_rate: float = 1e-3
    gamma: float = 0.98
    hidden: tuple[int, ...] = (64, 64)
    threads: int = 2
    differential: bool = True
    validate_every: int = 8

    def __post_init__(self) -> None:
        for name in vars(self):
            low, high = RANGES.get(name, (None, None))
            value = getattr(self, name)
            if low is not None and not low <= value <= high:
                raise InvalidSetting(f"algorithm.{name} must lie in [{low}, {high}], got {value}")
        if min(self.hidden, default=1) < 1:
            raise InvalidSetting(f"algorithm.hidden must hold units >= 1, got {self.hidden}")

    @property
    def view(self) -> str:
        """The view of the actions, one of :data:`env.views.VIEWS`."""
        return "parts"

    @property
    def rollout(self) -> int:
        """Rounds of all sessions in a rollout."""
        return self.num_envs * self.rollout_steps

    def require(self, name: str, wanted: bool, kind: str) -> None:
        """Check that a setting of one kind alone is given for that kind alone."""
        if wanted != (self.kind == kind):
            raise InvalidSetting(
                f"algorithm.{name} must be above 0 for {kind} and 0 otherwise, "
                f"got {getattr(self, name)} for {self.kind}"
            )


@dataclass(frozen=True)
class PPOSettings(Settings):
    """Proximal policy optimisation (Schulman et al. 2017) as SB3 and sb3-contrib have it.

    ``maskable_ppo`` leaves pointless choices out (Huang and Ontanon 2022); ``recurrent_ppo``
    remembers (LSTM for policy and value each).

    Attributes:
        batch_size: Rounds per minibatch.
        epochs: Passes over a rollout.
        gae_lambda: Of the generalised advantage.
        clip_range: Of the probability ratio.
        entropy: Weight of the entropy bonus at the start; falls linearly to zero.
        imitation_rounds: Rounds per session in which a teacher is copied first; 0 for none.
        imitation_epochs: Passes over them.
        value_rollouts: Rollouts after that in which only the value network learns.
        teacher: Who is copied, one of ``TEACHERS``.
        lstm_units: Of ``recurrent_ppo``.
    """

    batch_size: int = 2048
    epochs: int = 6
    gae_lambda: float = 0.9
    clip_range: float = 0.2
    entropy: float = 0.003
    imitation_rounds: int = 0
    imitation_epochs: int = 6
    value_rollouts: int = 6
    teacher: str = "tuned_rule"
    lstm_units: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("lstm_units", self.lstm_units > 0, "recurrent_ppo")
        if self.rollout < self.batch_size:
            raise InvalidSetting(
                "algorithm.batch_size must be at most num_envs * rollout_steps = "
                f"{self.rollout}, got {self.batch_size}"
            )
        if self.teacher not in TEACHERS:
            raise InvalidSetting(
                f"algorithm.teacher must be one of {TEACHERS}, got {self.teacher!r}"
            )
        if self.imitates and self.lstm_units:
            raise InvalidSetting(
                "algorithm.imitation_rounds must be 0 for recurrent_ppo, as demonstrations are "
                f"learned round by round, got {self.imitation_rounds}"
            )

    @property
    def imitates(self) -> bool:
        """Whether a teacher is copied first."""
        return self.imitation_rounds > 0


@dataclass(frozen=True)
class A2CSettings(Settings):
    """Advantage actor-critic (Mnih et al. 2016) as SB3 has it: one update a rollout.

    Attributes:
        gae_lambda: Of the generalised advantage.
        entropy: Weight of the entropy bonus at the start; falls linearly to zero.
    """

    gae_lambda: float = 0.9
    entropy: float = 0.003


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """What algorithms that learn from a replay buffer have.

    Attributes:
        batch_size: Rounds per minibatch.
        buffer_rounds: Rounds in the replay buffer.
        learning_starts: Rounds before the first update.
        updates: Minibatches after every step of all sessions.
    """

    batch_size: int = 2048
    buffer_rounds: int = 200_000
    learning_starts: int = 20_000
    updates: int = 4


@dataclass(frozen=True)
class QSettings(ReplaySettings, Settings):
    """Deep Q-learning (Mnih et al. 2015) and its quantile form (Dabney et al. 2018).

    Attributes:
        target_rounds: Rounds between two copies of the network to its target.
        explore: Share of random actions in the end.
        explore_share: Share of the training in which it falls from 1 to that.
        quantiles: Of ``qr_dqn``.
    """

    target_rounds: int = 20_000
    explore: float = 0.05
    explore_share: float = 0.3
    quantiles: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("quantiles", self.quantiles > 0, "qr_dqn")

    @property
    def view(self) -> str:
        """All combinations of the parts."""
        return "flat"


@dataclass(frozen=True)
class SACSettings(ReplaySettings, Settings):
    """Soft actor-critic (Haarnoja et al. 2018) and TQC (Kuznetsov et al. 2020).

    Attributes:
        tau: Share of the networks that their targets take in after an update.
        quantiles: Of each of the two critics of ``tqc``.
        dropped: Highest of them that ``tqc`` leaves out, per critic.
    """

    tau: float = 0.005
    quantiles: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("quantiles", self.quantiles > 0, "tqc")
        if self.dropped >= max(self.quantiles, 1):
            raise InvalidSetting(
                f"algorithm.dropped must be below quantiles = {self.quantiles}, got {self.dropped}"
            )

    @property
    def view(self) -> str:
        """One real number a part."""
        return "box"


KINDS: dict[str, type[Settings]] = {
    "ppo": PPOSettings,
    "maskable_ppo": PPOSettings,
    "recurrent_ppo": PPOSettings,
    "a2c": A2CSettings,
    "dqn": QSettings,
    "qr_dqn": QSettings,
    "sac": SACSettings,
    "tqc": SACSettings,
}


def read_algorithm(values: Mapping[str, Any]) -> Settings:
    """Settings of the group ``algorithm``.

    Raises:
        InvalidSetting: If the kind or a setting is unknown, or a value impossible.
    """
    kind = values.get("kind")
    if kind not in KINDS:
        raise InvalidSetting(f"algorithm.kind must be one of {list(KINDS)}, got {kind!r}")
    return build(KINDS[kind], values, "algorithm")
