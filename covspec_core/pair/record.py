"""Records the embedded pair: ``python -m covspec_core.pair.record --out assets/recording.npz``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.pair.evaluate import MAX_ANSWER
from covspec_core.pair.head import HEAD, KEEP_LEVELS, progress
from covspec_core.pair.requests import jobs
from covspec_core.pairs import load_pair, models_of
from covspec_core.provenance import provenance
from covspec_core.recorder import record
from covspec_core.reduction import ReductionSettings


@clear_end("record")
def main(arguments: list[str] | None = None) -> None:
    """Record requests of every split and write one file."""
    args = _parser().parse_args(arguments)
    args.reduction = read_reduction(args.reduction)
    torch.set_num_threads(args.threads)
    pair = load_pair(
        *models_of(args.pair),
        args.reduction,
        str(args.pair / HEAD),
    )
    counts = {"train": args.train, "validation": args.validation, "test": args.test}
    todo = jobs(counts, args.seed)
    meta = {"pair": args.pair.as_posix(), "reduction": asdict(args.reduction), "seed": args.seed}
    meta["provenance"] = provenance(args.seed)
    recording = record(
        pair, todo, KEEP_LEVELS, args.temperature, args.limit, meta, progress(len(todo))
    )
    recording.save(args.out)
    size = args.out.stat().st_size / 2**20
    print(f"{len(todo)} requests, {len(recording.tokens)} tokens, {size:.1f} MiB: {args.out}")


def read_reduction(words: Sequence[str]) -> ReductionSettings:
    """A reduction's name, and settings that differ from its defaults as ``field=value``.

    Raises:
        InvalidSetting: If there is no such reduction or field, or the value is none.
    """
    values = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    try:
        changes = {name: json.loads(value) for name, value in values.items()}
        if len(changes) == len(words) - 1:
            return replace(ReductionSettings.of(words[0]), **changes)
    except (TypeError, json.JSONDecodeError) as error:
        raise InvalidSetting(f"--reduction takes a name and field=value: {error}") from error
    raise InvalidSetting(f"--reduction takes a name and each field=value once, got {list(words)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, default=Path("assets/pair"))
    parser.add_argument("--out", type=Path, default=Path("assets/recording.npz"))
    parser.add_argument(
        "--reduction",
        nargs="+",
        default=["covspec"],
        help="name and settings, such as covspec relevance=0.5 cover=false, or visionzip+merging",
    )
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
