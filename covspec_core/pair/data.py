"""Training batches: scenes with several question-answer pairs packed behind one image.

A batch depends on (seed, step) only, so that training can stop and go on anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from covspec_core.models.small import IMAGE_SIDE, N_VISUAL, PATCH_SIDE
from covspec_core.pair import world
from covspec_core.pair.questions import Question, ask, questions
from covspec_core.pair.render import render
from covspec_core.pair.tokenizer import vocabulary

TEXT_START: Final = N_VISUAL + 3  # position of the first question word: <bos> <img> visual </img>
FULL_STOP_SHARE: Final = 0.15  # of the questions that end with one
MARGIN_PX: Final = 2.0  # a patch shows a thing if its centre lies this close to the thing's disc

PATCH_CLASSES: Final = {
    "shape": (None, *world.SHAPES, *world.RARE_SHAPES),
    "colour": (None, *world.COLOURS, *world.RARE_COLOURS),
    "size": (None, *world.SIZES),
    "badge_colour": (None, *world.BADGE_COLOURS),
    "badge_shape": (None, *world.BADGE_SHAPES),
    "pattern": world.PATTERNS,
    "tone": world.TONES,
    "cell": (None, *range(world.GRID_SIDE**2)),
}
"""What every visual token is taught to know about its patch; an extra loss during training only."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``B`` scenes; ``T`` text tokens a scene, several questions one after the other.

    Attributes:
        images: uint8 ``[B, 96, 96, 3]``.
        tokens: int64 ``[B, T]``.
        positions: int64 ``[B, T]``; every question starts at ``TEXT_START``.
        segments: int64 ``[B, T]``; number of the question, from 1; 0 is padding.
        judged: bool ``[B, T]``; whether the *next* token belongs to the same answer.
        patches: int64 ``[B, N_VISUAL, len(PATCH_CLASSES)]``.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    judged: torch.Tensor
    patches: torch.Tensor


class Batches(Dataset[Batch]):
    """Batch number ``step`` of a run; ``text_tokens`` limits the text behind one image."""

    def __init__(self, seed: int, scenes: int, text_tokens: int) -> None:
        self._seed, self._scenes, self._text_tokens = seed, scenes, text_tokens
        self._vocab = vocabulary()

    def __getitem__(self, step: int) -> Batch:
        first = step * self._scenes
        drawn = [world.draw_scene("train", first + k) for k in range(self._scenes)]
        rng = random.Random(f"{self._seed} {step}")
        packs = [self._pack(scene, rng) for scene in drawn]
        longest = max(len(pack[0]) for pack in packs)
        padded = np.zeros((4, len(packs), longest), dtype=np.int64)
        for row, pack in enumerate(packs):
            padded[:, row, : len(pack[0])] = pack
        tokens, positions, segments, judged = map(torch.from_numpy, padded)
        images = torch.from_numpy(np.stack([np.asarray(render(scene)) for scene in drawn]))
        patches = torch.from_numpy(np.stack([patch_labels(scene) for scene in drawn]))
        return Batch(images, tokens, positions, segments, judged.bool(), patches)

    def _pack(self, scene: world.Scene, rng: random.Random) -> list[list[int]]:
        """Tokens, positions, segments and judged flags of one scene's questions."""
        pack: list[list[int]] = [[], [], [], []]
        describe = ask(scene, "describe", rng)
        assert describe is not None
        self._append(pack, describe, 1, rng)
        for segment, question in enumerate(questions(scene, rng), start=2):
            if not self._append(pack, question, segment, rng):
                return pack
        raise AssertionError("questions never end")

    def _append(
        self, pack: list[list[int]], question: Question, segment: int, rng: random.Random
    ) -> bool:
        asked = question.text.split() + ["."] * (rng.random() < FULL_STOP_SHARE) + ["<answer>"]
        words = [*asked, *question.say_answer(rng).split(), "<eos>"]
        if len(pack[0]) + len(words) > self._text_tokens:
            return False
        pack[0] += [self._vocab[word] for word in words]
        pack[1] += range(TEXT_START, TEXT_START + len(words))
        pack[2] += [segment] * len(words)
        pack[3] += [int(len(asked) - 1 <= k < len(words) - 1) for k in range(len(words))]
        return True


def patch_labels(scene: world.Scene) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Class of every patch under every name of ``PATCH_CLASSES``, shape ``[N_VISUAL, names]``."""
    side = IMAGE_SIDE // PATCH_SIDE
    return np.array(
        [_patch(scene, *divmod(index, side)) for index in range(side * side)], dtype=np.int64
    )


def _patch(scene: world.Scene, row: int, column: int) -> list[int]:
    x, y = (column + 0.5) * PATCH_SIDE, (row + 0.5) * PATCH_SIDE
    cell = int(y // world.CELL_SIDE) * world.GRID_SIDE + int(x // world.CELL_SIDE)
    thing = next(
        (
            t
            for t in scene.things
            if (t.x_px - x) ** 2 + (t.y_px - y) ** 2 < (t.radius_px + MARGIN_PX) ** 2
        ),
        None,
    )
    badge = thing.badge if thing else None
    known = {
        "shape": thing and thing.shape,
        "colour": thing and thing.colour,
        "size": thing and thing.size,
        "badge_colour": badge and badge.colour,
        "badge_shape": badge and badge.shape,
        "pattern": scene.pattern,
        "tone": scene.tone,
        "cell": cell if thing else None,
    }
    return [classes.index(known[name]) for name, classes in PATCH_CLASSES.items()]


def batches(data: Batches, start: int, stop: int, workers: int = 1) -> Iterator[Batch]:
    """Batches ``start`` to ``stop - 1``, drawn ahead by a background process."""
    ahead = 8 if workers else None
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=ahead,
    )
    yield from loader
