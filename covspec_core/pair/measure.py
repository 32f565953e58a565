"""Measures a pair: everything its model card reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from covspec_core.models.small import N_VISUAL
from covspec_core.pair.evaluate import Case, accepted_mass, answer, cases, text_of
from covspec_core.pair.folders import load
from covspec_core.pair.grading import is_right
from covspec_core.pair.render import render
from covspec_core.reduction import REDUCTIONS

KEPT: Final = (144, 72, 36, 24, 12, 6, 0)  # visual tokens the draft sees
FEW: Final = N_VISUAL // 12
UNSEEN: Final = ("combinations", "rare", "subtle", "crowded")


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything the card reports.

    Attributes:
        right: Share of right answers by (model, split, kind); kind ``all`` is over all questions.
        accepted: Mean ``sum min(p, q)`` by (reduction, visual tokens kept).
        parameters: By model.
        questions: How many per split, for right answers in distribution, elsewhere, acceptance.
    """

    right: dict[tuple[str, str, str], float]
    accepted: dict[tuple[str, int], float]
    parameters: dict[str, int]
    questions: tuple[int, int, int]


def measure(folder: Path, questions: tuple[int, int, int], seed: int) -> Measured:
    """All figures of a pair; ``questions`` as in :class:`Measured`."""
    models = {name: load(folder / name) for name in ("target", "draft")}
    right: dict[tuple[str, str, str], float] = {}
    for split, n in (("test", questions[0]), *((split, questions[1]) for split in UNSEEN)):
        asked = cases(split, n, seed)
        for name, model in models.items():
            right |= {(name, split, kind): share for kind, share in _right(model, asked).items()}
    sizes = {
        name: sum(weight.numel() for weight in model.parameters()) for name, model in models.items()
    }
    return Measured(right, _accepted(models, folder, questions[2], seed), sizes, questions)


def _right(model: Any, asked: Sequence[Case]) -> dict[str, float]:
    """Share of right greedy answers by kind and over all."""
    graded: dict[str, list[bool]] = defaultdict(list)
    for case, ids in zip(asked, answer(model, asked), strict=True):
        graded[case.question.kind].append(is_right(case.scene, case.question, text_of(ids)))
    every = [right for some in graded.values() for right in some]
    return {
        "all": float(np.mean(every)),
        **{kind: float(np.mean(some)) for kind, some in graded.items()},
    }


def _accepted(
    models: dict[str, Any], folder: Path, n: int, seed: int
) -> dict[tuple[str, int], float]:
    """Acceptance by reduction and number of visual tokens, on answers sampled from the target."""
    asked = cases("test", n, seed + 1)
    answers = answer(models["target"], asked, temperature=1.0, seed=seed)
    orders = _orders(folder / "draft", asked, seed)
    found = {}
    for name, order in orders.items():
        for keep in KEPT:
            kept = order[:, :keep].sort(dim=1).values
            mass = accepted_mass(models["target"], models["draft"], asked, answers, kept)
            found[name, keep] = float(mass.mean())
    return found


def _orders(draft: Path, asked: Sequence[Case], seed: int) -> dict[str, Tensor]:
    """Order of the visual tokens of every case by every reduction, ``[cases, N_VISUAL]`` each."""
    from covspec_core.models.hf import HFModel

    model, rng = HFModel(str(draft)), np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {name: [] for name in REDUCTIONS}
    for case in asked:
        states = model.visual_states(model.prompt(render(case.scene), case.question.text))
        for name, order in REDUCTIONS.items():
            rows[name].append(order(states, rng))
    return {name: torch.from_numpy(np.stack(some)) for name, some in rows.items()}
