"""Trains the embedded pair: ``python -m covspec_core.pair.train --out assets/pair``.

The target learns answers from the world's own; the draft then learns the target's laws. Both see
images with visual tokens dropped at random, so that they bear reduction as large models do.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from covspec_core.ending import clear_end
from covspec_core.pair.data import Batches, batches
from covspec_core.pair.folders import export, known, load, note
from covspec_core.pair.run import Recipe, Run
from covspec_core.provenance import provenance

RECIPES: Final = {
    "target": Recipe("target", 1.5e-3, full_share=0.75),
    "draft": Recipe("draft", 4e-3),
}


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
    left = f"{rate:.1f} scenes/s  {left_s / 60:.1f} min left"
    return f"{run.recipe.widths} step {run.step}  {losses}  {left}"


@clear_end("train")
def main(arguments: list[str] | None = None) -> None:
    """Train target, then draft, and export both."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    for name in args.models:
        teacher = load(args.out / "target") if name == "draft" else None
        run = Run(_recipe(name, args), teacher)
        if args.onward:
            run.model.load_state_dict(load(args.out / name).state_dict())
        checkpoint = args.work / f"{name}{'-onward' * args.onward}.pt"
        if checkpoint.exists() and not args.fresh:
            run.load(checkpoint)
            print(f"{name} goes on from step {run.step}", flush=True)
        if args.compile:
            _compile(run.model)
        train(run, checkpoint, args.every)
        if args.onward:
            mix(run.model, load(args.out / name), args.average)
        export(run.model, args.out / name)
        before = {"before": known(args.out)[name]} if args.onward else {}
        note(args.out, name, _made(run, args.threads) | before)


def _made(run: Run, threads: int) -> dict[str, Any]:
    recipe = run.recipe
    return {
        "steps": run.step,
        "minutes": run.elapsed_s / 60,
        "threads": threads,
        "scenes": recipe.scenes,
        "learning_rate": recipe.learning_rate,
    } | provenance(recipe.seed)


@torch.no_grad()
def mix(model: Any, before: Any, share: float) -> None:
    """Let a model be a mean of itself and of what it began from (arXiv 2109.01903).

    Args:
        model: Changed in place.
        before: What it began from.
        share: Of its own weights; 1 leaves it alone.
    """
    for own, old in zip(model.parameters(), before.parameters(), strict=True):
        own.copy_(share * own + (1 - share) * old)


def _compile(model: Any) -> None:
    """Fuse what runs between the matrix products: a quarter faster, needs a C++ compiler."""
    for layer in (*model.model.language_model.layers, *model.model.vision_tower.encoder.layer):
        layer.compile(dynamic=True)


def _recipe(name: str, args: argparse.Namespace) -> Recipe:
    recipe = replace(RECIPES[name], steps=args.steps, seed=args.seed)
    if args.steps is None:
        recipe = replace(recipe, minutes=args.minutes[name])
    if args.onward:
        recipe = replace(recipe, sight_share=0.0)
    if args.learning_rate is not None:
        recipe = replace(recipe, learning_rate=args.learning_rate)
    if args.debug:
        recipe = replace(recipe, widths="debug", scenes=2, text_tokens=160, workers=0)
    return recipe


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("assets/pair"), help="folder of the exported pair"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/pair"), help="folder of the checkpoints"
    )
    parser.add_argument("--models", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument(
        "--minutes", type=_minutes, default=_minutes("45,20"), help="budget of target,draft"
    )
    parser.add_argument(
        "--steps", type=int, help="budget of each model in steps, instead of minutes"
    )
    parser.add_argument(
        "--every", type=int, default=200, help="steps between progress lines and checkpoints"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="highest; the recipe's if left out")
    parser.add_argument(
        "--onward",
        action="store_true",
        help="train the exported models on, by a schedule of its own, without the eye's own stage",
    )
    parser.add_argument(
        "--average", type=float, default=1.0, help="share of the new weights with --onward"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--fresh", action="store_true", help="start anew even if there are checkpoints"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the layers, where a C++ compiler is at hand"
    )
    parser.add_argument("--debug", action="store_true", help="tiny models and batches, for tests")
    return parser


def _minutes(text: str) -> dict[str, float]:
    target, draft = map(float, text.split(","))
    return {"target": target, "draft": draft}


if __name__ == "__main__":
    main()
