"""The drawn world of the embedded pair: scenes of coloured shapes, equal for equal seeds.

A scene has a background and up to nine things, at most one in each cell of a 3 x 3 grid.
Attributes are easy to see on purpose (sizes well apart, centres well inside their cell); the
out-of-distribution sets give up one of these kindnesses each.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from covspec_core.errors import InvalidSetting
from covspec_core.models.small import IMAGE_SIDE

GRID_SIDE: Final = 3
CELL_SIDE: Final = IMAGE_SIDE // GRID_SIDE  # pixels

SHAPES: Final = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
RARE_SHAPES: Final = ("moon", "arrow")
COLOURS: Final = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black")
RARE_COLOURS: Final = ("brown",)
SIZES: Final = ("small", "medium", "large")
RADIUS_PX: Final = {"small": (5.0, 6.0), "medium": (8.5, 9.5), "large": (13.0, 14.0)}
BADGE_COLOURS: Final = ("white", "black")
BADGE_SHAPES: Final = ("circle",)
PATTERNS: Final = ("plain", "striped", "tiled", "dotted", "fading")
TONES: Final = ("grey", "beige", "mint", "lilac", "pink")
LINES: Final = {
    "top": (0, 1, 2),
    "middle": (3, 4, 5),
    "bottom": (6, 7, 8),
    "left": (0, 3, 6),
    "centre": (1, 4, 7),
    "right": (2, 5, 8),
}  # cells of the rows and columns
HELD_OUT_PAIRS: Final = frozenset(zip(SHAPES, COLOURS, strict=True))  # never seen in training

RARE_SHARE: Final = 0.003  # of the things in training scenes
BADGE_SHARE: Final = 0.2  # of the large things


@dataclass(frozen=True, slots=True)
class Badge:
    """A small mark drawn on a large thing; part of that thing, never counted by itself."""

    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape of a scene. ``x_px`` and ``y_px`` are its centre, y growing downwards."""

    shape: str
    colour: str
    size: str
    cell: int  # 0..8, row by row
    x_px: float
    y_px: float
    radius_px: float
    badge: Badge | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in reading order on a background of one pattern and one tone."""

    things: tuple[Thing, ...]
    pattern: str
    tone: str

    def at(self, cell: int) -> Thing | None:
        """The thing in a cell, if any."""
        return next((thing for thing in self.things if thing.cell == cell), None)


@dataclass(frozen=True, slots=True)
class Split:
    """A named set of scenes: a range of seeds and how its scenes differ from the training ones."""

    seeds: range
    things: tuple[int, int] = (3, 7)  # fewest and most
    jitter_px: float = 2.0  # largest distance of a centre from the centre of its cell, per axis
    sizes: tuple[str, ...] = SIZES
    contains: str = ""  # "", "held_out_pair" or "rare": every scene has at least one such thing


SPLITS: Final = {
    "train": Split(range(0, 50_000_000)),
    "validation": Split(range(50_000_000, 51_000_000)),
    "test": Split(range(51_000_000, 52_000_000)),
    "combinations": Split(range(52_000_000, 53_000_000), contains="held_out_pair"),
    "rare": Split(range(53_000_000, 54_000_000), contains="rare"),
    "subtle": Split(range(54_000_000, 55_000_000), jitter_px=8.0, sizes=("small", "medium")),
    "crowded": Split(range(55_000_000, 56_000_000), things=(8, 9)),
}


def split_of(name: str) -> Split:
    """The split called ``name``; raises :class:`InvalidSetting` with the names there are."""
    if name not in SPLITS:
        raise InvalidSetting(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
    return SPLITS[name]


def seed_of(split: str, index: int) -> int:
    """The seed of the ``index``-th scene of a split; no two splits share one."""
    seeds = split_of(split).seeds
    if not 0 <= index < len(seeds):
        raise InvalidSetting(f"{split} has scenes 0 to {len(seeds) - 1}, got {index}")
    return seeds[index]


def draw_scene(split: str, index: int) -> Scene:
    """The ``index``-th scene of a split, always the same."""
    rng = random.Random(seed_of(split, index))
    rule = split_of(split)
    cells = sorted(rng.sample(range(GRID_SIDE**2), rng.randint(*rule.things)))
    special = rng.choice(cells) if rule.contains else -1
    things = tuple(
        _draw_thing(rng, rule, cell, rule.contains if cell == special else "") for cell in cells
    )
    return Scene(things, rng.choice(PATTERNS), rng.choice(TONES))


def _draw_thing(rng: random.Random, rule: Split, cell: int, contains: str) -> Thing:
    shape, colour = _draw_look(rng, contains)
    size = rng.choice(rule.sizes)
    row, column = divmod(cell, GRID_SIDE)
    x, y = (
        (k + 0.5) * CELL_SIDE + rng.uniform(-rule.jitter_px, rule.jitter_px) for k in (column, row)
    )
    return Thing(
        shape,
        colour,
        size,
        cell,
        x,
        y,
        rng.uniform(*RADIUS_PX[size]),
        _draw_badge(rng, shape, colour, size),
    )


def _draw_look(rng: random.Random, contains: str) -> tuple[str, str]:
    """Shape and colour; held-out pairs only where asked for."""
    if contains == "held_out_pair":
        return rng.choice(sorted(HELD_OUT_PAIRS))
    if contains == "rare" or rng.random() < RARE_SHARE:
        return _draw_rare_look(rng)
    while True:
        look = rng.choice(SHAPES), rng.choice(COLOURS)
        if look not in HELD_OUT_PAIRS:
            return look


def _draw_rare_look(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.5:
        return rng.choice(RARE_SHAPES), rng.choice(COLOURS)
    return rng.choice(SHAPES), rng.choice(RARE_COLOURS)


def _draw_badge(rng: random.Random, shape: str, colour: str, size: str) -> Badge | None:
    if size != "large" or shape == "ring" or rng.random() >= BADGE_SHARE:
        return None
    return Badge(
        rng.choice([other for other in BADGE_COLOURS if other != colour]), rng.choice(BADGE_SHAPES)
    )
