"""Measures a pair: right answers of each model, and how much of its draft the target accepts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from covspec_core.models.small import N_VISUAL
from covspec_core.pair import packing
from covspec_core.pair.data import TEXT_START, Batch
from covspec_core.pair.questions import KINDS, Question, ask, ask_beside
from covspec_core.pair.render import render
from covspec_core.pair.tokenizer import vocabulary
from covspec_core.pair.world import Scene, Thing, draw_scene

MAX_ANSWER: Final = 160  # tokens
CHUNK: Final = 64  # requests side by side
SUBTLE_PX: Final = (3.0, 10.0)  # distance of two centres in a subtle "left of" question


@dataclass(frozen=True, slots=True)
class Case:
    """One question about one scene."""

    scene: Scene
    question: Question


def cases(split: str, n: int, seed: int = 0) -> list[Case]:
    """``n`` questions of a split, kinds in turn, one for each scene that has a fair one."""
    rng = random.Random(f"{split} {seed}")
    kinds = ["subtle"] if split == "subtle" else list(KINDS)
    found: list[Case] = []
    index = 0
    while len(found) < n:
        scene, kind = draw_scene(split, index), kinds[len(found) % len(kinds)]
        question = _ask_subtle(scene, rng) if kind == "subtle" else ask(scene, kind, rng)
        if question is not None:
            found.append(Case(scene, question))
        index += 1
    return found


def _ask_subtle(scene: Scene, rng: random.Random) -> Question | None:
    """Whether one thing is beside another, of two in the same column (or row)."""

    def apart(a: Thing, b: Thing, axis: str) -> bool:
        distance = abs(a.x_px - b.x_px if axis == "x" else a.y_px - b.y_px)
        return SUBTLE_PX[0] <= distance <= SUBTLE_PX[1]

    return ask_beside(scene, rng, apart)


def images_of(some: Sequence[Case]) -> Tensor:
    """uint8 ``[cases, 96, 96, 3]``."""
    return torch.from_numpy(np.stack([np.asarray(render(case.scene)) for case in some]))


def answer(
    model: Any,
    some: Sequence[Case],
    temperature: float = 0.0,
    seed: int = 0,
    kept: Tensor | packing.Seen | None = None,
) -> list[list[int]]:
    """Answer tokens (without ``<eos>``) of every case, decoded in batches.

    Args:
        model: Target or draft.
        some: What to ask.
        temperature: 0 takes the likeliest token.
        seed: Of the sampling.
        kept: Visual tokens that stay, ``[cases, keep]``; ``None`` keeps all.
    """
    generator = torch.Generator().manual_seed(seed)
    answers: list[list[int]] = []
    for rows in chunks(len(some)):
        chosen = None if kept is None else kept[rows]
        answers += _answer_chunk(model, some[rows], chosen, partial(_draw, temperature, generator))
    return answers


def _draw(temperature: float, generator: torch.Generator, logits: Tensor) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]


@torch.inference_mode()
def _answer_chunk(
    model: Any, some: Sequence[Case], kept: Tensor | packing.Seen | None, draw: Any
) -> list[list[int]]:
    vocab = vocabulary()
    asked = [_question_ids(case, vocab) for case in some]
    tokens = _pad_left(asked)
    decoder = packing.Decoder(model, images_of(some), kept)
    logits = decoder.extend(tokens, torch.tensor([len(ids) for ids in asked]))
    drawn: list[Tensor] = []
    open_rows = torch.ones(len(some), dtype=torch.bool)
    while bool(open_rows.any()) and len(drawn) < MAX_ANSWER:
        drawn.append(draw(logits))
        open_rows &= drawn[-1] != vocab["<eos>"]
        logits = decoder.extend(drawn[-1][:, None], torch.ones(len(some), dtype=torch.long))
    return [_until(row, vocab["<eos>"]) for row in torch.stack(drawn, dim=1).tolist()]


def _question_ids(case: Case, vocab: dict[str, int]) -> list[int]:
    return [vocab[word] for word in (*case.question.text.split(), "<answer>")]


def _pad_left(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[0] * (longest - len(row)) + row for row in rows])


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def text_of(ids: list[int]) -> str:
    """Words of answer tokens."""
    words = list(vocabulary())
    return " ".join(words[index] for index in ids)


def batch_of(some: Sequence[Case], answers: Sequence[list[int]]) -> Batch:
    """Cases and given answers (``<eos>`` is added) as one batch for :func:`packing.forward`."""
    vocab = vocabulary()
    asked = [_question_ids(case, vocab) for case in some]
    rows = [[*q, *a, vocab["<eos>"]] for q, a in zip(asked, answers, strict=True)]
    longest = max(map(len, rows))
    index = torch.arange(longest)
    lengths, starts = (
        torch.tensor([[len(row)] for row in rows]),
        torch.tensor([[len(q)] for q in asked]),
    )
    return Batch(
        images=images_of(some),
        tokens=torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        positions=(TEXT_START + index).expand(len(rows), -1),
        segments=(index < lengths).long(),
        judged=(index >= starts - 1) & (index < lengths - 1),
        patches=torch.zeros(len(rows), N_VISUAL, 1, dtype=torch.long),
    )


@torch.inference_mode()
def accepted_mass(
    target: Any, draft: Any, some: Sequence[Case], answers: Sequence[list[int]], kept: Tensor | None
) -> Tensor:
    """``sum min(p, q)`` at every position of the given answers, all cases in one row.

    Args:
        target: Sees every visual token.
        draft: Sees those in ``kept``.
        some: What was asked.
        answers: Sampled from the target at temperature 1.
        kept: ``[cases, keep]``; ``None`` keeps all.
    """
    masses = []
    for rows in chunks(len(some)):
        batch = batch_of(some[rows], answers[rows])
        p = packing.forward(target, batch, None).logits.softmax(-1)
        q = packing.forward(draft, batch, None if kept is None else kept[rows]).logits.softmax(-1)
        masses.append(torch.minimum(p, q).sum(-1))
    return torch.cat(masses)


def chunks(n: int) -> Iterator[slice]:
    """Slices of ``CHUNK`` requests that cover ``n``."""
    return (slice(start, start + CHUNK) for start in range(0, n, CHUNK))
