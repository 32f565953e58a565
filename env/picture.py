"""Draws rounds as a picture: lanes of device, link and edge above a table of the rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from env.shown import TOKENS, WORK, Shown, Span

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


def picture(
    title: str, window_s: tuple[float, float], rounds: Sequence[Shown], columns: int, scale: int
) -> Image.Image:
    """A picture with ``scale`` pixels for each of :data:`WIDTH` by :data:`HEIGHT`.

    Args:
        title: First line.
        window_s: First and last moment on the lanes.
        rounds: What is shown.
        columns: Of the table, at least as many as there are rounds.
        scale: Pixels a point.
    """
    canvas = _Canvas(scale)
    begin_s, end_s = window_s
    scope = _Scope(begin_s, (RIGHT - LEFT) / (end_s - begin_s), (RIGHT - LEFT) / columns)
    canvas.text(LEFT, 15, title, 13)
    _draw_legend(canvas)
    _draw_axis(canvas, scope, end_s)
    for column, shown in enumerate(rounds):
        _draw_fan(canvas, scope, shown, column)
    for shown in rounds:
        for span in shown.spans():
            _draw_span(canvas, scope, span)
    _draw_frame(canvas)
    for column, shown in enumerate(rounds):
        _draw_column(canvas, scope, shown, column)
    return canvas.image


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
        left, top = self._pixels(x, y)
        self._draw.text((left, top), text, colour, font, anchor)

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
        ink = "white" if span.kind == "verify" else INK
        canvas.text((x0 + x1) / 2, (top + bottom) / 2, span.note, 10, ink, "mm")


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
