"""What theory demands of the best control, kept by a controller that learned for a minute."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.randomness import mix
from covspec_core.sessions import Sessions
from env.rewards import RewardWeights
from policies.algorithms.settings import PPOSettings
from policies.training import Trainer
from tests.policies.test_sanity_laws import (
    COSTS,
    LENGTHS,
    PER_TOKEN_S,
    equal_chances,
    renewal_s,
    world_of,
)

CHANCE = 0.5
DELAYS_S = (0.02, 0.5, 3.0)
QUICK = PPOSettings(
    kind="ppo", total_steps=800_000, num_envs=256, rollout_steps=32, batch_size=1024, hidden=(32,),
    learning_rate=3e-3, entropy=0.003, threads=1, imitation_rounds=0, validate_every=4,
)  # fmt: skip


def mean_length(world, controller, sessions=64):
    """Mean over the statuses of sessions that a controller plays."""
    rows = np.arange(sessions)
    play = Sessions(world.scenario, world.links, world.replay(sessions), sessions)
    play.begin(rows, mix(0, rows))
    controller.begin(sessions)
    shown = []
    for _ in range(20):
        actions = controller.decide(play.status())
        shown.append(actions.draft_length)
        over = np.flatnonzero(play.play(actions).session_done)
        play.begin(over, mix(0, over))
    return float(np.mean(shown))


@pytest.mark.bench
def test_learned_lengths_rise_with_delay_and_go_to_their_ends_as_theory_has_it():
    """On links of several delays, and on one where every token stands."""
    critical_s = PER_TOKEN_S * (1 + CHANCE - CHANCE**2) / CHANCE**2 - COSTS.edge_step_s
    assert DELAYS_S[0] < critical_s < DELAYS_S[1]
    worlds = [world_of(equal_chances(CHANCE), rtt_s) for rtt_s in DELAYS_S]
    sure = world_of(equal_chances(1.0), DELAYS_S[1])
    trainer = Trainer(QUICK, [*worlds, sure], [*worlds, sure], RewardWeights(time=20.0), 0, 64)
    trainer.run(lambda row: None)
    controller = trainer.controller()
    found = [mean_length(world, controller) for world in worlds]
    assert found == sorted(found)
    assert found[0] < 1.2
    assert found[-1] > found[0] + 1.0
    for length, rtt_s in zip(found, DELAYS_S, strict=True):
        seconds = renewal_s(CHANCE, rtt_s)
        assert np.interp(length, LENGTHS, seconds) < 1.04 * seconds.min()
    assert mean_length(sure, controller) > LENGTHS[-1] - 0.5
