"""A start for learning: the policy first copies a rule, then its value network learns its worth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from covspec_core.engine import Controller
from env.play import Play, World
from env.rewards import RewardWeights

EXPLORE = 0.25
"""Share of rounds played at random, so that the copy knows the teacher's answer there too."""


def demonstrations(
    world: World, teacher: Controller, sessions: int, rounds: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Observations ``[N, F]`` and what a teacher does there, as indices ``[N, P]``.

    Args:
        world: Scenario, links and requests.
        teacher: Who is watched.
        sessions: Sessions side by side.
        rounds: Rounds each of them plays; those after its end go unseen until all have ended.
        seed: Of the sessions and of the exploring rounds.
    """
    play = Play(world, world.replay(sessions), sessions, RewardWeights())
    play.seed(seed + np.arange(sessions, dtype=np.uint64))
    play.begin(np.arange(sessions))
    teacher.begin(sessions)
    rng = np.random.default_rng(seed)
    observations, labels = [], []
    going = np.ones(sessions, dtype=bool)
    for _ in range(rounds):
        if not going.any():
            # Teachers remember over rounds and forget all at once: sessions begin together.
            play.begin(np.arange(sessions))
            teacher.begin(sessions)
            going[:] = True
        wanted = play.codec.index(teacher.decide(play.sessions.status()))
        observations.append(play.observe()[going])
        labels.append(wanted[going])
        random = np.stack([rng.integers(size, size=sessions) for size in play.codec.sizes], 1)
        explore = rng.random(sessions) < EXPLORE
        done = play.step(np.where(explore[:, None], random, wanted)).done
        if done.any():
            play.begin(np.flatnonzero(done))
            going &= ~done
    return np.concatenate(observations), np.concatenate(labels)


def imitate(
    model: PPO,
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
        for rows in torch.randperm(len(data), generator=generator).split(1024):
            loss = -policy.get_distribution(data[rows]).log_prob(wanted[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        chosen = policy.get_distribution(data).get_actions(deterministic=True)
    return float((chosen == wanted).all(1).float().mean())


def _actor(model: PPO) -> Iterator[torch.nn.Parameter]:
    yield from model.policy.mlp_extractor.policy_net.parameters()
    yield from model.policy.action_net.parameters()


def hold_policy(model: PPO, held: bool) -> None:
    """Keep the policy as it is while the value network learns, or let it learn again."""
    for parameter in _actor(model):
        parameter.requires_grad_(not held)
        parameter.grad = None
