"""Draws a scene with Pillow: 96 x 96 RGB, anti-aliased by drawing larger and averaging."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from covspec_core.models.small import IMAGE_SIDE
from covspec_core.pair.world import Scene, Thing

Point = tuple[float, float]
Rgb = tuple[int, int, int]

SCALE: Final = 3  # drawn pixels per image pixel and axis
BADGE_RADIUS_PX: Final = 5.5
RING_WIDTH: Final = 0.36  # of the radius
STEP_PX: Final = 8  # period of stripes, tiles and dots

RGB: Final[dict[str, Rgb]] = {
    "red": (214, 32, 36), "green": (24, 136, 44), "blue": (28, 64, 214),
    "yellow": (250, 218, 20), "orange": (250, 130, 16), "purple": (126, 28, 150),
    "white": (255, 255, 255), "black": (12, 12, 12), "brown": (112, 66, 28),
}  # fmt: skip
TONE_RGB: Final[dict[str, Rgb]] = {
    "grey": (158, 158, 158), "beige": (220, 200, 164), "mint": (152, 212, 186),
    "lilac": (186, 172, 224), "pink": (240, 182, 196),
}  # fmt: skip


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB image of 96 x 96 pixels."""
    image = _background(scene.pattern, TONE_RGB[scene.tone])
    draw = ImageDraw.Draw(image)
    for thing in scene.things:
        _draw_thing(draw, thing)
    return image.reduce(SCALE)


def _draw_thing(draw: ImageDraw.ImageDraw, thing: Thing) -> None:
    centre = (thing.x_px, thing.y_px)
    _draw_shape(draw, thing.shape, centre, thing.radius_px, RGB[thing.colour])
    if thing.badge is not None:
        _draw_shape(draw, thing.badge.shape, centre, BADGE_RADIUS_PX, RGB[thing.badge.colour])


def _draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, centre: Point, radius_px: float, fill: Rgb
) -> None:
    x, y = centre[0] * SCALE, centre[1] * SCALE
    radius = radius_px * SCALE
    if shape in ("circle", "ring"):
        box = (x - radius, y - radius, x + radius, y + radius)
        width = max(1, round(RING_WIDTH * radius))
        draw.ellipse(box, fill=fill if shape == "circle" else None, outline=fill, width=width)
    else:
        draw.polygon([(x + radius * u, y + radius * v) for u, v in OUTLINES[shape]], fill=fill)


def _background(pattern: str, tone: Rgb) -> Image.Image:
    shade = PATTERN_SHADES[pattern]
    pixels = np.asarray(tone, dtype=np.float32) * shade[..., None]
    small = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return small.resize((IMAGE_SIDE * SCALE, IMAGE_SIDE * SCALE), Image.Resampling.NEAREST)


def _shade(darker: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Brightness per pixel ``[96, 96]``; ``darker(y, x)`` says how much darker, in [0, 1]."""
    y, x = np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE]
    return (1.06 - 0.16 * darker(y, x)).astype(np.float32)


def _polar(radii: list[float], turn: float = 0.0) -> tuple[Point, ...]:
    """A closed outline with one point per radius, clockwise from the top."""
    angles = [2 * math.pi * (k / len(radii) + turn) for k in range(len(radii))]
    return tuple((r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True))


def _heart() -> tuple[Point, ...]:
    turns = [2 * math.pi * k / 48 for k in range(48)]
    return tuple(
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in turns
    )


def _moon() -> tuple[Point, ...]:
    """A crescent open to the right: the left half circle outside, a flatter arc inside."""
    turns = [math.pi * k / 24 for k in range(25)]
    outer = [(0.45 - 1.2 * math.sin(t), -math.cos(t)) for t in turns]
    inner = [(0.45 - 0.45 * math.sin(t), math.cos(t)) for t in turns]
    return tuple(outer + inner)


def _cross(arm: float = 0.34) -> tuple[Point, ...]:
    quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm), (1.0, -arm)]
    points: list[Point] = []
    for _ in range(4):
        points += quarter
        quarter = [(-v, u) for u, v in quarter]
    return tuple(points)


OUTLINES: Final[dict[str, tuple[Point, ...]]] = {
    "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    "triangle": ((0.0, -1.0), (1.0, 0.85), (-1.0, 0.85)),
    "diamond": ((0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)),
    "star": _polar([1.05, 0.45] * 5),
    "cross": _cross(),
    "heart": _heart(),
    "moon": _moon(),
    "arrow": (
        (1.0, 0.0),
        (0.1, -0.9),
        (0.1, -0.35),
        (-1.0, -0.35),
        (-1.0, 0.35),
        (0.1, 0.35),
        (0.1, 0.9),
    ),
}

PATTERN_SHADES: Final[dict[str, np.ndarray]] = {
    "plain": _shade(lambda y, x: 0.4 + 0.0 * x),
    "striped": _shade(lambda y, x: (x % STEP_PX < STEP_PX // 2).astype(float)),
    "tiled": _shade(lambda y, x: ((x // STEP_PX + y // STEP_PX) % 2).astype(float)),
    "dotted": _shade(
        lambda y, x: ((x % STEP_PX - 3.5) ** 2 + (y % STEP_PX - 3.5) ** 2 < 5).astype(float)
    ),
    "fading": _shade(lambda y, x: 2.0 * y / IMAGE_SIDE - 0.4),
}
