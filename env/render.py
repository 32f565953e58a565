"""The last rounds of a session as a timeline of device, link and edge: as text or as a picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covspec_core.scenario import Scenario
from env.picture import picture
from env.shown import TOKENS, WORK, Shown, size

ROUNDS = 12
"""Rounds that are shown at most."""
LANES = ("device", "link", "edge")


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

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a round, as :meth:`covspec_core.rounds.RoundResult.row` gives it."""
        self._count += 1
        self._rounds.append(Shown(self._count, self._now_s, row))
        self._now_s = row["received_s"]
        self._emitted += row["emitted"]
        self._bytes_up += row["bytes_up"]
        self._bytes_down += row["bytes_down"]

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
        """The picture with ``scale`` pixels a point; see :func:`env.picture.picture`."""
        columns = max(len(self._rounds), ROUNDS // 2)
        return picture(self.title, self.window_s, self._rounds, columns, scale)


def draw(scenario: Scenario, rounds: Iterable[Mapping[str, Any]], path: Path | str) -> None:
    """Save the last rounds of a session as a PNG file, three pixels a point."""
    timeline = Timeline(scenario)
    for row in rounds:
        timeline.add(row)
    timeline.image(3).save(path, dpi=(288, 288))


def _legend_lines() -> Iterator[str]:
    for head, marks in (("lanes", WORK), ("tokens", TOKENS)):
        yield f"{head:>6}  " + ", ".join(f"{m.letter} {m.label}" for m in marks.values())
