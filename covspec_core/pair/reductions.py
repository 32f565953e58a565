"""Compares reductions on the drawn world: acceptance and right answers by visual tokens kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from covspec_core.errors import InvalidSetting
from covspec_core.models.hf import HFModel
from covspec_core.models.small import IMAGE_SIDE, N_VISUAL
from covspec_core.pair import packing
from covspec_core.pair.evaluate import Case, answer, batch_of, cases, chunks, text_of
from covspec_core.pair.folders import load
from covspec_core.pair.grading import is_right
from covspec_core.pair.measure import UNSEEN
from covspec_core.pair.packing import Seen
from covspec_core.pair.render import render
from covspec_core.pair.tokenizer import vocabulary
from covspec_core.reduction import Merged, Order, VisualStates, merging, reduction

SPLITS: Final = ("test", *UNSEEN)

Floats = NDArray[np.float64]
Point = tuple[str, str, int]
"""Split, reduction, visual tokens kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What was found, question by question, so that intervals can be drawn.

    Attributes:
        keeps: Visual tokens kept, ascending; 0 and all among them.
        positions: Judged positions of each answer by split, ``[questions]``.
        accepted: ``sum min(p, q)`` at temperature 1, summed over the positions of each answer that
            the target sampled, ``[questions]`` by split, reduction and keep.
        right: Whether the draft alone, greedy, answers right; same shape and keys.
    """

    keeps: tuple[int, ...]
    positions: dict[str, Floats]
    accepted: dict[Point, Floats]
    right: dict[Point, Floats]


def ranker(draft: str, target: str) -> HFModel:
    """The draft, loaded so that its visual states hold what any reduction reads."""
    return HFModel(draft, reads_encoder=True, guide=HFModel(target))


def orders(
    states: VisualStates, names: Sequence[str], rng: np.random.Generator
) -> dict[str, Order]:
    """Order of the visual tokens of one image by every reduction, ``[n_visual]`` each."""
    return {name: reduction(name)(states, rng) for name in names}


def reduced(states: VisualStates, name: str, order: Order, keep: int) -> Merged:
    """What a reduction leaves of one image, whether it merges or not."""
    merge = merging(name)
    if merge is not None:
        return merge(states, order, keep)
    kept = np.sort(order[:keep])
    return Merged(kept, np.eye(len(order))[kept])


def compare(
    draft: Path,
    target: Path,
    names: Sequence[str],
    keeps: Sequence[int],
    questions: int,
    seed: int,
    splits: Sequence[str] = SPLITS,
    say: Callable[[str], None] = lambda line: None,
) -> Compared:
    """Compare reductions in distribution and out of it.

    Args:
        draft: Folder of the draft.
        target: Folder of the target, which always sees all visual tokens.
        names: Reductions, as ``reduction`` takes them.
        keeps: Visual tokens to keep; 0 and all are added.
        questions: Of every split.
        seed: Of questions, sampling and random orders.
        splits: Of the drawn world.
        say: Takes a line on every split.

    Raises:
        InvalidSetting: If the models do not speak the drawn world's language, or a keep is none.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise InvalidSetting(f"splits must be among {SPLITS}, got {unknown}")
    levels = tuple(sorted({0, N_VISUAL, *keeps}))
    if levels[0] < 0 or levels[-1] > N_VISUAL or questions < 1:
        raise InvalidSetting(
            f"keeps must lie in [0, {N_VISUAL}] and questions be >= 1, got {keeps} and {questions}"
        )
    for name in names:
        reduction(name)
    eye = ranker(str(draft), str(target))
    square = Image.new("RGB", (IMAGE_SIDE, IMAGE_SIDE))
    fits = eye.vocabulary == vocabulary()
    if not fits or len(eye.prompt(square, "describe the image").visual) != N_VISUAL:
        raise InvalidSetting(f"{draft} does not speak the language of the drawn world")
    nets = (load(target), load(draft))
    found = Compared(levels, {}, {}, {})
    for split in splits:
        say(f"{split}: {questions} questions, {len(names)} reductions, keeps {levels}")
        asked = cases(split, questions, seed)
        seen = _seen(eye, names, asked, levels, seed)
        _measure(found, split, nets, asked, seen, seed)
    return found


def _seen(
    eye: HFModel, names: Sequence[str], asked: Sequence[Case], keeps: Sequence[int], seed: int
) -> dict[tuple[str, int], Tensor | Seen]:
    """What is left for every question by reduction and keep."""
    rng = np.random.default_rng(seed)
    left: dict[tuple[str, int], list[Merged]] = {(n, keep): [] for n in names for keep in keeps}
    for case in asked:
        states = eye.visual_states(eye.prompt(render(case.scene), case.question.text))
        for name, order in orders(states, names, rng).items():
            for keep in keeps:
                left[name, keep].append(reduced(states, name, order, keep))
    return {point: _stacked(rows, merging(point[0]) is not None) for point, rows in left.items()}


def _stacked(rows: Sequence[Merged], weighed: bool) -> Tensor | Seen:
    kept = torch.from_numpy(np.stack([row.kept for row in rows]))
    if not weighed:
        return kept
    return Seen(kept, torch.from_numpy(np.stack([row.weights for row in rows])).float())


def _measure(
    found: Compared, split: str, nets: tuple[Any, Any], asked: Sequence[Case],
    seen: Mapping[tuple[str, int], Tensor | Seen], seed: int,
) -> None:  # fmt: skip
    """Fill in one split; what keeps all or nothing is the same for every reduction."""
    target, draft = nets
    sampled = answer(target, asked, temperature=1.0, seed=seed)
    found.positions[split] = np.array([len(ids) + 1.0 for ids in sampled])
    laws, names = list(_laws(target, asked, sampled)), list(dict.fromkeys(n for n, _ in seen))
    for keep in found.keeps:
        shared = keep in (0, N_VISUAL)
        for name in names[:1] if shared else names:
            accepted = _accepted(draft, asked, sampled, laws, seen[name, keep])
            right = _right(draft, asked, seen[name, keep])
            for each in names if shared else (name,):
                found.accepted[split, each, keep] = accepted
                found.right[split, each, keep] = right


@torch.inference_mode()
def _laws(model: Any, asked: Sequence[Case], sampled: Sequence[list[int]]) -> Iterator[Tensor]:
    """The target's laws at every position of its answers, chunk by chunk."""
    for rows in chunks(len(asked)):
        batch = batch_of(asked[rows], sampled[rows])
        yield packing.forward(model, batch, None).logits.softmax(-1)


@torch.inference_mode()
def _accepted(
    draft: Any, asked: Sequence[Case], sampled: Sequence[list[int]], laws: Sequence[Tensor],
    kept: Tensor | Seen,
) -> Floats:  # fmt: skip
    """``sum min(p, q)`` over each answer, ``[questions]``."""
    sums: list[float] = []
    for rows, p in zip(chunks(len(asked)), laws, strict=True):
        batch = batch_of(asked[rows], sampled[rows])
        q = packing.forward(draft, batch, kept[rows]).logits.softmax(-1)
        mass = torch.minimum(p, q).sum(-1).double()
        lengths = [len(ids) + 1 for ids in sampled[rows]]
        sums += [float(part.sum()) for part in torch.split(mass, lengths)]
    return np.array(sums)


def _right(draft: Any, asked: Sequence[Case], kept: Tensor | Seen) -> Floats:
    answers = answer(draft, asked, kept=kept)
    graded = [
        is_right(case.scene, case.question, text_of(ids))
        for case, ids in zip(asked, answers, strict=True)
    ]
    return np.array(graded, dtype=np.float64)
