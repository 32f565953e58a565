"""What formats and protocols cost: ``python -m covspec_core.pair.formats --requests 40``.

Along answers of the pair's target stand, for every format of a law, its bytes and the total
variation between a law and what is read of it: the loss of a target's law that comes down, and the
price in acceptance of a draft's law that goes up. For the protocols stand the bytes of one refusal;
of ``progressive`` also how often the rest of the law is needed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.ending import clear_end
from covspec_core.pair.evaluate import MAX_ANSWER
from covspec_core.pair.requests import jobs
from covspec_core.pairs import load_pair, models_of
from covspec_core.provenance import provenance
from covspec_core.recorder import Reading, read
from covspec_core.wire import (
    FORMATS,
    LawFormat,
    again_bytes,
    download_bytes,
    protocol,
    upload_bytes,
)

KEEP = 1 / 12
Laws = tuple[ver.Law, ver.Law]


@clear_end("formats")
def main(arguments: list[str] | None = None) -> None:
    """Print one JSON line per format and protocol."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    laws = _laws(args)
    common = {"keep": KEEP, "requests": args.requests, "temperature": args.temperature}
    common |= {"tokens": len(laws[0]), "vocab_size": args.vocab_size, **provenance(args.seed)}
    rows = [*format_rows(laws, args.tops, args.vocab_size)]
    rows += [*protocol_rows(laws, args.tops, args.vocab_size)]
    for row in rows:
        print(json.dumps(row | common, default=str))


def format_rows(laws: Laws, tops: Sequence[int], vocab_size: int) -> Iterator[dict[str, Any]]:
    """Loss and bytes of every format.

    Args:
        laws: Of target and draft, ``[tokens, vocab]`` each.
        tops: Numbers of entries to try in ``top_k``.
        vocab_size: Of the laws whose bytes are told.
    """
    target, draft = laws
    for name in FORMATS:
        for entries in tops if name == "top_k" else [0]:
            kind = LawFormat(name, entries)
            read_target, read_draft = (_read(kind, law) for law in laws)
            down, up = _apart(target, read_target), _apart(draft, read_draft)
            accepted = ver.overlap(target, read_draft).mean()
            yield {
                "format": name,
                "entries": entries,
                "law_bytes": kind.law_bytes(vocab_size),
                "target_tv_mean": float(down.mean()),
                "target_tv_max": float(down.max()),
                "draft_tv_mean": float(up.mean()),
                "acceptance": float(accepted),
                "acceptance_lost": float(ver.overlap(target, draft).mean() - accepted),
            }


def _read(kind: LawFormat, laws: ver.Law) -> ver.Law:
    """What the other side makes of laws."""
    return kind.decode(kind.encode(laws), laws.shape[-1])


def _apart(one: ver.Law, other: ver.Law) -> NDArray[np.float64]:
    """Total variation, ``[tokens]``."""
    return abs(one - other).sum(-1) / 2


def protocol_rows(laws: Laws, tops: Sequence[int], vocab_size: int) -> Iterator[dict[str, Any]]:
    """Bytes of one drafted token and of one refusal under every protocol.

    Args:
        laws: Of target and draft, ``[tokens, vocab]`` each.
        tops: Numbers of entries that ``progressive`` may send first.
        vocab_size: Of the laws whose bytes are told.
    """
    kinds = [(protocol(name), 0.0) for name in ("full", "decoupled", "lazy", "coupled")]
    kinds += [(protocol("progressive", top=top), rest_share(laws, top)) for top in tops]
    for kind, asked in kinds:
        second = sum(again_bytes(kind, vocab_size)) * (1.0 if kind.law_asked else asked)
        yield {
            "protocol": kind.name,
            "top": kind.top,
            "rest_asked": asked,
            "token_bytes": int(upload_bytes(kind, 0, 1, vocab_size) - upload_bytes(kind, 0, 0, 1)),
            "refusal_bytes": float(download_bytes(kind, True, vocab_size)) + second,
        }


def rest_share(laws: Laws, top: int) -> float:
    """Share of refusals that need more than the largest entries, over refusals of fresh drafts."""
    target, draft = laws
    refused = 1 - ver.overlap(target, draft)
    asked = [
        ver.top_residual(p[ids], q[ids])[-1]
        for p, q, ids in zip(target, draft, ver.largest(target, top), strict=True)
    ]
    return float((refused * asked).sum() / refused.sum())


def _laws(args: argparse.Namespace) -> Laws:
    """Laws of target and draft along the answers."""
    pair = load_pair(*models_of(args.pair), args.reduction, None)
    readings: list[Reading] = [
        read(pair, job.request, [KEEP], args.temperature, MAX_ANSWER)
        for job in jobs({"test": args.requests}, args.seed)
    ]
    target = np.concatenate([reading.target for reading in readings])
    draft = [reading.sampler.law(reading.drafts[0].logits) for reading in readings]
    return target, np.concatenate(draft)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, default=Path("assets/pair"))
    parser.add_argument("--reduction", default="covspec")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--tops", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--vocab-size", type=int, default=151_674, help="whose bytes are told")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
