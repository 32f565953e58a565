"""What a question can be about: things and groups of a scene, and what they can be called."""

from __future__ import annotations

import math
import random
from typing import Final

from covspec_core.pair.phrases import Phrase
from covspec_core.pair.world import COLOURS, GRID_SIDE, SHAPES, SIZES, Scene, Thing

SHORT_SHARE: Final = 0.8  # of the things referred to by one attribute, where that is enough


def distance_px(a: Thing, b: Thing) -> float:
    """Between the centres, in pixels."""
    return math.hypot(a.x_px - b.x_px, a.y_px - b.y_px)


def is_beside(a: Thing, side: str, b: Thing) -> bool:
    """Whether the centre of ``a`` is on that side of the centre of ``b``."""
    right, down = a.x_px - b.x_px, a.y_px - b.y_px
    return {"left": right < 0, "right": right > 0, "above": down < 0, "below": down > 0}[side]


def across(thing: Thing, axis: str) -> int:
    """Row or column of a thing's cell, along the axis "y" or "x"."""
    return thing.cell % GRID_SIDE if axis == "x" else thing.cell // GRID_SIDE


def fitting(scene: Scene, group: Phrase) -> tuple[Thing, ...]:
    """The things of a scene of which everything said is true, in reading order."""
    return tuple(thing for thing in scene.things if group.fits(thing))


def refer(scene: Scene, thing: Thing, rng: random.Random) -> Phrase | None:
    """A short phrase that fits this thing only, or ``None``."""
    short = [Phrase(shape=thing.shape), Phrase(colour=thing.colour)]
    full = [
        Phrase(colour=thing.colour, shape=thing.shape),
        Phrase(thing.size, thing.colour, thing.shape),
    ]
    phrases = [*rng.sample(short, 2), *full] if rng.random() < SHORT_SHARE else full
    return next((p for p in phrases if len(fitting(scene, p)) == 1), None)


def draw_two(
    scene: Scene, rng: random.Random
) -> tuple[tuple[Thing, Phrase], tuple[Thing, Phrase]] | None:
    """Two things, each with a short phrase that fits it only, or ``None``."""
    first, second = rng.sample(scene.things, 2)
    a, b = refer(scene, first, rng), refer(scene, second, rng)
    if a is None or b is None:
        return None
    return (first, a), (second, b)


def draw_group(scene: Scene, rng: random.Random) -> Phrase:
    """A size, colour, shape or two of them; mostly of some thing in the scene."""
    thing = rng.choice(scene.things)
    real = rng.random() < 0.85
    size = thing.size if real else rng.choice(SIZES)
    colour = thing.colour if real else rng.choice(COLOURS)
    shape = thing.shape if real else rng.choice(SHAPES)
    return rng.choice([
        Phrase(size, shape=shape), Phrase(size), Phrase(colour=colour), Phrase(shape=shape),
        Phrase(colour=colour, shape=shape), Phrase(size, colour), Phrase(),
    ])  # fmt: skip
