"""What pruning breaks, as pictures: questions answered right with all visual tokens only."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt

from covspec_core.errors import InvalidSetting
from policies.accuracy_report import Answers
from policies.answers import Row, asked, pair_of
from policies.model_settings import ModelSettings
from policies.reduction_figures import CELL, draw_kept
from policies.systems import System

RIGHT, WRONG, FAINT = "#0072B2", "#D55E00", "0.35"
LINE_LETTERS, MOST_LINES = 92, 4
"""Room for one answer beside its picture."""
PANEL_INCHES, TEXT_INCHES = 1.5, 5.9
BESIDE: Final = 0.02


@dataclass(frozen=True, eq=False)
class Broken:
    """One question that pruning breaks.

    Attributes:
        few: Answer with few visual tokens.
        whole: Answer with all.
        image: As both models see it.
        kept: Visual tokens that are left, in image order.
        n_visual: All there are.
    """

    few: Row
    whole: Row
    image: Image.Image
    kept: NDArray[np.int64]
    n_visual: int


def draw_failures(
    found: Answers, few: System, whole: System, sets: Sequence[str], model: ModelSettings,
    seed: int, most: int, path: Path,
) -> bool:  # fmt: skip
    """Draw the first questions that are answered right with all visual tokens only.

    Args:
        found: Answers of both systems.
        few: Sees some visual tokens.
        whole: The same with all of them.
        sets: Of the drawn world; they take turns.
        model: The pair.
        seed: Of the questions.
        most: Questions to draw.
        path: PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    rows = broken_rows(found, few.name, whole.name, sets)
    if not rows:
        return False
    shown = [_reconstruct(*pair, few, model, seed) for pair in rows[:most]]
    right = sum(row["right"] for name in sets for row in found[whole.name, name])
    title = (f"Right with all {shown[0].n_visual} visual tokens, wrong with "
             f"{len(shown[0].kept)}: {len(rows)} of {right} ({few.name})")  # fmt: skip
    _draw(shown, title, path)
    return True


def broken_rows(found: Answers, few: str, whole: str, sets: Sequence[str]) -> list[tuple[Row, Row]]:
    """Answers that are right with all visual tokens only; sets in turn, their first ones first."""
    by_set = [
        [
            (a, b)
            for a, b in zip(found[few, name], found[whole, name], strict=True)
            if b["right"] and not a["right"]
        ]
        for name in sets
    ]
    return [pair for turn in zip_longest(*by_set) for pair in turn if pair is not None]


def _reconstruct(few: Row, whole: Row, system: System, model: ModelSettings, seed: int) -> Broken:
    """Rank the visual tokens of a question once more."""
    if system.keep is None:
        raise InvalidSetting(f"system {system.name} must state the share of tokens that it keeps")
    _, request = asked(few["set"], few["index"], seed)
    pair = pair_of(model)
    prompt = pair.draft.prompt(request.image, request.question)
    states = pair.draft.visual_states(prompt)
    _, kept = pair.seen(prompt, states, pair.order(states), system.keep)
    return Broken(few, whole, request.image, kept, states.n_visual)


def _draw(shown: Sequence[Broken], title: str, path: Path) -> None:
    tight = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.02, hspace=0.0, wspace=0.0)
    figure, panels = plt.subplots(
        len(shown), 3, squeeze=False, layout=tight,
        figsize=(2 * PANEL_INCHES + TEXT_INCHES, PANEL_INCHES * len(shown) + 0.5),
        width_ratios=(PANEL_INCHES, PANEL_INCHES, TEXT_INCHES),
    )  # fmt: skip
    for axes, one in zip(panels, shown, strict=True):
        side = round(one.n_visual**0.5)
        size = (side * CELL, side * CELL)
        square = np.asarray(one.image.resize(size, Image.Resampling.LANCZOS))
        axes[0].imshow(square)
        draw_kept(axes[1], square, one.kept, side)
        _write(axes[2], one)
        for each in axes:
            each.set_axis_off()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _write(axes: Any, one: Broken) -> None:
    """Question and both answers, from top to bottom."""
    parts = [
        (f"{one.few['set']}, {one.few['kind']}", FAINT, "normal"),
        (one.few["question"], "black", "bold"),
        (f"all: {one.whole['answer']}", RIGHT, "normal"),
        (f"{len(one.kept)}: {one.few['answer']}", WRONG, "normal"),
    ]
    lines = [(line, *style) for text, *style in parts for line in _wrapped(text)]
    step = 1.0 / (3 + 2 * MOST_LINES)
    for number, (line, colour, weight) in enumerate(lines):
        axes.text(BESIDE, 1.0 - step * (number + 0.5), line, fontsize=7.5, color=colour,
                  weight=weight, va="center", transform=axes.transAxes)  # fmt: skip


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_LETTERS, max_lines=MOST_LINES, placeholder=" ...",
                         subsequent_indent="    ")  # fmt: skip
