"""A toy recording and scenarios on every synthetic link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.links.channels import ConstantLink, GilbertElliottLink, RayleighLink
from covspec_core.links.mixture import MixtureLink
from covspec_core.recording import SPLITS
from env.presets import CONF, preset
from env.single import CoVSpecEnv
from tests.core.conftest import make_pair, make_recording, make_requests, make_scenario

RTT_S = (0.02, 0.06)
LINKS = {
    "constant": ConstantLink(1e5, 1e5, rtt_s=RTT_S),
    "rayleigh": RayleighLink(2e4, 6.0, 0.1, shared_fade=False, rtt_s=RTT_S, jitter_s=0.01),
    "gilbert_elliott": GilbertElliottLink(1e5, 2e3, 1.0, 0.3, rtt_s=RTT_S),
}
LINKS["mixture"] = MixtureLink(dict(LINKS))
PRESETS = sorted(path.stem for path in (CONF / "link").glob("*.yaml"))
"""Names of link files; those whose values lie outside this repository are in ``MEASURED``."""
MEASURED = [name for name in PRESETS if preset("link", name)["kind"] == "trace"]


@pytest.fixture(scope="session")
def recording():
    """Requests of the toy pair, a third of them in each split."""
    whole = make_recording(make_pair(), make_requests(15), 1.0)
    return replace(whole, split=(np.arange(15) % len(SPLITS)).astype(np.uint8))


@pytest.fixture
def scenario():
    return make_scenario()


@pytest.fixture
def env(scenario, recording):
    return CoVSpecEnv(scenario, recording=recording)


def play(env, seed, action_seed=0, episodes=1):
    """Random actions; observations, rewards and infos of every round, resets included."""
    rng = np.random.default_rng(action_seed)
    steps = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        steps.append((observation, None, info))
        over = False
        while not over:
            observation, reward, over, _, info = env.step(rng.integers(env.action_space.nvec))
            steps.append((observation, reward, info))
    return steps


def some_actions(envs, rng):
    """Random actions of a batch."""
    return rng.integers(envs.single_action_space.nvec, size=envs.action_space.shape)
