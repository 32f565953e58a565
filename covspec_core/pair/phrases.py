"""Noun phrases, places, lists and numbers: meaning to text and text to meaning.

A *slot* is one kind of phrase: ``pattern`` matches its text, ``read`` gives the meaning, ``say``
gives a text. What is said can always be read back, so one grammar writes answers and grades them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from covspec_core.pair import words
from covspec_core.pair.world import Badge, Thing

USUAL_SHARE: Final = 0.75  # how often the usual phrase is taken, where there are several


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is said about a thing; ``None`` says nothing of that attribute."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None
    badge: Badge | None = None

    def fits(self, thing: Thing) -> bool:
        """Whether everything said is true of ``thing``."""
        said = (self.size, self.colour, self.shape, self.badge)
        true = (thing.size, thing.colour, thing.shape, thing.badge)
        return all(a is None or a == b for a, b in zip(said, true, strict=True))


Item = tuple[Phrase, int]  # a thing and its cell


@dataclass(frozen=True, slots=True)
class Slot:
    """One kind of phrase inside a sentence."""

    pattern: str
    read: Callable[[str], Any]
    say: Callable[[Any, random.Random], str]


def describe(thing: Thing) -> Phrase:
    """Everything there is to say about a thing."""
    return Phrase(thing.size, thing.colour, thing.shape, thing.badge)


def plainly(thing: Thing) -> Phrase:
    """Size, colour and shape of a thing."""
    return Phrase(thing.size, thing.colour, thing.shape)


def pick(phrases: tuple[str, ...], rng: random.Random) -> str:
    """The usual (first) phrase mostly, else one of the others."""
    return (
        phrases[0] if len(phrases) == 1 or rng.random() < USUAL_SHARE else rng.choice(phrases[1:])
    )


def either(phrases: Iterable[str]) -> str:
    """A regular expression for any of the phrases, longest first."""
    return "(?:" + "|".join(sorted(map(re.escape, phrases), key=len, reverse=True)) + ")"


SIZE = words.meanings(words.SIZE_WORDS)
COLOUR = words.meanings(words.COLOUR_WORDS)
SHAPE = words.meanings(words.SHAPE_WORDS)
PLACE = words.meanings(words.PLACE_WORDS)
SINGULAR: Final[Mapping[str, str | None]] = {**SHAPE, **{word: None for word in words.ANY_SHAPE}}
PLURAL: Final = {words.plural(word): shape for word, shape in SINGULAR.items()}

_BADGE: Final = (
    rf"with an? (?P<badge_colour>{either(COLOUR)}) (?P<badge_shape>{either(SHAPE)}) badge"
)
_NOUN: Final = rf"(?:(?P<size>{either(SIZE)}) )?(?:(?P<colour>{either(COLOUR)}) )?(?P<shape>%s)"
_SINGULAR: Final = re.compile(_NOUN % either(SINGULAR) + rf"(?: {_BADGE})?")
_PLURAL: Final = re.compile(_NOUN % either(PLURAL))


def _nameless(pattern: re.Pattern[str]) -> str:
    """The expression without its group names, so that it can stand in another several times."""
    return re.sub(r"[?]P<[a-z_]+>", "?:", pattern.pattern)


_NOUN_TEXT: Final = _nameless(_SINGULAR)
_ITEM: Final = re.compile(rf"an? (?P<noun>{_NOUN_TEXT}) (?P<place>{either(PLACE)})")
_ITEM_TEXT: Final = _nameless(_ITEM)


def article(noun: str) -> str:
    """``noun`` with "a" or "an" before it."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def say_noun(phrase: Phrase, rng: random.Random) -> str:
    """A noun phrase without article, in the singular."""
    shape = phrase.shape or pick(words.ANY_SHAPE, rng)
    said = [pick(words.SIZE_WORDS[phrase.size], rng)] if phrase.size else []
    said += [word for word in (phrase.colour, shape) if word]
    if phrase.badge:
        said += ["with", article(phrase.badge.colour), phrase.badge.shape, "badge"]
    return " ".join(said)


def read_noun(text: str) -> Phrase:
    """The meaning of a noun phrase without article, in the singular."""
    found = _SINGULAR.fullmatch(text)
    assert found is not None, text
    badge = Badge(found["badge_colour"], found["badge_shape"]) if found["badge_shape"] else None
    return Phrase(SIZE.get(found["size"]), found["colour"], SINGULAR[found["shape"]], badge)


def say_group(phrase: Phrase, rng: random.Random) -> str:
    """A noun phrase without article, in the plural."""
    head, _, last = say_noun(phrase, rng).rpartition(" ")
    return f"{head} {words.plural(last)}".strip()


def _read_group(text: str) -> Phrase:
    found = _PLURAL.fullmatch(text)
    assert found is not None, text
    return Phrase(SIZE.get(found["size"]), found["colour"], PLURAL[found["shape"]])


def _say_items(items: tuple[Item, ...], rng: random.Random) -> str:
    said = [
        article(say_noun(phrase, rng)) + " " + pick(words.PLACE_WORDS[cell], rng)
        for phrase, cell in items
    ]
    return _enumerate(said)


def _read_items(text: str) -> tuple[Item, ...]:
    return tuple(
        (read_noun(found["noun"]), PLACE[found["place"]]) for found in _ITEM.finditer(text)
    )


def _say_series(words_of: Mapping[str, tuple[str, ...]]) -> Callable[..., str]:
    def say(meanings: tuple[str, ...], rng: random.Random) -> str:
        return _enumerate([pick(words_of[meaning], rng) for meaning in meanings])

    return say


def _enumerate(said: list[str]) -> str:
    return " , ".join(said[:-1]) + " and " + said[-1] if len(said) > 1 else said[0]


def _series_slot(table: Mapping[str, tuple[str, ...]]) -> Slot:
    """Several words of one table: "red , blue and red"."""
    read, word = words.meanings(table), either(words.meanings(table))
    return Slot(
        rf"{word}(?: (?:,|and) {word})*",
        lambda text: tuple(read[found] for found in re.findall(rf"\b{word}\b", text)),
        _say_series(table),
    )


def _say_mark(badge: Badge, rng: random.Random) -> str:
    return f"{article(badge.colour)} {badge.shape} badge"


def _read_mark(text: str) -> Badge:
    _, colour, shape, _ = text.split(" ")
    return Badge(colour, shape)


def _table_slot(table: Mapping[Any, tuple[str, ...]]) -> Slot:
    read = words.meanings(table)
    return Slot(either(read), read.__getitem__, lambda meaning, rng: pick(table[meaning], rng))


SLOTS: Final[dict[str, Slot]] = {
    "a": Slot(
        f"an? {_NOUN_TEXT}",
        lambda t: read_noun(t.split(" ", 1)[1]),
        lambda p, r: article(say_noun(p, r)),
    ),
    "the": Slot(
        f"the {_NOUN_TEXT}",
        lambda t: read_noun(t.split(" ", 1)[1]),
        lambda p, r: "the " + say_noun(p, r),
    ),
    "noun": Slot(_NOUN_TEXT, read_noun, say_noun),
    "group": Slot(_nameless(_PLURAL), _read_group, say_group),
    "items": Slot(rf"{_ITEM_TEXT}(?: (?:,|and) {_ITEM_TEXT})*", _read_items, _say_items),
    "mark": Slot(rf"an? {either(COLOUR)} {either(SHAPE)} badge", _read_mark, _say_mark),
    "place": _table_slot(words.PLACE_WORDS),
    "line": _table_slot(words.LINE_WORDS),
    "colours": _series_slot(words.COLOUR_WORDS),
    "shapes": _series_slot(words.SHAPE_WORDS),
    "n": _table_slot(words.NUMBER_WORDS),
    "side": _table_slot(words.SIDE_WORDS),
    "size": _table_slot(words.SIZE_WORDS),
    "pattern": _table_slot(words.PATTERN_WORDS),
    "tone": _table_slot(words.TONE_WORDS),
}
