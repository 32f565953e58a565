"""Questions about a scene and the claims that answer them.

Each kind draws its subject from the scene, words the question, and lists the claims of a full
answer: evidence first, verdict last, as a careful person would put it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from covspec_core.pair import words
from covspec_core.pair.claims import Claim, say_all
from covspec_core.pair.phrases import Phrase, describe, pick, plainly, say_group, say_noun
from covspec_core.pair.subjects import (
    across,
    distance_px,
    draw_group,
    draw_two,
    fitting,
    is_beside,
    refer,
)
from covspec_core.pair.wordings import ASKED
from covspec_core.pair.world import COLOURS, GRID_SIDE, LINES, SHAPES, SIZES, Scene, Thing

CLEAR_RATIO: Final = 1.3  # the second nearest is at least this much farther than the nearest
OPPOSITE: Final = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its subject and the claims that answer it.

    Attributes:
        kind: A key of ``KINDS``.
        text: The words asked.
        answer: The claims of a full answer, in a usual order.
    """

    kind: str
    text: str
    answer: tuple[Claim, ...]

    def say_answer(self, rng: random.Random) -> str:
        """One wording of the answer."""
        return say_all(list(self.answer), rng)


Asker = Callable[[Scene, random.Random], "Question | None"]


def ask(scene: Scene, kind: str, rng: random.Random) -> Question | None:
    """A question of ``kind``, or ``None`` if the scene has no fair one."""
    return KINDS[kind](scene, rng)


def questions(scene: Scene, rng: random.Random) -> Iterator[Question]:
    """Endless questions of all kinds, by their weights."""
    while True:
        question = ask(scene, rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0], rng)
        if question is not None:
            yield question


def _the(phrase: Phrase, rng: random.Random) -> str:
    return "the " + say_noun(phrase, rng)


def _found(thing: Thing) -> Claim:
    """Where a thing is, as evidence."""
    return Claim("found", {"the": plainly(thing), "place": thing.cell})


def _listed(things: tuple[Thing, ...]) -> list[Claim]:
    items = tuple((describe(thing), thing.cell) for thing in things)
    return [Claim("listing", {"items": items})] if things else []


def _count(scene: Scene, group: Phrase) -> list[Claim]:
    """The things of a group one by one, then their number."""
    things = fitting(scene, group)
    listing = _listed(things)
    if len(things) == 1:
        return [*listing, Claim("total_one", {"noun": group})]
    return [*listing, Claim("total", {"n": len(things), "group": group})]


def _ask_describe(scene: Scene, rng: random.Random) -> Question:
    text = rng.choice(ASKED["describe"])
    background = Claim("background", {"pattern": scene.pattern, "tone": scene.tone})
    detailed = "detail" in text
    body = _listed(scene.things)
    if detailed:
        body = [
            Claim("located", {"a": describe(thing), "place": thing.cell}) for thing in scene.things
        ]
    if detailed or rng.random() < 0.3:
        body.append(Claim("total", {"n": len(scene.things), "group": Phrase()}))
    claims = [background, *body] if rng.random() < 0.3 else [*body, background]
    return Question("describe", text, tuple(claims))


def _ask_what(scene: Scene, rng: random.Random) -> Question:
    cell = rng.choice(
        [thing.cell for thing in scene.things] if rng.random() < 0.85 else range(GRID_SIDE**2)
    )
    text = rng.choice(ASKED["what"]).format(pick(words.PLACE_WORDS[cell], rng))
    thing = scene.at(cell)
    if thing is None:
        return Question("what", text, (Claim("empty", {"place": cell}),))
    return Question("what", text, (Claim("located", {"a": describe(thing), "place": cell}),))


def _ask_line(scene: Scene, rng: random.Random) -> Question:
    line = rng.choice(list(LINES))
    text = rng.choice(ASKED["line"]).format(pick(words.LINE_WORDS[line], rng))
    listing = _listed(tuple(thing for thing in scene.things if thing.cell in LINES[line]))
    return Question("line", text, tuple(listing or [Claim("empty_line", {"line": line})]))


def _ask_name(scene: Scene, rng: random.Random) -> Question:
    name = rng.choice(("colour", "shape"))
    text = rng.choice(ASKED["name"]).format(name + "s")
    said = tuple(getattr(thing, name) for thing in scene.things)
    return Question("name", text, (Claim(name + "s", {name + "s": said}),))


def _ask_where(scene: Scene, rng: random.Random) -> Question | None:
    if rng.random() < 0.1:
        return _ask_missing(scene, rng)
    thing = rng.choice(scene.things)
    phrase = refer(scene, thing, rng)
    if phrase is None:
        return None
    text = rng.choice(ASKED["where"]).format(_the(phrase, rng))
    return Question("where", text, (Claim("found", {"the": describe(thing), "place": thing.cell}),))


def _ask_missing(scene: Scene, rng: random.Random) -> Question | None:
    phrase = Phrase(colour=rng.choice(COLOURS), shape=rng.choice(SHAPES))
    if any(map(phrase.fits, scene.things)):
        return None
    text = rng.choice(ASKED["where"]).format(_the(phrase, rng))
    return Question("where", text, (Claim("missing", {"noun": phrase}),))


def _ask_count(scene: Scene, rng: random.Random) -> Question:
    group = draw_group(scene, rng)
    text = rng.choice(ASKED["count"]).format(say_group(group, rng))
    return Question("count", text, tuple(_count(scene, group)))


def _ask_more(scene: Scene, rng: random.Random) -> Question | None:
    first, second = (rng.choice(scene.things) for _ in range(2))
    name = rng.choice(("size", "colour", "shape"))
    groups = [Phrase(**{name: getattr(thing, name)}) for thing in (first, second)]
    if groups[0] == groups[1]:
        return None
    n = [sum(map(group.fits, scene.things)) for group in groups]
    most = Claim("more", {"group": groups[n[1] > n[0]]})
    verdict = Claim("equally_many") if n[0] == n[1] else most
    text = rng.choice(ASKED["more"]).format(*(say_group(group, rng) for group in groups))
    claims = [claim for group in groups for claim in _listed(fitting(scene, group))]
    return Question("more", text, (*claims, verdict))


def _ask_larger(scene: Scene, rng: random.Random) -> Question | None:
    pair = draw_two(scene, rng)
    if pair is None or any(phrase.size for _, phrase in pair):
        return None
    (a, a_said), (b, b_said) = pair
    text = rng.choice(ASKED["larger"]).format(_the(a_said, rng), _the(b_said, rng))
    order = SIZES.index(a.size) - SIZES.index(b.size)
    winner = Claim("larger", {"the": a_said if order > 0 else b_said})
    verdict = winner if order else Claim("equally_large")
    return Question("larger", text, (_found(a), _found(b), verdict))


def _ask_beside(scene: Scene, rng: random.Random) -> Question | None:
    return ask_beside(scene, rng, apart=lambda a, b, axis: across(a, axis) != across(b, axis))


def ask_beside(
    scene: Scene, rng: random.Random, apart: Callable[[Thing, Thing, str], bool]
) -> Question | None:
    """Whether one thing is left of, right of, above or below another.

    Args:
        scene: What is seen.
        rng: Source of chance.
        apart: Whether two things are a fair pair along an axis, "x" or "y".
    """
    pair = draw_two(scene, rng)
    side = rng.choice(list(OPPOSITE))
    axis = "x" if side in ("left", "right") else "y"
    if pair is None or not apart(pair[0][0], pair[1][0], axis):
        return None
    (a, a_said), (b, b_said) = pair
    text = rng.choice(ASKED["beside"]).format(
        _the(a_said, rng), pick(words.SIDE_WORDS[side], rng), _the(b_said, rng)
    )
    # Yes or no would be one step more than small models learn in an hour.
    verdict = Claim("relation", {"side": side if is_beside(a, side, b) else OPPOSITE[side]})
    return Question("beside", text, (_found(a), _found(b), verdict))


def _ask_nearest(scene: Scene, rng: random.Random) -> Question | None:
    thing = rng.choice(scene.things)
    said = refer(scene, thing, rng)
    others = sorted(
        (o for o in scene.things if o is not thing), key=lambda o: distance_px(o, thing)
    )
    if (
        said is None
        or len(others) < 2
        or distance_px(others[1], thing) < CLEAR_RATIO * distance_px(others[0], thing)
    ):
        return None
    text = rng.choice(ASKED["nearest"]).format(_the(said, rng))
    nearest = plainly(others[0])
    if sum(map(nearest.fits, scene.things)) > 1:
        return None
    verdict = Claim("nearest", {"the": nearest, "place": others[0].cell})
    return Question("nearest", text, (_found(thing), verdict))


def _ask_badge(scene: Scene, rng: random.Random) -> Question | None:
    large = [thing for thing in scene.things if thing.size == "large"]
    if not large:
        return None
    thing = rng.choice(large)
    said = refer(scene, thing, rng)
    if said is None:
        return None
    text = rng.choice(ASKED["badge"]).format(_the(said, rng))
    mark = Claim("no_badge", {"the": said})
    if thing.badge is not None:
        mark = Claim("badge", {"the": said, "mark": thing.badge})
    return Question("badge", text, (_found(thing), mark))


def _ask_background(scene: Scene, rng: random.Random) -> Question:
    text = rng.choice(ASKED["background"])
    return Question(
        "background", text, (Claim("background", {"pattern": scene.pattern, "tone": scene.tone}),)
    )


KINDS: Final[dict[str, Asker]] = {
    "describe": _ask_describe,
    "what": _ask_what,
    "line": _ask_line,
    "name": _ask_name,
    "where": _ask_where,
    "count": _ask_count,
    "more": _ask_more,
    "larger": _ask_larger,
    "beside": _ask_beside,
    "nearest": _ask_nearest,
    "badge": _ask_badge,
    "background": _ask_background,
}
WEIGHTS: Final = {
    "describe": 3.0,
    "what": 1.5,
    "line": 2.0,
    "name": 1.5,
    "where": 2.0,
    "count": 3.0,
    "more": 2.5,
    "larger": 2.0,
    "beside": 3.0,
    "nearest": 2.0,
    "badge": 0.7,
    "background": 0.3,
}
