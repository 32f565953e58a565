"""Fits the stream's constants on a few rows of the paper's tables by playing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, logit

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Floats
from covspec_core.stream import StreamConstants
from policies.paper_rows import Row, Tables

GOALS: Final = {"speed": 0.10, "comm": 0.05}
"""Relative errors that weigh as much as ``POINTS`` of the price."""
POINTS: Final = 3.0
STEP: Final = 0.03
"""Of a numerical derivative, relative: wide, since rounds are counted in whole tokens."""


@dataclass(frozen=True)
class FitSettings:
    """How the constants are fitted.

    Attributes:
        rows: On which rows.
        sessions: Of each row.
        steps: Of the search.
    """

    rows: tuple[str, ...]
    sessions: int
    steps: int

    def __post_init__(self) -> None:
        if not self.rows or self.sessions < 1 or self.steps < 1:
            raise InvalidSetting(
                "fit needs rows, sessions >= 1 and steps >= 1, "
                f"got {self.rows}, {self.sessions} and {self.steps}"
            )

    def chosen(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        """The rows that are fitted.

        Raises:
            InvalidSetting: If there is no row of a name.
        """
        unknown = sorted(set(self.rows) - set(rows))
        if unknown:
            raise InvalidSetting(f"fit.rows must be among {sorted(rows)}, got {unknown}")
        return {name: rows[name] for name in self.rows}


def errors(reported: Mapping[str, float], ours: Mapping[str, float]) -> dict[str, float]:
    """Errors of a row's cells in units of their goals; accuracies are not modelled."""
    return {
        column: (ours[column] - value) / POINTS
        if column == "price"
        else (ours[column] / value - 1.0) / GOALS[column]
        for column, value in reported.items()
        if column != "accuracy"
    }


def fit(
    tables: Tables, rows: Mapping[str, Row], settings: FitSettings, start: StreamConstants
) -> StreamConstants:
    """Constants with the least squared errors, on training noise that all trials share.

    Args:
        tables: Plays rows.
        rows: All of them, by name.
        settings: Which are fitted, and how long.
        start: First trial.

    Raises:
        InvalidSetting: If there is no row of a name.
    """
    chosen = settings.chosen(rows)

    def residuals(odds: Floats) -> Floats:
        constants = StreamConstants(*expit(odds).tolist())
        played = tables.play(chosen, constants, "train", settings.sessions)
        return np.concatenate(
            [list(errors(row.reported, played[name]).values()) for name, row in chosen.items()]
        )

    found = least_squares(
        residuals, logit(np.array(astuple(start))), diff_step=STEP, max_nfev=settings.steps
    )
    return StreamConstants(*expit(found.x).tolist())
