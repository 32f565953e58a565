"""Shows and compares visual token reductions: ``python -m policies.reductions --help``.

For any image and question: the tokens that every reduction keeps. With ``--questions``: acceptance
and right answers of the embedded pair against the tokens kept, in and out of distribution.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.images import load_image
from covspec_core.pairs import models_of
from covspec_core.provenance import provenance
from covspec_core.reduction import METHODS, reduction
from policies import reduction_figures as figures
from policies.console import say
from policies.runs import write_json
from policies.shares import bootstrap_share, right_share

CONTROL = "random"


def summary(compared: Any, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Curves by split and reduction, each with the paired difference from random tokens.

    Args:
        compared: Result of :func:`covspec_core.pair.reductions.compare`.
        names: Reductions.
        seed: Of the resampling.
    """
    return {
        split: {name: _curve(compared, split, name, seed) for name in names}
        for split in compared.positions
    }


def _curve(compared: Any, split: str, name: str, seed: int) -> list[dict[str, Any]]:
    counts = compared.positions[split]
    ones, points = np.ones_like(counts), []
    for keep in compared.keeps:
        accepted, right = (
            measured[split, name, keep] for measured in (compared.accepted, compared.right)
        )
        point = {
            "kept": keep,
            "acceptance": bootstrap_share(accepted, counts, seed),
            "right": right_share(right),
        }
        if (split, CONTROL, keep) in compared.right and name != CONTROL:
            control = compared.accepted[split, CONTROL, keep], compared.right[split, CONTROL, keep]
            point["acceptance_over_random"] = bootstrap_share(accepted - control[0], counts, seed)
            point["right_over_random"] = bootstrap_share(right - control[1], ones, seed)
        points.append(point)
    return points


def show(args: argparse.Namespace) -> dict[str, Any]:
    """Draw the kept tokens of one image and question; their orders."""
    from covspec_core.pair.reductions import orders, ranker, reduced

    image = load_image(args.image)
    model = ranker(*models_of(args.pair))
    states = model.visual_states(model.prompt(image, args.question))
    ranked = orders(states, args.methods, np.random.default_rng(args.seed))
    kept = {
        (name, keep): reduced(states, name, order, keep).kept
        for name, order in ranked.items()
        for keep in args.shown
    }
    path = args.out / "kept.png"
    figures.kept_side_by_side(image, ranked, kept, args.question, path)
    say(f"figure: {path}")
    return {
        "image": str(args.image),
        "question": args.question,
        "orders": {name: order.tolist() for name, order in ranked.items()},
        "kept": {f"{name}@{keep}": tokens.tolist() for (name, keep), tokens in kept.items()},
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and draw the curves."""
    from covspec_core.pair.reductions import SPLITS, compare

    pair, splits = (args.pair / "draft", args.pair / "target"), args.splits or SPLITS
    compared = compare(*pair, args.methods, args.keeps, args.questions, args.seed, splits, say)
    curves = summary(compared, args.methods, args.seed)
    path = args.out / "curves.png"
    figures.against_keep(curves, args.questions, path)
    say(f"figure: {path}")
    return {"questions": args.questions, "curves": curves}


@clear_end("reductions")
def main(arguments: list[str] | None = None) -> None:
    """Draw the figures that were asked for and write ``reductions.json`` beside them."""
    args = _parser().parse_args(arguments)
    made = provenance(args.seed)
    _check(args)
    _hide_progress()
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"provenance": made, "pair": str(args.pair)}
    if args.image is not None:
        result["kept"] = show(args)
    if args.questions:
        result["measured"] = measure(args)
    write_json(args.out / "reductions.json", result)
    say(f"figures of {', '.join(args.methods)}: {args.out / 'reductions.json'}")


def _check(args: argparse.Namespace) -> None:
    if args.image is None and not args.questions:
        raise InvalidSetting("there is nothing to draw; give --image, --questions or both")
    for name in args.methods:
        reduction(name)
    models_of(args.pair)
    if args.image is not None:
        load_image(args.image)


def _hide_progress() -> None:
    # Imported here, as above: transformers takes seconds that --help should not cost.
    import torch

    from covspec_core.models.loading import hide_progress

    hide_progress()
    torch.set_num_threads(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, default=Path("assets/pair"), help="draft and target")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--image", type=Path, help="any image")
    parser.add_argument("--question", default="what can you see?")
    parser.add_argument("--questions", type=int, default=0, help="of every split; 0 draws no curve")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[*METHODS, "visionzip+merging"],
        help="reductions, pairs of CoVSpec's signals such as relevance+cover, any with +merging",
    )
    parser.add_argument("--shown", type=int, nargs="+", default=[36, 12], help="tokens in kept.png")
    parser.add_argument("--keeps", type=int, nargs="+", default=[6, 12, 24, 48], help="of a curve")
    parser.add_argument("--splits", nargs="+", help="of a curve; all that are measured by default")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
