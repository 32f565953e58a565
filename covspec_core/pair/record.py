"""Records the embedded pair: ``python -m covspec_core.pair.record --out assets/recording.npz``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from covspec_core.pair.evaluate import MAX_ANSWER
from covspec_core.pair.head import HEAD, KEEP_LEVELS, progress
from covspec_core.pair.requests import jobs
from covspec_core.pairs import load_pair
from covspec_core.recorder import record


def main(arguments: list[str] | None = None) -> None:
    """Record requests of every split and write one file."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    pair = load_pair(
        str(args.pair / "draft"),
        str(args.pair / "target"),
        args.reduction,
        str(args.pair / HEAD),
    )
    counts = {"train": args.train, "validation": args.validation, "test": args.test}
    todo = jobs(counts, args.seed)
    meta = {"pair": args.pair.as_posix(), "reduction": args.reduction, "seed": args.seed}
    recording = record(
        pair, todo, KEEP_LEVELS, args.temperature, args.limit, meta, progress(len(todo))
    )
    recording.save(args.out)
    size = args.out.stat().st_size / 2**20
    print(f"{len(todo)} requests, {len(recording.tokens)} tokens, {size:.1f} MiB: {args.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, default=Path("assets/pair"))
    parser.add_argument("--out", type=Path, default=Path("assets/recording.npz"))
    parser.add_argument("--reduction", default="covspec")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--limit", type=int, default=MAX_ANSWER, help="most answer tokens")
    parser.add_argument("--train", type=int, default=2000, help="requests")
    parser.add_argument("--validation", type=int, default=400, help="requests")
    parser.add_argument("--test", type=int, default=600, help="requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
