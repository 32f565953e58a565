"""A start for learning: the policy first copies a rule, then its value network learns its worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from covspec_core.engine import Controller
from covspec_core.scenario import Scenario
from policies.algorithms.settings import PPOSettings
from policies.side_by_side import SideBySide
from policies.vec_env import SB3VecEnv

EXPLORE = 0.25
"""Share of rounds played at random, so that the copy knows the teacher's answer there too."""


def demonstrations(
    envs: SB3VecEnv, teacher: Controller, rounds: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Observations ``[N, F]`` and what a teacher does there, as indices ``[N, P]``.

    Args:
        envs: What the policy will learn from, acting in parts; a copy of it is played.
        teacher: Who is watched.
        rounds: Rounds that every session plays; those after its end go unseen until all have
            ended.
        seed: Of the sessions and of the exploring rounds.
    """
    envs = deepcopy(envs)
    envs.seed(seed)
    seen, play, size = envs.reset(), envs.env.play, envs.num_envs
    teacher.begin(size)
    rng = np.random.default_rng(seed)
    observations, labels = [], []
    going = np.ones(size, dtype=bool)
    for _ in range(rounds):
        if not going.any():
            # Teachers remember over rounds and forget all at once: sessions begin together.
            seen, going[:] = envs.reset(), True
            teacher.begin(size)
        wanted = play.codec.index(teacher.decide(play.sessions.status()))
        observations.append(seen[going])
        labels.append(wanted[going])
        random = np.stack([rng.integers(most, size=size) for most in play.codec.sizes], 1)
        explore = rng.random(size) < EXPLORE
        envs.step_async(np.where(explore[:, None], random, wanted))
        seen, _, done, _ = envs.step_wait()
        going &= ~done
    return np.concatenate(observations), np.concatenate(labels)


def imitate(
    model: OnPolicyAlgorithm,
    observations: NDArray[np.float32],
    labels: NDArray[np.int64],
    epochs: int,
    learning_rate: float,
    seed: int,
) -> float:
    """Fit the policy to labels by maximum likelihood; the share it then gets wholly right."""
    policy = model.policy
    optimizer = torch.optim.Adam(list(_actor(model)), lr=learning_rate)
    data, wanted = torch.from_numpy(observations), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(data), generator=generator), 1024):
            loss = -policy.get_distribution(data[rows]).log_prob(wanted[rows]).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        chosen = policy.get_distribution(data).get_actions(deterministic=True)
    return float((chosen == wanted).all(1).float().mean())


def _actor(model: OnPolicyAlgorithm) -> Iterator[torch.nn.Parameter]:
    yield from model.policy.mlp_extractor.policy_net.parameters()
    yield from model.policy.action_net.parameters()


def copy_teacher(
    model: OnPolicyAlgorithm,
    teacher: Callable[[Scenario], Controller],
    settings: PPOSettings,
    seed: int,
) -> None:
    """Let the policy copy what a teacher does in each part of what the model learns from.

    Args:
        model: Untrained.
        teacher: Gives the controller of a scenario.
        settings: How long is watched and copied.
        seed: Of both.
    """
    assert isinstance(model.env, SB3VecEnv | SideBySide)
    parts = model.env.parts if isinstance(model.env, SideBySide) else (model.env,)
    pairs = [
        demonstrations(
            part, teacher(part.env.play.sessions.scenario), settings.imitation_rounds, seed
        )
        for part in parts
    ]
    shown, labels = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    imitate(model, shown, labels, settings.imitation_epochs, settings.learning_rate, seed)


def hold_policy(model: OnPolicyAlgorithm, held: bool) -> None:
    """Keep the policy as it is while the value network learns, or let it learn again."""
    for parameter in _actor(model):
        parameter.requires_grad_(not held)
        parameter.grad = None
