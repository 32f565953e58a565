"""Words of the drawn world: how each attribute is said, and which meaning a phrase has.

Every table maps a meaning to its phrases, the usual one first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from covspec_core.pair.world import (
    COLOURS,
    PATTERNS,
    RARE_COLOURS,
    RARE_SHAPES,
    SHAPES,
    TONES,
)

Meaning = TypeVar("Meaning")

SIZE_WORDS: Final = {
    "small": ("small", "little"),
    "medium": ("medium", "middling"),
    "large": ("large", "big"),
}
COLOUR_WORDS: Final = {colour: (colour,) for colour in COLOURS + RARE_COLOURS}
SHAPE_WORDS: Final = {shape: (shape,) for shape in SHAPES + RARE_SHAPES}
TONE_WORDS: Final = {tone: (tone,) for tone in TONES}
PATTERN_WORDS: Final = {pattern: (pattern,) for pattern in PATTERNS}
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBER_WORDS: Final = {number: (word,) for number, word in enumerate(_NUMBERS)}
ANY_SHAPE: Final = ("thing", "object", "shape")

PLACE_WORDS: Final = {
    0: ("top left", "upper left"),
    1: ("top centre", "upper centre"),
    2: ("top right", "upper right"),
    3: ("centre left", "middle left"),
    4: ("dead centre", "in the middle"),
    5: ("centre right", "middle right"),
    6: ("bottom left", "lower left"),
    7: ("bottom centre", "lower centre"),
    8: ("bottom right", "lower right"),
}
LINE_WORDS: Final = {
    "top": ("in the top row", "along the top"),
    "middle": ("in the middle row",),
    "bottom": ("in the bottom row", "along the bottom"),
    "left": ("on the left", "on the left side"),
    "centre": ("in the middle column",),
    "right": ("on the right", "on the right side"),
}
SIDE_WORDS: Final = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above", "higher up than"),
    "below": ("below", "lower down than"),
}


def plural(shape: str) -> str:
    """The plural of a shape word or of "thing"."""
    return {"cross": "crosses"}.get(shape, shape + "s")


def meanings(table: Mapping[Meaning, tuple[str, ...]]) -> dict[str, Meaning]:
    """Phrase to meaning, for a table of words or of numbers (places, counts)."""
    return {phrase: meaning for meaning, phrases in table.items() for phrase in phrases}
