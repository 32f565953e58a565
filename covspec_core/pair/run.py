"""One model in training: its recipe, its losses, and the checkpoint that holds all of it."""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from covspec_core.models.small import N_VISUAL, WIDTHS, build_model
from covspec_core.pair import packing
from covspec_core.pair.data import PATCH_CLASSES, Batch
from covspec_core.pair.tokenizer import vocabulary

FEWEST_KEPT: Final = 6
BLIND_SHARE: Final = 0.08  # of the draft's batches without any visual token
THING_WEIGHT: Final = 4.0  # of a patch that shows a thing; the background's is 1
KEEP_BIASES: Final = (1.0, 4.0)  # how strongly kept tokens lie on things, in log-odds


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is trained; ends after ``steps`` or ``minutes``, whichever is set."""

    widths: str
    learning_rate: float
    scenes: int = 16
    text_tokens: int = 256
    steps: int | None = None
    minutes: float | None = None
    warmup_share: float = 0.03
    floor_share: float = 0.03  # of the learning rate, at the end
    weight_decay: float = 0.05
    full_share: float = 0.5  # of the batches that keep all visual tokens
    patch_weight: float = 0.5
    sight_share: float = 0.06  # of the budget, at the start, that teaches the eye alone
    workers: int = 1
    seed: int = 0


class Run:
    """One model in training: everything a checkpoint holds.

    Args:
        recipe: How to train.
        teacher: Whose laws to learn; ``None`` learns from the world's answers.
    """

    def __init__(self, recipe: Recipe, teacher: Any | None) -> None:
        self.recipe, self.teacher = recipe, teacher
        torch.manual_seed(recipe.seed)
        self.model = build_model(WIDTHS[recipe.widths], vocabulary())
        width = WIDTHS[recipe.widths].text
        self.heads = torch.nn.Linear(width, sum(map(len, PATCH_CLASSES.values())))
        self._parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(
            self._parameters,
            recipe.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.step, self.elapsed_s = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, from 0 to 1."""
        if self.recipe.steps is not None:
            return self.step / self.recipe.steps
        assert self.recipe.minutes is not None
        return min(1.0, self.elapsed_s / (60 * self.recipe.minutes))

    def advance(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; returns what to report."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self._rate_share()
        with torch.autocast("cpu", torch.bfloat16):
            losses = self._losses(batch)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()}

    def _rate_share(self) -> float:
        """Linear warm-up, then half a cosine; the eye's own stage has a warm-up and stays level."""
        done, warmup, floor = self.progress, self.recipe.warmup_share, self.recipe.floor_share
        if self._only_sight:
            return min(1.0, max(done, 1e-3) / (0.2 * self.recipe.sight_share))
        done = (done - self.recipe.sight_share) / (1 - self.recipe.sight_share)
        if done < warmup:
            return max(done, 1e-3) / warmup
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

    @property
    def _only_sight(self) -> bool:
        return self.progress < self.recipe.sight_share

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        if self._only_sight:
            return {
                "patches": self._patch_loss(packing.encode(self.model, batch.images), batch.patches)
            }
        packed = packing.forward(self.model, batch, self._draw_kept(batch))
        patches = self.recipe.patch_weight * self._patch_loss(packed.features, batch.patches)
        return {**self._answer_losses(batch, packed.logits.float()), "patches": patches}

    def _answer_losses(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        if self.teacher is None:
            return {"answers": cross_entropy(logits, batch.tokens.roll(-1, dims=1)[batch.judged])}
        with torch.no_grad():
            law = packing.forward(self.teacher, batch, None).logits.float().softmax(-1)
        return distances(law, logits)

    def _draw_kept(self, batch: Batch) -> Tensor | None:
        rng = random.Random(f"keep {self.recipe.seed} {self.step}")
        chance = rng.random()
        if chance < self.recipe.full_share:
            return None
        if self.teacher is not None and chance > 1 - BLIND_SHARE:
            keep = 0
        else:
            keep = round(math.exp(rng.uniform(math.log(FEWEST_KEPT), math.log(N_VISUAL))))
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        return packing.draw_kept(
            keep, batch.patches[..., 0] > 0, rng.choice(KEEP_BIASES), generator
        )

    def _patch_loss(self, features: Tensor, patches: Tensor) -> Tensor:
        """Mean cross-entropy of what every visual token should know about its patch."""
        sizes = [len(classes) for classes in PATCH_CLASSES.values()]
        parts = self.heads(features).float().flatten(0, 1).split(sizes, dim=-1)
        labels = patches.flatten(0, 1).unbind(-1)
        each = [
            cross_entropy(part, label, reduction="none")
            for part, label in zip(parts, labels, strict=True)
        ]
        weights = torch.where(labels[0] > 0, THING_WEIGHT, 1.0)
        return (torch.stack(each).mean(0) * weights).sum() / weights.sum()

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash leaves the old one whole."""
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "torch": torch.get_rng_state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def load(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        torch.set_rng_state(state["torch"])


def distances(law: Tensor, logits: Tensor) -> dict[str, Tensor]:
    """How far a draft is from the target's law: Kullback-Leibler, and the share of rejected drafts.

    Args:
        law: Target probabilities, ``[positions, vocab]``.
        logits: Of the draft, same shape.
    """
    log_draft = logits.log_softmax(-1)
    divergence = kl_div(log_draft, law, reduction="batchmean")
    return {
        "divergence": divergence,
        "rejection": 1 - torch.minimum(law, log_draft.exp()).sum(-1).mean(),
    }
