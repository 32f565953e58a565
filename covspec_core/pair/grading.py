"""Is an answer right? Every claim must be true, and the question must be answered.

An answer outside the world's language is wrong: nothing in it could be checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from covspec_core.pair.claims import Claim, read_all
from covspec_core.pair.phrases import Item, Phrase
from covspec_core.pair.questions import Question
from covspec_core.pair.subjects import fitting
from covspec_core.pair.world import LINES, Scene

LISTS: Final = ("listing", "located")  # claims compared by what they mention, not one by one
EXHAUSTIVE: Final = ("describe", "count", "more", "line")  # kinds that list all of a group


def is_right(scene: Scene, question: Question, answer: str) -> bool:
    """Whether every claim of ``answer`` is true of ``scene`` and the question is answered in full.

    Evidence is part of an answer: counts list what they count, verdicts say what they rest on.
    Descriptions must mention every thing with all its attributes; number and background are free.
    """
    claims = read_all(answer)
    if claims is None or not all(_is_true(claim, question, scene) for claim in claims):
        return False
    if question.kind in EXHAUSTIVE and _mentioned(claims) != _mentioned(question.answer):
        return False
    return all(
        any(_same(claim, wanted, scene) for claim in claims) for wanted in _required(question)
    )


def _required(question: Question) -> list[Claim]:
    """What must be said beside the lists."""
    if question.kind == "describe":
        return []
    lists = LISTS if question.kind in EXHAUSTIVE else ()
    return [claim for claim in question.answer if claim.name not in lists]


def _is_true(claim: Claim, question: Question, scene: Scene) -> bool:
    """Whether a claim holds, or is the verdict of the question."""
    if claim.name in CHECKS:
        return holds(claim, scene)
    return any(_same(claim, wanted, scene) for wanted in question.answer)


def holds(claim: Claim, scene: Scene) -> bool:
    """Whether a claim, one that does not depend on a question, is true of a scene."""
    return CHECKS[claim.name](scene, **claim.slots)


def _mentioned(claims: list[Claim] | tuple[Claim, ...]) -> Counter[Item]:
    """Things with their places, as often as they are listed."""
    items: Counter[Item] = Counter()
    for claim in claims:
        if claim.name == "listing":
            items.update(claim.slots["items"])
        elif claim.name == "located":
            items[claim.slots["a"], claim.slots["place"]] += 1
    return items


def _same(stated: Claim, wanted: Claim, scene: Scene) -> bool:
    """Whether two claims say the same; phrases do if they mean the same things of the scene."""
    if stated.name != wanted.name:
        return False
    return all(
        _same_slot(stated.slots[name], meaning, scene) for name, meaning in wanted.slots.items()
    )


def _same_slot(stated: Any, wanted: Any, scene: Scene) -> bool:
    if stated == wanted or not isinstance(wanted, Phrase):
        return bool(stated == wanted)
    return fitting(scene, stated) == fitting(scene, wanted) != ()


def _located(scene: Scene, a: Phrase, place: int) -> bool:
    thing = scene.at(place)
    return thing is not None and a.fits(thing)


def _found(scene: Scene, the: Phrase, place: int) -> bool:
    return _located(scene, the, place)


def _listing(scene: Scene, items: tuple[Item, ...]) -> bool:
    return len(set(items)) == len(items) and all(
        _located(scene, phrase, cell) for phrase, cell in items
    )


def _colours(scene: Scene, colours: tuple[str, ...]) -> bool:
    return colours == tuple(thing.colour for thing in scene.things)


def _shapes(scene: Scene, shapes: tuple[str, ...]) -> bool:
    return shapes == tuple(thing.shape for thing in scene.things)


def _total(scene: Scene, n: int, group: Phrase) -> bool:
    return len(fitting(scene, group)) == n


def _total_one(scene: Scene, noun: Phrase) -> bool:
    return _total(scene, 1, noun)


def _background(scene: Scene, pattern: str, tone: str) -> bool:
    return (scene.pattern, scene.tone) == (pattern, tone)


def _empty(scene: Scene, place: int) -> bool:
    return scene.at(place) is None


def _empty_line(scene: Scene, line: str) -> bool:
    return not any(thing.cell in LINES[line] for thing in scene.things)


def _missing(scene: Scene, noun: Phrase) -> bool:
    return not fitting(scene, noun)


def _badge(scene: Scene, the: Phrase, mark: Any) -> bool:
    things = fitting(scene, the)
    return bool(things) and all(thing.badge == mark for thing in things)


def _no_badge(scene: Scene, the: Phrase) -> bool:
    return _badge(scene, the, None)


CHECKS: Final[dict[str, Callable[..., bool]]] = {
    "located": _located,
    "found": _found,
    "listing": _listing,
    "colours": _colours,
    "shapes": _shapes,
    "total": _total,
    "total_one": _total_one,
    "background": _background,
    "empty": _empty,
    "empty_line": _empty_line,
    "missing": _missing,
    "badge": _badge,
    "no_badge": _no_badge,
}
