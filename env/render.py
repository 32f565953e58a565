"""The last rounds of a session as a timeline of device, link and edge: as text or as a picture."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covspec_core.scenario import Scenario

ROUNDS = 12
"""Rounds that are shown at most."""
LANES = ("device", "link", "edge")


class Mark(NamedTuple):
    """How one kind of work or token looks; colours of Okabe and Ito (2008), tints for waiting."""

    label: str
    letter: str
    colour: str


WORK = {
    "start": Mark("reading the image", "i", "#B8B8B8"),
    "draft": Mark("drafting", "d", "#56B4E9"),
    "ahead": Mark("drafting ahead", "b", "#C6E5F8"),
    "up": Mark("upload", "\\", "#E69F00"),
    "down": Mark("download", "/", "#E69F00"),
    "queue": Mark("edge not ready", ".", "#DDDDDD"),
    "verify": Mark("verifying", "v", "#0072B2"),
    "burst": Mark("edge alone", "e", "#CC79A7"),
}
TOKENS = {
    "accepted": Mark("accepted", "+", "#009E73"),
    "redrawn": Mark("redrawn", "x", "#D55E00"),
    "bonus": Mark("bonus", "*", "#F0E442"),
    "skipped": Mark("unchecked", "~", "#56B4E9"),
    "burst": Mark("edge alone", "e", "#CC79A7"),
    "dropped": Mark("dropped", "-", "#FFFFFF"),
}


class Span(NamedTuple):
    """Work on one lane."""

    lane: str
    kind: str
    begin_s: float
    end_s: float
    note: str = ""


class Shown(NamedTuple):
    """A round with its number in the session and the end of the round before."""

    number: int
    since_s: float
    row: Mapping[str, Any]

    def spans(self) -> Iterator[Span]:
        """All work of the round that takes time."""
        row = self.row
        edge = ("burst", row["burst"]) if row["burst"] else ("verify", row["drafted"])
        ahead = ("device", "ahead", row["sent_s"], row["received_s"], f"+{row['branch_steps']}")
        spans = (
            Span("device", "start", self.since_s, row["started_s"]),
            Span("device", "draft", row["started_s"], row["sent_s"], f"{row['drafted']}"),
            Span(*ahead) if row["branch_steps"] else None,
            Span("link", "up", row["sent_s"], row["arrived_s"]) if row["bytes_up"] else None,
            Span("edge", "queue", row["arrived_s"], row["verify_s"]),
            Span("edge", edge[0], row["verify_s"], row["verified_s"], f"{edge[1]}"),
            Span("link", "down", row["verified_s"], row["received_s"]),
        )
        return (span for span in spans if span and span.end_s > span.begin_s)

    def tokens(self) -> dict[str, int]:
        """Number of tokens by kind, in the order in which they stand in the text."""
        row = self.row
        checked = row["accepted"] + row["rejected"]
        return {
            "accepted": row["accepted"],
            "redrawn": int(row["rejected"]),
            "bonus": row["emitted"] - checked - row["skipped"] - row["burst"],
            "skipped": row["skipped"],
            "burst": row["burst"],
            "dropped": row["drafted"] - checked - row["skipped"],
        }

    def facts(self) -> dict[str, str]:
        """What a reader wants to know in numbers."""
        row = self.row
        return {
            "round": f"{self.number}",
            "drafted": f"{row['drafted']}",
            "branch": ("hit" if row["hit"] else "miss") if row["branch_steps"] else "-",
            "seconds": f"{row['received_s'] - row['started_s']:.3f}",
            "up": size(row["bytes_up"]),
            "down": size(row["bytes_down"]),
        }


class Timeline:
    """The last rounds of one session.

    Args:
        scenario: What is emulated.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._protocol = scenario.protocol.name
        self._rounds: deque[Shown] = deque(maxlen=ROUNDS)
        self.clear()

    def clear(self) -> None:
        """A new session begins."""
        self._rounds.clear()
        self._count = self._emitted = self._bytes_up = self._bytes_down = 0
        self._now_s = 0.0

    def add(self, round: Mapping[str, Any]) -> None:
        """Take in a round, as :meth:`covspec_core.rounds.RoundResult.row` gives it."""
        self._count += 1
        self._rounds.append(Shown(self._count, self._now_s, round))
        self._now_s = round["received_s"]
        self._emitted += round["emitted"]
        self._bytes_up += round["bytes_up"]
        self._bytes_down += round["bytes_down"]

    @property
    def title(self) -> str:
        """The session so far in one line."""
        if not self._count:
            return f"{self._protocol}: no round yet"
        return (
            f"{self._protocol}: {self._count} rounds, {self._emitted} tokens in {self._now_s:.2f} s"
            f", {size(self._bytes_up)} up, {size(self._bytes_down)} down"
        )

    @property
    def window_s(self) -> tuple[float, float]:
        """First and last moment that is shown."""
        begin_s = self._rounds[0].since_s if self._rounds else 0.0
        return begin_s, max(self._now_s, begin_s + 1e-6) if self._rounds else 1.0

    def ansi(self) -> str:
        """Lanes of letters, then one line for each round."""
        return "\n".join([self.title, *self._lanes(), "", *self._lines(), *_legend_lines()])

    def _lanes(self, columns: int = 88) -> list[str]:
        begin_s, end_s = self.window_s
        lanes = {lane: [" "] * columns for lane in LANES}
        for span in (span for shown in self._rounds for span in shown.spans()):
            first, last = (
                (moment - begin_s) / (end_s - begin_s) * columns
                for moment in (max(span.begin_s, begin_s), span.end_s)
            )
            first = min(int(first), columns - 1)
            count = max(min(round(last), columns) - first, 1)
            lanes[span.lane][first : first + count] = WORK[span.kind].letter * count
        axis = f"{begin_s:<10.2f}{'seconds':^{columns - 20}}{end_s:>10.2f}"
        return [f"{name:>6} |{''.join(row)}|" for name, row in lanes.items()] + [" " * 8 + axis]

    def _lines(self) -> Iterator[str]:
        if self._rounds:
            yield "".join(f"{name:>8}" for name in self._rounds[-1].facts()) + "  tokens"
        for shown in self._rounds:
            text = "".join(TOKENS[kind].letter * n for kind, n in shown.tokens().items())
            yield "".join(f"{fact:>8}" for fact in shown.facts().values()) + f"  {text}"

    def rgb_array(self) -> NDArray[np.uint8]:
        """The picture, shape ``[HEIGHT, WIDTH, 3]``."""
        return np.asarray(self.image(2).reduce(2))

    def image(self, scale: int) -> Image.Image:
        """The picture with ``scale`` pixels for each of :data:`WIDTH` by :data:`HEIGHT`."""
        canvas = _Canvas(scale)
        begin_s, end_s = self.window_s
        columns = max(len(self._rounds), ROUNDS // 2)
        scope = _Scope(begin_s, (RIGHT - LEFT) / (end_s - begin_s), (RIGHT - LEFT) / columns)
        canvas.text(LEFT, 15, self.title, 13)
        _draw_legend(canvas)
        _draw_axis(canvas, scope, end_s)
        for column, shown in enumerate(self._rounds):
            _draw_fan(canvas, scope, shown, column)
        for shown in self._rounds:
            for span in shown.spans():
                _draw_span(canvas, scope, span)
        _draw_frame(canvas)
        for column, shown in enumerate(self._rounds):
            _draw_column(canvas, scope, shown, column)
        return canvas.image


def draw(scenario: Scenario, rounds: Iterable[Mapping[str, Any]], path: Path | str) -> None:
    """Save the last rounds of a session as a PNG file, three pixels a point."""
    timeline = Timeline(scenario)
    for row in rounds:
        timeline.add(row)
    timeline.image(3).save(path, dpi=(288, 288))


def size(count: float) -> str:
    """A number of bytes for reading, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _legend_lines() -> Iterator[str]:
    for head, marks in (("lanes", WORK), ("tokens", TOKENS)):
        yield f"{head:>6}  " + ", ".join(f"{m.letter} {m.label}" for m in marks.values())


WIDTH, HEIGHT = 960, 320
LEFT, RIGHT = 64, 948
AXIS = 62
BANDS = {"device": (66, 94), "link": (94, 130), "edge": (130, 158)}
TABLE = 190
LINES = {
    "round": 199, "tokens": 218, "drafted": 239, "branch": 255, "seconds": 271, "up": 287,
    "down": 303,
}  # fmt: skip
INK, FAINT, TINTS, TRANSFER = "#222222", "#8A8A8A", ("#FFFFFF", "#F1F1EC"), "#FBE8C3"


class _Scope(NamedTuple):
    """Where moments and the columns of rounds lie on the picture, in points."""

    begin_s: float
    per_s: float
    column: float

    def x(self, moment_s: float) -> float:
        return LEFT + max(moment_s - self.begin_s, 0.0) * self.per_s


class _Canvas:
    """Drawing in points; a point is ``scale`` pixels wide."""

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self.image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._fonts: dict[int, Any] = {}

    def _pixels(self, *points: float) -> list[int]:
        return [round(point * self._scale) for point in points]

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: str | None, edge: str | None = None
    ) -> None:
        left, top, right, bottom = self._pixels(x0, y0, x1, y1)
        right, bottom = max(right - 1, left), max(bottom - 1, top)
        self._draw.rectangle((left, top, right, bottom), fill, edge, max(self._scale // 2, 1))

    def line(self, *points: float, colour: str = INK, width: float = 1.0) -> None:
        self._draw.line(self._pixels(*points), colour, max(round(width * self._scale), 1))

    def polygon(self, *points: float, fill: str) -> None:
        self._draw.polygon(self._pixels(*points), fill)

    def text(
        self, x: float, y: float, text: str, points: int = 11, colour: str = INK, anchor: str = "lm"
    ) -> None:
        font = self._fonts.setdefault(points, ImageFont.load_default(points * self._scale))
        self._draw.text(self._pixels(x, y), text, colour, font, anchor)

    def width(self, text: str, points: int = 11) -> float:
        font = self._fonts.setdefault(points, ImageFont.load_default(points * self._scale))
        return font.getlength(text) / self._scale


def _draw_legend(canvas: _Canvas) -> None:
    x = float(LEFT)
    for kind, mark in WORK.items():
        if kind != "down":  # the same colour, slanted the other way
            canvas.box(x, 31, x + 11, 41, TRANSFER if kind == "up" else mark.colour)
            if kind == "up":
                canvas.line(x, 31, x + 11, 41, colour=mark.colour, width=1.5)
            label = "transfer" if kind == "up" else mark.label
            canvas.text(x + 15, 36, label)
            x += 27 + canvas.width(label)
    x = float(RIGHT)
    for kind, mark in reversed(TOKENS.items()):
        x -= 12 + canvas.width(mark.label)
        _draw_token(canvas, kind, x, 10, 7, 11)
        canvas.text(x + 12, 15, mark.label)
        x -= 12


def _draw_axis(canvas: _Canvas, scope: _Scope, end_s: float) -> None:
    step_s = _tick_s((end_s - scope.begin_s) / 10)
    tick = math.ceil(scope.begin_s / step_s - 1e-9)
    digits = max(-math.floor(math.log10(step_s)), 0)
    while tick * step_s <= end_s + 1e-9:
        x = scope.x(tick * step_s)
        canvas.line(x, AXIS, x, BANDS["device"][0], colour=FAINT)
        canvas.text(x, AXIS - 6, f"{tick * step_s:.{digits}f}", 10, FAINT, "mm")
        tick += 1
    canvas.text(LEFT - 14, AXIS - 6, "seconds", 10, FAINT, "rm")


def _tick_s(about_s: float) -> float:
    """The next of 1, 2, 5, 10 ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(about_s))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= about_s * (1 - 1e-9))


def _draw_fan(canvas: _Canvas, scope: _Scope, shown: Shown, column: int) -> None:
    """Tint the round's time and lead it to its column of the table."""
    tint = TINTS[shown.number % 2]
    left, right = scope.x(shown.since_s), scope.x(shown.row["received_s"])
    top, bottom = BANDS["device"][0], BANDS["edge"][1]
    low, high = LEFT + column * scope.column, LEFT + (column + 1) * scope.column
    canvas.box(left, top, right, bottom, tint)
    canvas.polygon(left, bottom, right, bottom, high, TABLE, low, TABLE, fill=tint)
    canvas.box(low, TABLE, high, HEIGHT - 8, tint)
    canvas.line(right, top, right, bottom, high, TABLE, colour="#D5D5CE", width=0.5)
    canvas.line(high, TABLE, high, HEIGHT - 8, colour="#D5D5CE", width=0.5)


def _draw_span(canvas: _Canvas, scope: _Scope, span: Span) -> None:
    top, bottom = BANDS[span.lane]
    x0, x1 = scope.x(span.begin_s), scope.x(span.end_s)
    colour = WORK[span.kind].colour
    if span.lane == "link":
        canvas.box(x0, top + 1, x1, bottom - 1, TRANSFER)
        ends = (top, bottom) if span.kind == "up" else (bottom, top)
        canvas.line(x0, ends[0], x1, ends[1], colour=colour, width=1.5)
        return
    canvas.box(x0, top + 4, max(x1 - 0.5, x0 + 0.5), bottom - 4, colour)
    if span.note and x1 - x0 > canvas.width(span.note, 10) + 3:
        dark = span.kind == "verify"
        canvas.text((x0 + x1) / 2, (top + bottom) / 2, span.note, 10, "white" * dark or INK, "mm")


def _draw_frame(canvas: _Canvas) -> None:
    for lane, (top, bottom) in BANDS.items():
        canvas.text(LEFT - 8, (top + bottom) / 2, lane, 12, anchor="rm")
        canvas.line(LEFT, top, RIGHT, top, colour=FAINT, width=0.5)
        canvas.line(LEFT, bottom, RIGHT, bottom, colour=FAINT, width=0.5)
    for name, y in LINES.items():
        canvas.text(LEFT - 8, y, name, 11, anchor="rm")


def _draw_column(canvas: _Canvas, scope: _Scope, shown: Shown, column: int) -> None:
    middle = LEFT + (column + 0.5) * scope.column
    for name, text in shown.facts().items():
        canvas.text(middle, LINES[name], text, 11, anchor="mm")
    kinds = [kind for kind, count in shown.tokens().items() for _ in range(count)]
    pitch = min(8.0, (scope.column - 6) / max(len(kinds), 1))
    x = middle - pitch * len(kinds) / 2
    for place, kind in enumerate(kinds):
        _draw_token(canvas, kind, x + place * pitch, LINES["tokens"] - 6, pitch - 1, 12)


def _draw_token(
    canvas: _Canvas, kind: str, x: float, y: float, width: float, height: float
) -> None:
    """A box; a cross, a plus or a half also tell the kind without colour."""
    mark, middle = TOKENS[kind], (x + width / 2, y + height / 2)
    canvas.box(x, y, x + width, y + height, "white", INK)
    half = height / 2 if kind == "skipped" else 0
    canvas.box(x + 0.5, y + 0.5 + half, x + width - 0.5, y + height - 0.5, mark.colour)
    if width < 4:
        return
    if kind == "redrawn":
        canvas.line(x + 1.5, y + 2, x + width - 1.5, y + height - 2, colour="white")
        canvas.line(x + 1.5, y + height - 2, x + width - 1.5, y + 2, colour="white")
    elif kind == "bonus":
        canvas.line(x + 1.5, middle[1], x + width - 1.5, middle[1])
        canvas.line(middle[0], y + 2, middle[0], y + height - 2)
