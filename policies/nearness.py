"""How near a replay comes to live models under rules that stop within a block.

``python -m policies.nearness`` plays validation sessions of the embedded pair twice, live and
replayed, under shared noise: the text is the same, bit by bit, and all that can differ is how long
a block grows that has left it.
"""

from __future__ import annotations

import argparse

import numpy as np

from covspec_core.engine import Controller, Engine
from covspec_core.live import LiveSource, Pair
from covspec_core.pair.head import HEAD
from covspec_core.pair.requests import recorded_requests
from covspec_core.pairs import load_pair
from covspec_core.provenance import provenance
from covspec_core.rounds import Floats
from covspec_core.scenario import Scenario
from covspec_core.source import Source
from env.play import World
from env.presets import RECORDING, named_scenario
from policies.judging import mean_interval
from policies.rivals import Threshold, ThresholdSettings
from policies.stops import SpecDecPP, SpecDecPPSettings, Svip, SvipSettings

FOLDER = RECORDING.parent / "pair"


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


def played_s(world: World, source: Source, controller: Controller, seed: int) -> float:
    """Virtual seconds of a session."""
    engine = Engine(world.scenario, world.links, source)
    status = engine.begin(seed)
    controller.begin(1)
    while True:
        result = engine.play(controller.decide(status))
        if result.session_done[0]:
            return float(result.received_s[0])
        status = engine.status()


def compare(
    world: World, pair: Pair, controller: Controller, sessions: int, seed: int
) -> tuple[Floats, Floats]:
    """Virtual seconds of sessions, live and replayed, shape ``[sessions]`` each."""
    ask, temperature = (
        recorded_requests(world.recording),
        float(world.recording.meta["temperature"]),
    )
    limit, kind = int(world.recording.meta["limit"]), world.scenario.protocol
    times = np.array(
        [
            [
                played_s(world, source, controller, seed + i)
                for source in (LiveSource(pair, kind, temperature, limit, ask), world.replay(1))
            ]
            for i in range(sessions)
        ]
    )
    return times[:, 0], times[:, 1]


def main(arguments: list[str] | None = None) -> None:
    """Print one line a rule: how much longer live sessions take than replayed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    scenario = named_scenario("paper", protocol_name="coupled", requests=1)
    world = World.load(scenario, "validation")
    parts = str(FOLDER / "draft"), str(FOLDER / "target")
    pair = load_pair(*parts, world.recording.meta["reduction"], str(FOLDER / HEAD))
    for name, controller in rules(world.scenario).items():
        live_s, replayed_s = compare(world, pair, controller, args.sessions, args.seed)
        low, high = mean_interval(100 * (live_s / replayed_s - 1))
        print(
            f"{name}: live {live_s.mean():.3f} s, replayed {replayed_s.mean():.3f} s, "
            f"live takes {100 * (live_s / replayed_s - 1).mean():+.2f} % [{low:+.2f}, {high:+.2f}]"
        )
    print(provenance(args.seed))


if __name__ == "__main__":
    main()
