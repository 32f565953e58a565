"""Fits the acceptance head of the embedded pair: ``python -m covspec_core.pair.head``.

Targets answer training questions, the draft reads along at every keep level; requests of the
validation split then show how well the head knows what will stand. ``python -m
policies.head_scores`` judges the head of a recording more closely, beside other predictors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from covspec_core.acceptance import EXTRAS, GRID, AcceptanceHead
from covspec_core.ending import clear_end
from covspec_core.head_fit import Course, Examples, fit_head
from covspec_core.pair.evaluate import MAX_ANSWER
from covspec_core.pair.folders import note
from covspec_core.pair.requests import jobs
from covspec_core.pairs import load_pair, models_of
from covspec_core.provenance import provenance
from covspec_core.recorder import head_examples, read
from covspec_core.rounds import CHANCES

KEEP_LEVELS = (0.0, 1 / 12, 1 / 6, 1 / 3, 1.0)
HEAD = "acceptance_head.safetensors"


@clear_end("head")
def main(arguments: list[str] | None = None) -> None:
    """Fit on training requests, write the head, print how it does on others."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    pair = load_pair(*models_of(args.pair), args.reduction, None)
    counts = {"train": args.train, "validation": args.validation}
    todo = jobs(counts, args.seed)
    show = progress(len(todo))
    parts: dict[str, list[Examples]] = {split: [] for split in counts}
    for done, job in enumerate(todo, start=1):
        reading = read(pair, job.request, KEEP_LEVELS, args.temperature, MAX_ANSWER)
        parts[job.split].append(head_examples(reading, KEEP_LEVELS))
        show(done)
    examples = {split: Examples.joined(of) for split, of in parts.items()}
    head = fit_head(examples["train"], Course(units=args.units, seed=args.seed))
    head.save(args.pair / HEAD)
    found = quality(head, examples["validation"])
    print(json.dumps(found, indent=2))
    made = {"requests": args.train} | provenance(args.seed)
    note(args.pair, "acceptance_head", made | found)


def quality(head: AcceptanceHead, examples: Examples) -> dict[str, Any]:
    """How well a head foresees, beside the margin and the entropy of the draft's law.

    Args:
        head: To be judged.
        examples: Of requests that it has not seen.

    Returns:
        Correlation with the truth for every ``n``; those of margin and entropy for the next token;
        that of what is said of a drawn token, and of what was said before it was drawn, with the
        chance that it stands; the mean distance between what is said and what is true of the next
        token, over ten bins of what is said.
    """
    features, labels = examples.features, examples.standing
    said, drawn = head.chances(features) / GRID, head.of_drawn(features, examples.fresh) / GRID
    bins = np.minimum((said[:, 0] * 10).astype(int), 9)
    gaps = [abs((said[bins == b, 0] - labels[bins == b, 0]).sum()) for b in range(10)]
    extras = dict(zip(("entropy", "margin"), features[:, -EXTRAS:].T, strict=False))
    return {
        "correlation": {n: _correlation(said[:, k], labels[:, k]) for k, n in enumerate(CHANCES)},
        "correlation_of_drawn": _correlation(drawn[:, 0], examples.stands),
        "correlation_of_drawn_before": _correlation(said[:, 0], examples.stands),
        "correlation_of_margin": _correlation(extras["margin"], labels[:, 0]),
        "correlation_of_entropy": _correlation(-extras["entropy"], labels[:, 0]),
        "calibration_error": round(float(sum(gaps) / len(said)), 4),
    }


def _correlation(said: Any, true: Any) -> float:
    return round(float(np.corrcoef(said, true)[0, 1]), 3)


def progress(total: int) -> Callable[[int], None]:
    """Prints rate and remaining time now and then, to standard error."""
    began = time.monotonic()

    def show(done: int) -> None:
        if done % 50 == 0 or done == total:
            rate = done / (time.monotonic() - began)
            left = (total - done) / rate / 60
            line = f"{done}/{total} requests  {rate:.1f}/s  {left:.1f} min left"
            print(line, file=sys.stderr, flush=True)

    return show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, default=Path("assets/pair"))
    parser.add_argument("--reduction", default="covspec")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--train", type=int, default=1200, help="requests")
    parser.add_argument("--validation", type=int, default=200, help="requests")
    parser.add_argument("--units", type=int, default=32, help="of the hidden layer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
