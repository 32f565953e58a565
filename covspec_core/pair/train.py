"""Trains the embedded pair: ``python -m covspec_core.pair.train --out assets/pair``.

The target learns answers from the world's own; the draft then learns the target's laws. Both see
images with visual tokens dropped at random, so that they bear reduction as large models do.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from covspec_core.models.small import N_VISUAL, WIDTHS, build_image_processor, build_model
from covspec_core.pair import packing
from covspec_core.pair.data import PATCH_CLASSES, Batch, Batches, batches
from covspec_core.pair.tokenizer import build_tokenizer, vocabulary

FULL_SHARE: Final = 0.5  # of the batches that keep all visual tokens
FEWEST_KEPT: Final = 6
BLIND_SHARE: Final = 0.12  # of the draft's batches without any visual token
KEEP_BIASES: Final = (0.0, 2.5)  # how strongly kept tokens lie on things, in log-odds


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
    patch_weight: float = 0.5
    sight_share: float = 0.06  # of the budget, at the start, that teaches the eye alone
    workers: int = 1
    seed: int = 0


RECIPES: Final = {"target": Recipe("target", 1.5e-3), "draft": Recipe("draft", 4e-3)}


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
            self._parameters, recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
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
        torch.stack(list(losses.values())).sum().backward()
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
            return {"patches": self._patch_loss(packing.encode(self.model, batch.images), batch.patches)}
        packed = packing.forward(self.model, batch, self._draw_kept(batch))
        patches = self.recipe.patch_weight * self._patch_loss(packed.features, batch.patches)
        return {**self._answer_losses(batch, packed.logits.float()), "patches": patches}

    def _answer_losses(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        if self.teacher is None:
            return {"answers": functional.cross_entropy(logits, batch.tokens.roll(-1, dims=1)[batch.judged])}
        with torch.no_grad():
            law = packing.forward(self.teacher, batch, None).logits.float().softmax(-1)
        return distances(law, logits)

    def _draw_kept(self, batch: Batch) -> Tensor | None:
        rng = random.Random(f"keep {self.recipe.seed} {self.step}")
        chance = rng.random()
        if chance < FULL_SHARE:
            return None
        if self.teacher is not None and chance > 1 - BLIND_SHARE:
            keep = 0
        else:
            keep = round(math.exp(rng.uniform(math.log(FEWEST_KEPT), math.log(N_VISUAL))))
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        return packing.draw_kept(keep, batch.patches[..., 0] > 0, rng.choice(KEEP_BIASES), generator)

    def _patch_loss(self, features: Tensor, patches: Tensor) -> Tensor:
        """Mean cross-entropy of what every visual token should know about its patch."""
        sizes = [len(classes) for classes in PATCH_CLASSES.values()]
        parts = self.heads(features).float().split(sizes, dim=-1)
        each = [functional.cross_entropy(part.flatten(0, 1), patches[..., k].flatten()) for k, part in enumerate(parts)]
        return torch.stack(each).mean()

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash leaves the old one whole."""
        state = {
            "model": self.model.state_dict(), "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step, "elapsed_s": self.elapsed_s,
            "torch": torch.get_rng_state(),
        }  # fmt: skip
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
    divergence = functional.kl_div(log_draft, law, reduction="batchmean")
    return {"divergence": divergence, "rejection": 1 - torch.minimum(law, log_draft.exp()).sum(-1).mean()}


def train(run: Run, checkpoint: Path, every_steps: int = 200) -> None:
    """Train until the budget is spent, with a checkpoint and a line of progress now and then."""
    data = Batches(run.recipe.seed, run.recipe.scenes, run.recipe.text_tokens)
    last = run.recipe.steps if run.recipe.steps is not None else 10**6
    sums: dict[str, float] = {}
    since = time.monotonic()
    for batch in batches(data, run.step, last, run.recipe.workers):
        if run.progress >= 1:
            break
        started = time.monotonic()
        for name, value in run.advance(batch).items():
            sums[name] = sums.get(name, 0.0) + value
        run.elapsed_s += time.monotonic() - started
        if run.step % every_steps == 0:
            run.save(checkpoint)
            print(_line(run, sums, every_steps, time.monotonic() - since), flush=True)
            sums, since = {}, time.monotonic()
    run.save(checkpoint)


def _line(run: Run, sums: dict[str, float], steps: int, seconds: float) -> str:
    losses = "  ".join(f"{name} {value / steps:.4f}" for name, value in sums.items())
    left_s = run.elapsed_s * (1 - run.progress) / max(run.progress, 1e-9)
    rate = steps * run.recipe.scenes / seconds
    return f"{run.recipe.widths} step {run.step}  {losses}  {rate:.1f} scenes/s  {left_s / 60:.1f} min left"


def export(model: Any, folder: Path) -> None:
    """A folder that ``from_pretrained`` loads: model, tokenizer and image processor."""
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def load(folder: Path) -> Any:
    """A model written by :func:`export`, ready to be asked."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


def main(arguments: list[str] | None = None) -> None:
    """Train target, then draft, and export both."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    for name in args.models:
        teacher = load(args.out / "target") if name == "draft" else None
        run = Run(_recipe(name, args), teacher)
        checkpoint = args.work / f"{name}.pt"
        if checkpoint.exists() and not args.fresh:
            run.load(checkpoint)
            print(f"{name} goes on from step {run.step}", flush=True)
        if args.compile:
            _compile(run.model)
        train(run, checkpoint, args.every)
        export(run.model, args.out / name)


def _compile(model: Any) -> None:
    """Fuse what runs between the matrix products; needs a C++ compiler, saves a quarter of the time."""
    for layer in (*model.model.language_model.layers, *model.model.vision_tower.encoder.layer):
        layer.compile(dynamic=True)


def _recipe(name: str, args: argparse.Namespace) -> Recipe:
    from dataclasses import replace

    recipe = replace(RECIPES[name], steps=args.steps, seed=args.seed)
    if args.steps is None:
        recipe = replace(recipe, minutes=args.minutes[name])
    if args.debug:
        recipe = replace(recipe, widths="debug", scenes=2, text_tokens=160, workers=0)
    return recipe


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/pair"), help="folder of the exported pair")
    parser.add_argument("--work", type=Path, default=Path("runs/pair"), help="folder of the checkpoints")
    parser.add_argument("--models", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--minutes", type=_minutes, default=_minutes("45,20"), help="budget of target,draft")
    parser.add_argument("--steps", type=int, help="budget of each model in steps, instead of minutes")
    parser.add_argument("--every", type=int, default=200, help="steps between progress lines and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="start anew even if there are checkpoints")
    parser.add_argument("--compile", action="store_true", help="compile the layers, where a C++ compiler is at hand")
    parser.add_argument("--debug", action="store_true", help="tiny models and batches, for tests")
    return parser


def _minutes(text: str) -> dict[str, float]:
    target, draft = map(float, text.split(","))
    return {"target": target, "draft": draft}


if __name__ == "__main__":
    main()
