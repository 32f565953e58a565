"""Words of the drawn world: how each attribute is said, and which meaning a phrase has.

Every table maps a meaning to its phrases, the usual one first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from covspec_core.pair.world import (
    BADGE_SHAPES,
    COLOURS,
    PATTERNS,
    RARE_COLOURS,
    RARE_SHAPES,
    SHAPES,
    TONES,
)

SIZE_WORDS: Final = {
    "small": ("small", "little"),
    "medium": ("medium", "middling"),
    "large": ("large", "big"),
}
COLOUR_WORDS: Final = {colour: (colour,) for colour in COLOURS + RARE_COLOURS}
SHAPE_WORDS: Final = {shape: (shape,) for shape in SHAPES + RARE_SHAPES}
BADGE_WORDS: Final = {shape: (shape,) for shape in BADGE_SHAPES}
TONE_WORDS: Final = {tone: (tone,) for tone in TONES}
PATTERN_WORDS: Final = {pattern: (pattern,) for pattern in PATTERNS}
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBER_WORDS: Final = {number: (word,) for number, word in enumerate(_NUMBERS)}
ANY_SHAPE: Final = ("thing", "object", "shape")

PLACE_WORDS: Final = {
    0: ("at the top left", "in the upper left corner"),
    1: ("at the top", "at the upper edge"),
    2: ("at the top right", "in the upper right corner"),
    3: ("on the left", "at the left edge"),
    4: ("in the centre", "in the middle"),
    5: ("on the right", "at the right edge"),
    6: ("at the bottom left", "in the lower left corner"),
    7: ("at the bottom", "at the lower edge"),
    8: ("at the bottom right", "in the lower right corner"),
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


def meanings(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Phrase to meaning, for a table of strings."""
    return {phrase: meaning for meaning, phrases in table.items() for phrase in phrases}


def number_meanings(table: Mapping[int, tuple[str, ...]]) -> dict[str, int]:
    """Phrase to meaning, for a table of numbers (places, counts)."""
    return {phrase: meaning for meaning, phrases in table.items() for phrase in phrases}
