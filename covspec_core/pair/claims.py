"""What an answer can claim, and the sentences that say it.

An answer is a list of claims; each claim is said by one of several sentences and can be read back.
Slots in braces are those of ``phrases.SLOTS``. "Relation", "more" and the like are about the
question.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from covspec_core.pair.phrases import SLOTS, pick

SENTENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "located": (
        "there is {a} {place}",
        "{place} there is {a}",
        "{place} you can see {a}",
        "i can see {a} {place}",
        "{a} sits {place}",
    ),
    "found": ("{the} is {place}", "{the} sits {place}", "you can find {the} {place}"),
    "listing": (
        "the picture shows {items}",
        "i can see {items}",
        "one can make out {items}",
        "there is {items}",
    ),
    "colours": ("the colours are {colours}", "they are {colours}"),
    "shapes": ("the shapes are {shapes}", "one after the other {shapes}"),
    "total": ("that makes {n} {group}", "i count {n} {group}", "there are {n} {group}"),
    "total_one": ("that makes one {noun}", "i count one {noun}", "there is one {noun}"),
    "background": (
        "the background is {pattern} and {tone}",
        "all of it lies on a {pattern} {tone} background",
        "the {tone} background is {pattern}",
    ),
    "empty": ("there is nothing {place}", "{place} there is only the background"),
    "empty_line": ("there is nothing {line}", "{line} there is only the background"),
    "missing": ("there is no {noun}", "i cannot find any {noun}"),
    "relation": ("so it is {side} it", "it is {side} it"),
    "nearest": ("the closest is {the} {place}", "nearest is {the} {place}"),
    "more": ("so there are more {group}", "there are more {group}"),
    "equally_many": ("so they are equally many",),
    "larger": ("so {the} is larger", "{the} is larger"),
    "equally_large": ("so they are equally large",),
    "badge": ("{the} bears {mark}", "on {the} there is {mark}", "yes {the} bears {mark}"),
    "no_badge": ("there is nothing on {the}", "{the} bears no badge"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: a key of ``SENTENCES`` and the meanings of its slots."""

    name: str
    slots: Mapping[str, Any] = field(default_factory=dict)


def say(claim: Claim, rng: random.Random) -> str:
    """A sentence for the claim, in words and commas, without a full stop."""
    sentence = pick(SENTENCES[claim.name], rng)
    said = {name: SLOTS[name].say(meaning, rng) for name, meaning in claim.slots.items()}
    return sentence.format(**said)


def say_all(claims: list[Claim], rng: random.Random) -> str:
    """An answer: every claim as a sentence of its own."""
    return " ".join(say(claim, rng) + " ." for claim in claims)


def read_all(answer: str) -> list[Claim] | None:
    """The claims of an answer, or ``None`` if any sentence is not of this world's language."""
    words = re.findall(r"[a-z]+|[.,]", answer.lower())
    sentences = [part.strip() for part in " ".join(words).split(".") if part.strip()]
    claims = [read(sentence) for sentence in sentences]
    return (
        None if not claims or None in claims else [claim for claim in claims if claim is not None]
    )


@cache
def read(sentence: str) -> Claim | None:
    """The claim of one sentence, or ``None``."""
    for name, pattern in _patterns():
        found = pattern.fullmatch(sentence)
        if found:
            return Claim(
                name, {slot: SLOTS[slot].read(text) for slot, text in found.groupdict().items()}
            )
    return None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (
            name,
            re.compile(
                re.sub(r"{(\w+)}", lambda m: f"(?P<{m[1]}>{SLOTS[m[1]].pattern})", sentence)
            ),
        )
        for name, sentences in SENTENCES.items()
        for sentence in sentences
    )
