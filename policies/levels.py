"""Which level learns better: a decision a round, or one after every drafted token.

``python -m policies.levels --seconds 60`` trains the same PPO on ``CoVSpec-v0`` and on
``CoVSpecToken-v0`` for equal processor seconds and judges both on the same validation sessions.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from stable_baselines3 import PPO

from covspec_core.errors import InvalidSetting
from covspec_core.provenance import provenance
from covspec_core.rounds import Floats
from env.play import World
from env.presets import named_scenario
from env.rewards import RewardWeights
from env.vector import CoVSpecTokenVectorEnv, CoVSpecVectorEnv
from policies.algorithms.models import Constant, new_model
from policies.algorithms.settings import PPOSettings
from policies.judging import mean_interval
from policies.vec_env import SB3VecEnv

LEVELS = {"round": CoVSpecVectorEnv, "token": CoVSpecTokenVectorEnv}
LINKS = ["paper", "weak", "fading", "bursty", "long_delay"]
GAMMA = {"round": 0.98, "token": 0.995}
"""Discount of a step: a round has about four of a token-level environment's."""
REWARD = RewardWeights(time=20.0)
ENDLESS = 2**40


class Whole(SB3VecEnv):
    """All that an environment shows and asks for, which a view of the round level's would cut."""

    def __init__(self, env: CoVSpecVectorEnv, differential: bool) -> None:
        super().__init__(env, differential)
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self._whole = True


def settings_of(level: str) -> PPOSettings:
    """The same algorithm for both levels, but for the discount of a step."""
    base = PPOSettings(kind="ppo", total_steps=ENDLESS, num_envs=512, threads=1)
    return replace(base, gamma=GAMMA[level])


def speedups(level: str, model: PPO, world: World, sessions: int, seed: int) -> Floats:
    """Speed over edge-only of sessions that both levels share, shape ``[sessions]``."""
    envs = LEVELS[level](sessions, world=world)
    observations, _ = envs.reset(seed=seed)
    found = np.full(sessions, np.nan)
    while np.isnan(found).any():
        actions, _ = model.predict(observations, deterministic=True)
        observations, _, done, _, infos = envs.step(actions)
        if done.any():
            new = done & np.isnan(found)
            found[new] = infos["speedup"][new]
    return found


def learn(
    level: str, train: World, validation: World, seconds: float, sessions: int, seed: int
) -> tuple[Floats, int]:
    """Train for so many processor seconds; speed-ups on validation in the end, and steps taken."""
    settings = settings_of(level)
    env = Whole(LEVELS[level](settings.num_envs, world=train, reward=REWARD), True)
    model = new_model(settings, env, seed)
    assert isinstance(model, PPO)
    spent_s = 0.0
    while spent_s < seconds:
        left = max(1 - spent_s / seconds, 0.05)
        model.lr_schedule = Constant(settings.learning_rate * left)
        model.ent_coef = settings.entropy * left
        began_s = time.process_time()
        model.learn(settings.num_envs * settings.rollout_steps, reset_num_timesteps=False)
        spent_s += time.process_time() - began_s
    return speedups(level, model, validation, sessions, seed), int(model.num_timesteps)


def main(arguments: list[str] | None = None) -> None:
    """Print one line a level and seed, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sessions", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args(arguments)
    if args.seconds <= 0 or args.sessions < 1 or args.seeds < 1:
        raise InvalidSetting(f"seconds, sessions and seeds must be above 0, got {vars(args)}")
    torch.set_num_threads(1)
    scenario = named_scenario(LINKS)
    train, validation = (World.load(scenario, split) for split in ("train", "validation"))
    for seed in range(args.seeds):
        for level in LEVELS:
            found, steps = learn(level, train, validation, args.seconds, args.sessions, seed)
            low, high = mean_interval(found)
            print(
                f"{level} level, seed {seed}: {found.mean():.3f}x [{low:.3f}, {high:.3f}] on "
                f"validation after {args.seconds:.0f} processor seconds, {steps} steps",
                flush=True,
            )
    print(provenance(0))


if __name__ == "__main__":
    main()
