"""A toy recording with the real keep levels, and small worlds and trainers on it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from covspec_core.links.channels import ConstantLink
from covspec_core.recording import SPLITS
from covspec_core.rounds import Status
from env.codec import Codec
from env.play import World
from env.presets import named_scenario
from env.rewards import RewardWeights
from policies.algorithms.settings import PPOSettings
from policies.judging import Scores
from policies.learned import controller_of
from policies.networks import Network
from policies.training import Trainer
from tests.core.conftest import make_pair, make_recording, make_requests, make_scenario

LEVELS = (0.0, 1 / 12, 1 / 6, 1 / 3, 1.0)
TINY = PPOSettings(
    kind="ppo",
    total_steps=2048,
    num_envs=32,
    rollout_steps=16,
    batch_size=128,
    hidden=(16,),
    threads=1,
    imitation_rounds=0,
)


def toy_recording(requests=24):
    """Answers of the toy pair at the keep levels of ``conf/``, a third of them in each split."""
    pair = make_pair()
    whole = make_recording(pair, make_requests(requests), 1.0, LEVELS)
    return replace(whole, split=(np.arange(requests) % len(SPLITS)).astype(np.uint8))


def toy_scenario(protocol_name="coupled", bps=1e5, **changes):
    """Costs of the toy pair, keep levels of ``conf/``, a constant link."""
    link = ConstantLink(bps, bps, rtt_s=(0.02, 0.05))
    return make_scenario(protocol_name, **({"keep_levels": LEVELS, "link": link} | changes))


def status_with(size, **columns):
    """A plausible status but for some columns."""
    status = Status.blank(size)
    usual = {"up_bps": 1e7, "down_bps": 1e7, "rtt_s": 0.02, "device_factor": 1.0}
    usual |= {"edge_factor": 1.0, "acceptance": 0.9, "hit_rate": 0.5, "cover_rank": 4.0}
    usual |= {"token_bytes": 8.0, "refusal_bytes": 606_708.0, "edge_step_s": 0.237}
    usual |= {"draft_cost": 0.148, "keep_cost": 0.145, "position_cost": 0.302}
    for name, values in (usual | columns).items():
        status[name] = values
    return status


def random_network(codec, seed=0, hidden=16):
    """A controller with drawn weights, so that its choices differ between observations."""
    rng = np.random.default_rng(seed)
    sizes = (len(codec.fields), hidden, sum(codec.sizes))
    layers = [
        (rng.normal(0, 1, shape).astype(np.float32), rng.normal(0, 1, shape[1]).astype(np.float32))
        for shape in pairwise(sizes)
    ]
    return controller_of(
        codec,
        Network(layers),
        {"trained_on": {"links": ["toy"], "parts": [], "protocols": ["coupled"]}},
    )


def make_trainer(
    scenario,
    recording,
    settings=TINY,
    seed=0,
    teacher=None,
    observation=None,
    level="round",
    **changes,
):
    scenarios = scenario if isinstance(scenario, list) else [scenario]
    worlds = (
        [World.load(own, split, recording) for own in scenarios]
        for split in ("train", "validation")
    )
    reward = RewardWeights(time=20.0)
    return Trainer(
        replace(settings, **changes), *worlds, reward, seed,
        validation_sessions=8, teacher=teacher, observation=observation, level=level,
    )  # fmt: skip


def scores_with(speedup):
    """Sessions of which only the speed matters."""
    seconds = 10.0 / np.asarray(speedup)
    ones = np.ones(len(seconds))
    return Scores(seconds, 10.0 * ones, 50 * ones, 100 * ones, *(ones for _ in range(5)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def recording():
    return toy_recording()


@pytest.fixture(scope="session")
def scenario():
    """The paper's costs on two links, as ``conf/`` has them."""
    return named_scenario(["paper", "weak"], protocol_name="decoupled", link_rows=16, link_s=20.0)


@pytest.fixture(scope="session")
def world(scenario, recording):
    return World.load(scenario, "train", recording)


@pytest.fixture(scope="session")
def network(scenario):
    return random_network(Codec.of(scenario))
