"""Which level learns better, a decision a round or one behind every drafted token, and what leaks.

``python -m policies.levels --seconds 60 --seeds 3`` trains the PPO of ``conf/algorithm/ppo.yaml``
for equal processor seconds at both levels, each with all that ``train.py`` gives it (at round level
the stops of ``conf/scenario/base.yaml``), and judges them on the same validation sessions.

Behind a token that will be refused a replay has no facts of the text along which the draft really
goes on (:data:`covspec_core.replay.ASTRAY`). So the token level is trained twice, on a detour's
facts as everywhere and on the true text's, and both are judged with each kind of facts: what the
true text's facts are worth over a detour's is a leak.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.provenance import provenance
from covspec_core.replay import ASTRAY, ReplaySource
from env.actions import LEVELS
from env.play import World
from env.presets import named_scenario, preset
from env.rewards import RewardWeights
from policies.algorithms.models import schedule
from policies.algorithms.settings import PPOSettings, read_algorithm
from policies.judging import Scores, judge, mean_interval
from policies.learned import LearnedController
from policies.training import Trainer

LINKS = ["paper", "weak", "fading", "bursty", "long_delay"]
REWARD = RewardWeights(time=20.0)
ENDLESS = 2**40
DETOUR, RECORDED = ASTRAY


@dataclass(frozen=True, eq=False)
class Shown(World):
    """A world in which certain facts are shown behind tokens that will be refused.

    Attributes:
        astray: Which, one of :data:`covspec_core.replay.ASTRAY`.
    """

    astray: str = DETOUR

    def replay(self, size: int) -> ReplaySource:
        """A source that shows them."""
        source = super().replay(size)
        source.astray = self.astray
        return source


def settings_of(level: str) -> PPOSettings:
    """The same algorithm for both levels, but for what a level's file has otherwise."""
    own = preset("level", level).get("algorithm", {})
    values = preset("algorithm", "ppo") | own | {"threads": 1, "total_steps": ENDLESS}
    settings = read_algorithm(values)
    assert isinstance(settings, PPOSettings)
    return settings


def worlds_of() -> tuple[World, World]:
    """What is learned from, and what is judged on."""
    stops = tuple(preset("scenario", "base")["stop_levels"])
    scenario = named_scenario(LINKS, stop_levels=stops)
    return World.load(scenario, "train"), World.load(scenario, "validation")


def seen(world: World, astray: str) -> World:
    """A world with certain facts behind tokens that will be refused."""
    return Shown(world.scenario, world.links, world.recording, astray)


def learn(level: str, train: World, seconds: float, seed: int) -> tuple[LearnedController, int]:
    """Train for so many processor seconds; the last network, and steps taken."""
    settings = settings_of(level)
    trainer = Trainer(settings, [train], [train], REWARD, seed, level=level)
    model, spent_s = trainer.model, 0.0
    while spent_s < seconds:
        schedule(model, settings, spent_s / seconds)
        began_s = time.process_time()
        model.learn(settings.rollout, reset_num_timesteps=False)
        spent_s += time.process_time() - began_s
    return trainer.controller({"level": level}, trainer.network()), trainer.steps


def judged(
    controller: LearnedController, world: World, sessions: int, seed: int
) -> Iterator[tuple[str, Scores]]:
    """Scores of a controller by the facts behind tokens that will be refused."""
    if controller.codec.level == "round":
        yield "", judge(world, controller, sessions, seed)
        return
    for astray in ASTRAY:
        yield f", {astray} facts", judge(seen(world, astray), controller, sessions, seed)


@clear_end("levels")
def main(arguments: list[str] | None = None) -> None:
    """Print one line a controller, seed and kind of facts, and what all cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="processor seconds each")
    parser.add_argument("--sessions", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to keep the controllers")
    args = parser.parse_args(arguments)
    if args.seconds <= 0 or args.sessions < 1 or args.seeds < 1:
        raise InvalidSetting(
            "seconds, sessions and seeds must be above 0, "
            f"got {args.seconds}, {args.sessions} and {args.seeds}"
        )
    torch.set_num_threads(1)
    train, validation = worlds_of()
    ways = [(LEVELS[0], DETOUR), (LEVELS[1], DETOUR), (LEVELS[1], RECORDED)]
    for seed in range(args.seeds):
        for level, astray in ways:
            controller, steps = learn(level, seen(train, astray), args.seconds, seed)
            name = level if level == "round" else f"{level}, learned on {astray} facts"
            print(f"{name}, seed {seed}: {steps} steps", flush=True)
            if args.folder:
                controller.save(args.folder / f"{level}_{astray}_{seed}")
            for shown, scores in judged(controller, validation, args.sessions, seed):
                low, high = mean_interval(scores)
                print(f"  {scores.speedup.mean():.4f}x [{low:.3f}, {high:.3f}]{shown}", flush=True)
    print(provenance(0))


if __name__ == "__main__":
    main()
