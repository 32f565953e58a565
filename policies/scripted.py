"""Rounds that end as a script says, so that the engine can be asked what each of them costs."""

from __future__ import annotations

import numpy as np

from covspec_core.acceptance import DRAWN
from covspec_core.rounds import CHANCES, Bools, Floats, Ints, Keys
from covspec_core.scenario import MOST_TOKENS
from covspec_core.source import (
    STATISTICS,
    Ahead,
    Drafted,
    Facts,
    Move,
    Outcome,
    Place,
    Requests,
    Stops,
    Within,
)


class Scripted:
    """A :class:`~covspec_core.source.Source` whose rounds end as a script says.

    Args:
        refused: Whether the last token of a block is refused, shape ``[B]``.
        burst: Tokens that the edge writes if it writes alone, shape ``[B]``.
        image_bytes: Of requests, shape ``[B]``.
    """

    def __init__(self, refused: Bools, burst: Ints, image_bytes: Ints) -> None:
        self._refused, self.burst, self._image_bytes = refused, burst, image_bytes

    def begin(self, rows: Ints, keys: Keys) -> Requests:
        """Requests of which only the image's size matters."""
        n = len(rows)
        limit, nothing = np.full(n, MOST_TOKENS), np.zeros((n, len(STATISTICS)))
        return Requests(self._image_bytes[rows], limit, nothing)

    def prefill(self, rows: Ints, keep: Floats) -> None:
        """Every share is at hand."""

    def draft(self, place: Place, length: Ints, sure: Floats, stops: Stops) -> Drafted:
        """No block is confident."""
        return Drafted(length, np.maximum(length, 1), np.zeros_like(length))

    def finish(self, place: Place, move: Move) -> Outcome:
        """As the script says; a refusal hits the last token."""
        nothing = np.zeros(len(move.length))
        accepted = move.length - self._refused
        return Outcome(
            accepted=accepted,
            unjudged=np.zeros(len(accepted), dtype=np.int64),
            rejected=self._refused,
            tail=np.zeros(len(accepted), dtype=bool),
            emitted=np.where(move.alone, self.burst, accepted + 1),
            done=np.zeros(len(accepted), dtype=bool),
            deviations=np.zeros(len(accepted), dtype=np.int64),
            facts=Facts(nothing, nothing, nothing, nothing),
        )

    def branch(self, place: Place, outcome: Outcome, move: Move, width: Ints, steps: Ints) -> Bools:
        """No candidate is the bonus token; the steps taken ahead are told all the same."""
        return np.zeros(len(steps), dtype=bool)

    def look(self, place: Place, awake: Bools) -> Ahead:
        """Nothing is foreseen."""
        return _unforeseen(len(place.position))

    def within(self, place: Place, rows: Ints, ahead: Ints) -> Within:
        """Nothing is foreseen."""
        return Within(_unforeseen(len(rows)), np.zeros((len(rows), len(DRAWN))))

    def peek(self, keys: Keys) -> None:
        """No answer is known beforehand."""


def _unforeseen(size: int) -> Ahead:
    nothing = np.zeros(size)
    return Ahead(nothing, nothing, np.zeros((size, len(CHANCES))))
