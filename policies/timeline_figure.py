"""The timeline of a session under a controller, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from covspec_core.engine import Controller, Engine
from covspec_core.randomness import mix
from env.play import World
from env.render import draw


def draw_timeline(world: World, controller: Controller, seed: int, path: Path) -> None:
    """Play one session and draw its last rounds."""
    engine = Engine(world.scenario, world.links, world.replay(1))
    controller.begin(1)
    engine.begin(int(mix(seed, np.array([0]))[0]))
    rounds: list[dict[str, Any]] = []
    while not rounds or not rounds[-1]["session_done"]:
        rounds.append(engine.play(engine.decision(controller)).row(0))
    draw(world.scenario, rounds, path)
