"""How well the acceptance head foresees what becomes of a drawn token, and of the one behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from covspec_core.acceptance import GRID
from covspec_core.recording import Recording
from covspec_core.verification import accept_probability
from policies.proper_scores import SCORES, TRUTH
from policies.shares import Floats, bootstrap_share

Score = Callable[[Floats, Floats], Floats]
BEFORE, DRAWN = "before it was drawn", "of the drawn token"
"""Predictors: what the head says ahead of a token, and of the token itself."""


class Positions:
    """What a recording's positions show, shape ``[levels, tokens]`` each.

    A drawn token is the emitted one as often as that came from the draft, and else one that the
    target refused, as recorded.

    Args:
        recording: What was foreseen.
    """

    def __init__(self, recording: Recording) -> None:
        self.came = accept_probability(recording.q, recording.p).astype(np.float64)
        self.overlap = recording.overlap.astype(np.float64)
        self.drawn, self.refused = recording.drawn / GRID, recording.drawn_refused / GRID
        ahead = recording.chances / GRID
        self.first, nothing = ahead[..., 0], np.zeros_like(self.came)
        self.next = np.divide(ahead[..., 1], self.first, out=nothing, where=self.first > 0)
        # Nothing follows an answer's end.
        self.inside = np.ones(self.came.shape[1])
        self.inside[recording.start + recording.length - 1] = 0.0

    def stands(self, of: Score) -> dict[str, Floats]:
        """Scores, by predictor, of the chance that the drawn token stands."""
        said = {
            TRUTH: (self.overlap, self.overlap),
            BEFORE: (self.first, self.first),
            DRAWN: (self.drawn[..., 0], self.refused[..., 0]),
        }
        yes, no = np.ones(1), np.zeros(1)
        return {
            name: self.came * of(kept, yes) + (1 - self.came) * of(lost, no)
            for name, (kept, lost) in said.items()
        }

    def follows(self, of: Score) -> dict[str, Floats]:
        """The same of the chance that one more stands behind it, weighted as often as it stands."""
        then = np.roll(self.overlap, -1, axis=1)
        said = {TRUTH: then, BEFORE: self.next, DRAWN: self.drawn[..., 1]}
        return {name: self.came * self.inside * of(chance, then) for name, chance in said.items()}


def drawn_scores(recording: Recording, seed: int) -> dict[str, Any]:
    """Mean scores of what is said of a drawn token, and ahead of it; lower is better.

    Args:
        recording: What was foreseen.
        seed: Of the resampling.

    Returns:
        By what is foreseen, that the token ``stands`` and that the next one ``follows`` where it
        does: scores by predictor, and by how much those of the drawn token are below those before,
        with 95 % bootstrap intervals over requests. ``true chance`` is known before the draw.
    """
    positions = Positions(recording)
    every = np.ones_like(positions.came)
    found: dict[str, Any] = {}
    for what, scored, weights in (
        ("stands", positions.stands, every),
        ("follows", positions.follows, positions.came * positions.inside),
    ):
        counts = np.add.reduceat(weights.sum(axis=0), recording.start)
        own: dict[str, Any] = {}
        for name, of in SCORES.items():
            each = scored(of)
            own[name] = {who: float(v.sum() / counts.sum()) for who, v in each.items()}
            sums = np.add.reduceat((each[BEFORE] - each[DRAWN]).sum(axis=0), recording.start)
            own[f"{name}_below_before"] = bootstrap_share(sums, counts, seed)
        found[what] = own
    return found
