"""How near a replay comes to live models: speed, and the gain of a learned controller.

``python -m policies.nearness`` plays validation sessions of the embedded pair twice, live and
replayed, under rules that stop within a block; with ``--controller RUN/policy`` under that learned
controller and the rule, tuned as in its run. Both play the same requests on the same links on the
virtual clock. Under shared noise the text is the same, bit by bit, and all that can differ is how
long a block grows that has left it. With independent draws (``decoupled``) live models write texts
of their own, so that only means can agree: a session's speed is that over the edge alone with its
own text, since seconds a token would differ by the texts' lengths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from covspec_core.ending import clear_end
from covspec_core.engine import Controller, Engine
from covspec_core.errors import InvalidSetting
from covspec_core.live import LiveSource
from covspec_core.pair.head import HEAD
from covspec_core.pair.requests import recorded_requests
from covspec_core.pairs import load_pair
from covspec_core.provenance import provenance
from covspec_core.replay import ReplaySource
from covspec_core.request import Pair
from covspec_core.rounds import Floats
from covspec_core.scenario import Scenario
from covspec_core.source import Source
from env.codec import Codec
from env.play import World
from env.presets import RECORDING, named_scenario
from policies.console import say
from policies.factory import TunedOnce
from policies.learned import load_controller
from policies.rivals import Threshold, ThresholdSettings
from policies.rules import AdaptiveRule, RuleSettings
from policies.settings import read_run
from policies.stops import SpecDecPP, SpecDecPPSettings, Svip, SvipSettings

FOLDER = RECORDING.parent / "pair"
PROTOCOLS = ("coupled", "decoupled")
CHOICES = (
    "keep_levels", "draft_lengths", "branch_widths", "gate_threshold", "gate_levels",
    "entropy_levels", "stop_levels",
)  # fmt: skip
"""What a codec and a scenario both hold."""
RESAMPLES = 2000


class Played(NamedTuple):
    """Speeds over edge-only of one controller, played twice, shape ``[sessions]`` each."""

    live: Floats
    replayed: Floats


class Estimate(NamedTuple):
    """A figure in percent with the ends of its paired 95 % bootstrap interval over sessions."""

    percent: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.percent:+.2f} % [{self.low:+.2f}, {self.high:+.2f}]"


def rules(scenario: Scenario) -> dict[str, Controller]:
    """One rule that looks ahead, whose replay is exact, and two that stop within the block."""
    keep = 1 / 3
    ahead = ThresholdSettings(keep=keep, stop=0.3, shortest=0, longest=6)
    within = SpecDecPPSettings(keep=keep, stop=0.26, shortest=0, longest=6)
    return {
        "threshold": Threshold(scenario, ahead),
        "specdec_pp": SpecDecPP(scenario, within),
        "svip": Svip(scenario, SvipSettings(keep=keep, longest=6)),
    }


def tuned_rule(controller: Path) -> RuleSettings:
    """Constants of the rule, searched with the mix, the budget and the seed of a controller's run.

    Args:
        controller: Folder ``policy`` of a run.

    Raises:
        InvalidSetting: If the folder is in no run.
    """
    config = controller.parent / "config.yaml"
    if not config.is_file():
        raise InvalidSetting(f"--controller must be the policy of a run, there is no {config}")
    settings = read_run(yaml.safe_load(config.read_text()))
    return TunedOnce.of(settings, settings.model.recorded(), say)()


def learned_and_rule(
    folder: Path, constants: RuleSettings
) -> Callable[[Scenario], dict[str, Controller]]:
    """Makes a learned controller, and the rule over which its gain is stated."""
    return lambda scenario: {
        "learned": load_controller(folder, Codec.of(scenario)),
        "tuned_rule": AdaptiveRule(scenario, constants),
    }


def played(world: World, source: Source | ReplaySource, controller: Controller, seed: int) -> float:
    """Speed of a session of one request over the edge alone with the same answer."""
    engine = Engine(world.scenario, world.links, source)
    engine.begin(seed)
    controller.begin(1)
    tokens, image_bytes = 0, int(engine.sessions.records["image_bytes"][0])
    while True:
        result = engine.play(engine.decision(controller))
        tokens += int(result.emitted[0])
        if result.session_done[0]:
            return engine.edge_only_s(image_bytes, tokens) / float(result.received_s[0])


def compare(world: World, pair: Pair, controller: Controller, sessions: int, seed: int) -> Played:
    """Sessions of a controller, live and replayed."""
    meta, kind = world.recording.meta, world.scenario.protocol
    ask = recorded_requests(world.recording)
    terms = float(meta["temperature"]), int(meta["limit"])
    speeds = [
        [
            played(world, source, controller, seed + i)
            for source in (LiveSource(pair, kind, *terms, ask), world.replay(1))
        ]
        for i in range(sessions)
    ]
    return Played(*np.array(speeds).T)


def _estimate(percent: Callable[[Floats], Floats], columns: Floats, seed: int) -> Estimate:
    """Of means over sessions, columns ``[C, sessions]``; ``percent`` takes means ``[C, ...]``."""
    n = columns.shape[1]
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    means = np.stack([column[drawn].mean(1) for column in columns])
    low, high = np.percentile(percent(means), [2.5, 97.5])
    return Estimate(float(percent(columns.mean(1))), float(low), float(high))


def faster(own: Played, seed: int = 0) -> Estimate:
    """How much faster live sessions are than replayed ones."""
    return _estimate(lambda means: 100 * (means[0] / means[1] - 1), np.stack(own), seed)


def gains(ours: Played, rule: Played, seed: int = 0) -> dict[str, Estimate]:
    """Gain in mean speed over a rule, live and replayed, and live less replayed."""

    def gain(means: Floats, way: int) -> Floats:
        return 100 * (means[way] / means[2 + way] - 1)

    columns = np.stack([*ours, *rule])
    ways: Mapping[str, Callable[[Floats], Floats]] = {
        "live": lambda means: gain(means, 0),
        "replayed": lambda means: gain(means, 1),
        "difference": lambda means: gain(means, 0) - gain(means, 1),
    }
    return {name: _estimate(way, columns, seed) for name, way in ways.items()}


def world_of(links: list[str], protocol_name: str, codec: Codec | None) -> World:
    """Validation sessions of one request, with the choices that a codec has."""
    choices = {name: getattr(codec, name) for name in CHOICES} if codec else {}
    scenario = named_scenario(links, protocol_name=protocol_name, requests=1, **choices)
    return World.load(scenario, "validation")


def embedded_pair(world: World) -> Pair:
    """The pair of a world's recording."""
    parts = str(FOLDER / "draft"), str(FOLDER / "target")
    return load_pair(*parts, world.recording.meta["reduction"], str(FOLDER / HEAD))


@clear_end("nearness")
def main(arguments: list[str] | None = None) -> None:
    """Print how much faster live sessions are, and what a learned controller gains in both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--controller", type=Path, help="folder policy of a training run")
    parser.add_argument("--protocols", nargs="+", default=["coupled"], choices=PROTOCOLS)
    parser.add_argument("--links", nargs="+", default=["paper"])
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.sessions < 2:
        raise InvalidSetting(f"sessions must be >= 2, got {args.sessions}")
    codec: Codec | None = None
    make: Callable[[Scenario], dict[str, Controller]] = rules
    if args.controller:
        codec = load_controller(args.controller).codec
        make = learned_and_rule(args.controller, tuned_rule(args.controller))
    for name in args.protocols:
        world = world_of(args.links, name, codec)
        pair = embedded_pair(world)
        found = {
            player: compare(world, pair, controller, args.sessions, args.seed)
            for player, controller in make(world.scenario).items()
        }
        for player, own in found.items():
            print(
                f"{name}, {player}: {own.live.mean():.3f} times edge-only live, "
                f"{own.replayed.mean():.3f} replayed, live {faster(own)} faster",
                flush=True,
            )
        if codec:
            for way, gain in gains(found["learned"], found["tuned_rule"]).items():
                print(f"{name}, gain of learned over tuned_rule, {way}: {gain}", flush=True)
    print(provenance(args.seed))


if __name__ == "__main__":
    main()
