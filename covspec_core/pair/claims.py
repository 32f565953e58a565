"""What an answer can claim, and the sentences that say it.

An answer is a list of claims; each claim is said by one of several sentences and can be read back.
Slots in braces are those of ``phrases.SLOTS``; ``the2`` and ``group2`` are second ones of a kind.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from covspec_core.pair.phrases import SLOTS, Slot, pick

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
    "total": (
        "there are {n} {group} in the picture",
        "that makes {n} {group}",
        "i count {n} {group}",
    ),
    "total_one": (
        "there is one {noun} in the picture",
        "that makes one {noun}",
        "i count one {noun}",
    ),
    "background": (
        "the background is {pattern} and {tone}",
        "all of it lies on a {pattern} {tone} background",
        "the {tone} background is {pattern}",
    ),
    "empty": ("there is nothing {place}", "{place} there is only the background"),
    "missing": ("there is no {noun} in the picture", "i cannot find any {noun}"),
    "is_beside": ("yes , {the} is {side} {the2}", "indeed {the} is {side} {the2}"),
    "is_not_beside": ("no , {the} is not {side} {the2}",),
    "nearest": ("{the} is the closest to {the2}", "nearest to {the2} is {the}"),
    "more": ("so there are more {group} than {group2}",),
    "fewer": ("so there are fewer {group} than {group2}",),
    "equal_counts": ("so there are as many {group} as {group2}",),
    "has_size": ("{the} is {size}",),
    "larger": ("so {the} is larger than {the2}", "so {the} is bigger than {the2}"),
    "equal_sizes": ("so {the} is as large as {the2}", "so {the} has the size of {the2}"),
    "badge": ("{the} bears {mark}", "on {the} there is {mark}"),
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
    said = {name: _slot(name).say(meaning, rng) for name, meaning in claim.slots.items()}
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
                name, {slot: _slot(slot).read(text) for slot, text in found.groupdict().items()}
            )
    return None


def _slot(name: str) -> Slot:
    return SLOTS[name.rstrip("2")]


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (
            name,
            re.compile(
                re.sub(r"{(\w+)}", lambda m: f"(?P<{m[1]}>{_slot(m[1]).pattern})", sentence)
            ),
        )
        for name, sentences in SENTENCES.items()
        for sentence in sentences
    )
