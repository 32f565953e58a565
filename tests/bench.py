"""Speed of the inner loops: one JSON line per figure; ``python -m tests.bench``.

All on one core. Without measured traces (``COVSPEC_TRACES_DIR``) the links are emulated ones; every
line of the environment says which they were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from covspec_core.acceptance import (
    EXTRAS,
    TOKEN_EXTRAS,
    AcceptanceHead,
    Layers,
    features_of,
    load_head,
)
from covspec_core.engine import realise_links
from covspec_core.links.table import Direction
from covspec_core.links.traces import TraceLink
from covspec_core.pair.head import HEAD
from covspec_core.recording import Recording
from covspec_core.records import result_of
from env.codec import Codec
from env.play import World
from env.presets import RECORDING, named_scenario
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv
from policies.algorithms.settings import PPOSettings, read_algorithm
from policies.console import composed
from policies.factory import TunedOnce
from policies.judging import judge, judge_mix
from policies.learned import LearnedController
from policies.networks import Network
from policies.rules import AdaptiveRule, RuleSettings
from policies.settings import read_run
from policies.training import Trainer
from policies.vec_env import SB3VecEnv
from tests.policies.conftest import make_trainer, random_network, toy_recording

LINKS = ["paper", "weak", "fading", "bursty", "long_delay"]
GOALS = {
    "batched_env_rounds_per_s": 1_000_000,
    "single_env_rounds_per_s": 20_000,
    "ppo_over_free_env": 0.85,
    "passes_tuned_rule_s": 90,
    "controller_decision_us": 50,
    "acceptance_head_us": 50,
}
BATCH, SESSIONS = 4096, 1024
WIDE = 2048
"""Hidden size of InternVL2.5-4B, the draft that the profile ``paper`` stands for."""
TRACES_DIR = os.environ.get("COVSPEC_TRACES_DIR")
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
FIRST_STEP = (
    "import time, gymnasium as g; e = g.make('env:CoVSpec-v0'); t = time.process_time();"
    "e.reset(seed=0); e.step(e.action_space.sample()); print(time.process_time() - t)"
)


def seconds(work: Callable[[], object], repeat: int, batch: int = 1) -> float:
    """Median processor seconds of a piece of work, each sample over a batch of it."""
    samples = []
    for _ in range(repeat + 2):
        began = time.process_time()
        for _ in range(batch):
            work()
        samples.append((time.process_time() - began) / batch)
    return median(samples[2:])


def tell(name: str, value: float | None, unit: str, **more: Any) -> None:
    """Print one figure; ``None`` if what it measures did not come about."""
    shown = None if value is None else float(f"{value:.4g}")
    row = {"name": name, "value": shown, "unit": unit, "goal": GOALS.get(name)}
    print(json.dumps(row | more), flush=True)


def real_world() -> tuple[World, str]:
    """The embedded pair's requests on measured links, where they are at hand; and which links."""
    scenario = named_scenario("paper" if TRACES_DIR else LINKS)
    if TRACES_DIR:
        scenario = replace(scenario, link=TraceLink(TRACES_DIR, "train"), deadline_s=1e6)
    return World.load(scenario), "measured, train split" if TRACES_DIR else ", ".join(LINKS)


def batched_rounds() -> None:
    """Rounds of 4,096 sessions with random actions, sessions that end and begin included."""
    world, links = real_world()
    envs = CoVSpecVectorEnv(BATCH, world=world)
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.integers(
        envs.single_action_space.nvec, size=(64, BATCH, len(envs.single_action_space.nvec))
    )
    turn = iter(range(10**9))
    each = seconds(lambda: envs.step(actions[next(turn) % 64]), 15, batch=20)
    tell("batched_env_rounds_per_s", BATCH / each, "1/s", links=links, sessions=BATCH)
    stages(envs, actions[0], links)


def stages(envs: CoVSpecVectorEnv, indices: np.ndarray, links: str) -> None:
    """Where a step's time goes: one line per stage."""
    play, every, ending = envs.play, np.arange(BATCH), np.arange(BATCH // 32)
    sessions, codec = play.sessions, play.codec
    asked, status = codec.decode(indices), sessions.status()
    rounds = sessions._asked(sessions.records, asked)
    source, spare, result = sessions.source, sessions.records.copy(), result_of(rounds)
    costs = source.texts, sessions._costs, sessions._table
    source.courses(sessions.records, rounds, *costs)
    works: dict[str, Callable[[], object]] = {
        "decode": lambda: codec.decode(indices),
        "ask": lambda: sessions._asked(sessions.records, asked),
        "outcome_and_course": lambda: source.courses(sessions.records, rounds, *costs),
        "settle": lambda: source.settle(spare, rounds, *costs, 1),
        "status": lambda: sessions.status_of(every),
        "encode": lambda: codec.encode(status),
        "reward": lambda: play._weights.terms(
            result, sessions.now_s - play._clock_s, play.edge_only_s
        ),
        "begin_a_32nd": lambda: play.begin(ending),
    }
    for name, work in works.items():
        tell(f"{name}_ns_per_session", 1e9 * seconds(work, 9, batch=20) / BATCH, "ns", links=links)


def single_rounds() -> None:
    """Rounds of one session through ``gymnasium.make``."""
    env = gymnasium.make("env:CoVSpec-v0")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.integers(env.action_space.nvec, size=(64, len(env.action_space.nvec)))
    turn = iter(range(10**9))

    def step() -> None:
        if env.step(actions[next(turn) % 64])[2]:
            env.reset()

    tell("single_env_rounds_per_s", 1 / seconds(step, 15, batch=500), "1/s", links="paper")


def first_steps() -> None:
    """What the compiler costs a new process, with an empty cache and with a filled one."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first_step_compiling_s", "first_step_compiled_s"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_STEP],
                env=os.environ | {"NUMBA_CACHE_DIR": folder},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            tell(name, float(done.stdout), "s")


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


def acceptance_head() -> None:
    """One draft step's forecasts: by the head that ships, and at the width of a draft of 4B.

    Before a token is drawn, and of that token; the laws are there.
    """
    shipped = load_head(RECORDING.parent / "pair" / HEAD)
    rng = np.random.default_rng(0)
    for hidden in (shipped.hidden_size, WIDE):
        head = shipped if hidden == shipped.hidden_size else random_head(shipped, hidden, rng)
        states, token = (rng.normal(size=n).astype(np.float32) for n in (hidden, TOKEN_EXTRAS))

        def said(head=head, states=states, token=token) -> None:
            features = features_of(states, np.float32(0.5), np.float32(0.5), 0.5)
            head.chances(features)
            head.of_drawn(features, token)

        tell("acceptance_head_us", 1e6 * seconds(said, 25, 500), "us", hidden=hidden,
             weights=head.n_weights)  # fmt: skip


def random_head(like: AcceptanceHead, hidden: int, rng: np.random.Generator) -> AcceptanceHead:
    """A head as large as one that reads wider hidden states."""

    def wide(layers: Layers, own: int) -> Layers:
        drawn = rng.normal(size=(own, len(layers.bias_in))).astype(np.float32)
        mean, scale = np.zeros(own, np.float32), np.ones(own, np.float32)
        return replace(layers, mean=mean, scale=scale, weight_in=drawn)

    own = hidden + EXTRAS
    return AcceptanceHead(wide(like.ahead, own), wide(like.drawn, own + TOKEN_EXTRAS))


def transfers(world: World) -> None:
    """Transfers over a time-varying link."""
    scenario = replace(world.scenario, link_rows=SESSIONS)
    table, rng = realise_links(scenario, 0), np.random.default_rng(0)
    rows, start = np.arange(SESSIONS), rng.uniform(0, 100, SESSIONS)
    sizes = rng.integers(10, 600_000, SESSIONS)
    each = seconds(lambda: table.transfer_end_s(Direction.DOWN, rows, start, sizes), 9, batch=20)
    tell("transfer_ns_per_message", 1e9 * each / SESSIONS, "ns")


class FreeVecEnv(VecEnv):
    """Sessions that cost nothing: the same numbers after every step, and no end."""

    def __init__(self, like: SB3VecEnv) -> None:
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        self._observations = like.reset()
        self._rewards = np.zeros(self.num_envs, np.float32)
        self._infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]

    def reset(self) -> np.ndarray:
        return self._observations

    def step_async(self, actions: np.ndarray) -> None:
        pass

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        return self._observations, self._rewards, self._rewards > 0, self._infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    set_attr = env_method = get_attr

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def ppo_over_free_env() -> None:
    """PPO's steps per second with ours over those on an environment that costs nothing."""
    world, links = real_world()
    ours = SB3VecEnv(CoVSpecVectorEnv(SESSIONS, world=world), differential=True)
    each: dict[str, list[float]] = {"ours": [], "free": []}
    models = {
        "ours": PPO("MlpPolicy", ours, n_steps=32, batch_size=2048, n_epochs=4, device="cpu"),
        "free": PPO(
            "MlpPolicy", FreeVecEnv(ours), n_steps=32, batch_size=2048, n_epochs=4, device="cpu"
        ),
    }
    for model in models.values():
        model.set_logger(Logger(folder=None, output_formats=[]))
    for _ in range(6):
        for name, model in models.items():
            began = time.process_time()
            model.learn(32 * SESSIONS, reset_num_timesteps=False)
            each[name].append(time.process_time() - began)
    ratios = [free / own for free, own in zip(each["free"][1:], each["ours"][1:], strict=True)]
    tell("ppo_over_free_env", median(ratios), "", links=links, sessions=SESSIONS)
    for name, values in each.items():
        tell(f"ppo_{name}_steps_per_s", 32 * SESSIONS / median(values[1:]), "1/s", links=links)


def learning(world: World, recording: Recording) -> None:
    """Rounds per second of PPO: playing and updating together."""
    settings = PPOSettings(
        "ppo", total_steps=10**9, threads=1, imitation_rounds=0, validate_every=10**6
    )
    trainer = make_trainer(world.scenario, recording, settings)
    rates: list[float] = []
    trainer.run(lambda row: rates.append(row["steps_per_s"]), lambda: len(rates) == 4)
    tell("ppo_steps_per_s", median(rates[1:]), "1/s")


def passing_the_tuned_rule() -> None:
    """Seconds of ``make train``'s training until it beats the tuned rule on validation."""
    config = composed("train", ["algorithm.threads=1", "algorithm.validate_every=1"])
    run, algorithm = read_run(config), read_algorithm(config["algorithm"])
    recording = run.model.recorded()
    train, validation = (
        [World.load(own, split, recording, run.seed) for own in run.mix]
        for split in ("train", "validation")
    )
    constants = TunedOnce(lambda: train, run.tuning, run.seed, lambda line: None)()
    terms = run.judging.validation_sessions, run.seed
    rule = judge_mix(validation, lambda own: AdaptiveRule(own, constants), *terms).speedup.mean()
    trainer = Trainer(algorithm, train, validation, run.reward, run.seed, terms[0])
    last: dict[str, float] = {}
    trainer.run(last.update, lambda: last["validation_speedup"] > rule)
    reached = {"speed": round(last["validation_speedup"], 3), "tuned_rule": round(rule, 3)}
    took = last["seconds"] if last["validation_speedup"] > rule else None
    tell("passes_tuned_rule_s", took, "s of the clock", rounds=last["steps"], **reached)


def judging(world: World) -> None:
    """Whole sessions under the paper's rule."""
    rule = AdaptiveRule(world.scenario, RuleSettings())
    tell("judged_sessions_per_s", 256 / seconds(lambda: judge(world, rule, 256, 0), 3), "1/s")


def main() -> None:
    """All figures."""
    torch.set_num_threads(1)
    recording = toy_recording(96)
    world = World.load(named_scenario(LINKS), "train", recording)
    assert Codec.of(world.scenario).sizes == (5, 9, 4, 7)
    batched_rounds()
    single_rounds()
    first_steps()
    decision(CoVSpecEnv(world.scenario, recording=recording))
    acceptance_head()
    transfers(world)
    judging(world)
    ppo_over_free_env()
    learning(world, recording)
    passing_the_tuned_rule()


if __name__ == "__main__":
    argparse.ArgumentParser("tests.bench", description=__doc__).parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):
        # Libraries read them while they load, so this begins anew.
        os.execve(sys.executable, [sys.executable, "-m", "tests.bench"], os.environ | ONE_CORE)
    main()
