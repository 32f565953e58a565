"""Speed of the inner loops: one JSON line per figure; ``python -m tests.bench``.

All on one core and a toy recording, so that figures compare between commits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
import torch

from covspec_core.engine import realise_links
from covspec_core.links.table import Direction
from covspec_core.recording import Recording
from env.codec import Codec
from env.play import World
from env.presets import named_scenario
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv
from policies.algorithms.settings import PPOSettings
from policies.judging import judge
from policies.learned import LearnedController
from policies.networks import Network
from policies.rules import AdaptiveRule, RuleSettings
from tests.policies.conftest import make_trainer, random_network, toy_recording

LINKS = ["paper", "weak", "fading", "bursty", "long_delay"]
GOALS = {"batched_env_rounds_per_s": 200_000, "controller_decision_us": 50}
SESSIONS = 1024
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def seconds(work: Callable[[], object], repeat: int, batch: int = 1) -> float:
    """Median seconds of a piece of work, each sample over a batch of it."""
    samples = []
    for _ in range(repeat + 2):
        began = time.perf_counter()
        for _ in range(batch):
            work()
        samples.append((time.perf_counter() - began) / batch)
    return median(samples[2:])


def tell(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    row = {"name": name, "value": float(f"{value:.4g}"), "unit": unit, "goal": GOALS.get(name)}
    print(json.dumps(row), flush=True)


def batched_rounds(world: World) -> None:
    """Rounds of 1,024 sessions with random actions, sessions that end and begin included."""
    envs = CoVSpecVectorEnv(SESSIONS, world=world)
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.integers(envs.single_action_space.nvec, size=(64, SESSIONS, 3))
    turn = iter(range(10**9))
    each = seconds(lambda: envs.step(actions[next(turn) % 64]), 9, batch=20)
    tell("batched_env_rounds_per_s", SESSIONS / each, "1/s")
    sessions = envs.play.sessions

    def status() -> None:
        sessions._status = None
        sessions.status()

    tell("status_ns_per_session", 1e9 * seconds(status, 9, batch=20) / SESSIONS, "ns")
    codec, read = envs.play.codec, sessions.status()
    encode_s = seconds(lambda: codec.encode(read), 9, batch=20)
    tell("encode_ns_per_session", 1e9 * encode_s / SESSIONS, "ns")


def single_rounds(env: CoVSpecEnv) -> None:
    """Rounds of one session through the Gymnasium interface."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.integers(env.action_space.nvec, size=(64, 3))
    turn = iter(range(10**9))

    def step() -> None:
        if env.step(actions[next(turn) % 64])[2]:
            env.reset()

    tell("single_env_rounds_per_s", 1 / seconds(step, 9, batch=200), "1/s")


def decision(env: CoVSpecEnv) -> None:
    """One decision for one session: encode, network, decode."""
    env.reset(seed=0)
    deep = deepened(random_network(env.play.codec, hidden=64))
    status = env.play.sessions.status()
    tell("controller_decision_us", 1e6 * seconds(lambda: deep.decide(status), 25, 200), "us")
    rule = AdaptiveRule(env.play.sessions.scenario, RuleSettings())
    rule.begin(1)
    tell("rule_decision_us", 1e6 * seconds(lambda: rule.decide(status), 25, 200), "us")


def deepened(network: LearnedController) -> LearnedController:
    """The same network with a second hidden layer, as trained ones have it."""
    (first, bias), last = network.network.layers
    square = np.eye(len(bias), dtype=np.float32)
    return LearnedController(network.codec, Network([(first, bias), (square, bias), last]))


def transfers(world: World) -> None:
    """Transfers over a time-varying link."""
    scenario = replace(world.scenario, link_rows=SESSIONS)
    table, rng = realise_links(scenario, 0), np.random.default_rng(0)
    rows, start = np.arange(SESSIONS), rng.uniform(0, 100, SESSIONS)
    sizes = rng.integers(10, 600_000, SESSIONS)
    each = seconds(lambda: table.transfer_end_s(Direction.DOWN, rows, start, sizes), 9, batch=20)
    tell("transfer_ns_per_message", 1e9 * each / SESSIONS, "ns")


def learning(world: World, recording: Recording) -> None:
    """Rounds per second of PPO: playing and updating together."""
    settings = PPOSettings(
        "ppo", total_steps=10**9, threads=1, imitation_rounds=0, validate_every=10**6
    )
    trainer = make_trainer(world.scenario, recording, settings)
    rates: list[float] = []
    trainer.run(lambda row: rates.append(row["steps_per_s"]), lambda: len(rates) == 4)
    tell("ppo_steps_per_s", median(rates[1:]), "1/s")


def judging(world: World) -> None:
    """Whole sessions under the paper's rule."""
    rule = AdaptiveRule(world.scenario, RuleSettings())
    tell("judged_sessions_per_s", 256 / seconds(lambda: judge(world, rule, 256, 0), 3), "1/s")


def main() -> None:
    """All figures."""
    torch.set_num_threads(1)
    recording = toy_recording(96)
    world = World.load(named_scenario(LINKS), "train", recording)
    assert Codec.of(world.scenario).sizes == (5, 9, 4)
    batched_rounds(world)
    env = CoVSpecEnv(world.scenario, recording=recording)
    decision(env)
    single_rounds(env)
    transfers(world)
    judging(world)
    learning(world, recording)


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):
        # Libraries read them while they load, so this begins anew.
        os.execve(sys.executable, [sys.executable, "-m", "tests.bench"], os.environ | ONE_CORE)
    main()
