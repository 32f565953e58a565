"""Lengths of encoded messages for whole arrays of rounds, and for any vocabulary.

A small pair can so be charged a large one's bytes. Live rounds check that the messages they really
send have these lengths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from covspec_core.wire.frame import HEADER, ID_BYTES, SCALAR_BYTES
from covspec_core.wire.protocols import WireProtocol


def upload_bytes(
    kind: WireProtocol, skipped: Any, drafted: Any, vocab_size: int, judged: Any = None
) -> Any:
    """Length of an encoded :class:`~covspec_core.wire.Draft`; counts may be arrays.

    Args:
        kind: Protocol.
        skipped: Ids that the edge lacks, committed without a check or redrawn.
        drafted: Tokens of the block.
        vocab_size: Entries of a law.
        judged: Tokens of the block that are judged, where a mask says which; all if ``None``.
    """
    mask = 0 if judged is None else -(-drafted // 8)
    law_bytes = kind.format.law_bytes(vocab_size) if kind.laws_up else 0
    per_judged = SCALAR_BYTES * kind.scalars_up + law_bytes
    ids = ID_BYTES * (skipped + drafted)
    return HEADER.size + mask + ids + per_judged * (drafted if judged is None else judged)


def download_bytes(kind: WireProtocol, rejected: Any, vocab_size: int) -> Any:
    """Length of an encoded first :class:`~covspec_core.wire.Verdict`.

    Args:
        kind: Protocol.
        rejected: Whether it refuses a token; may be an array.
        vocab_size: Entries of a law.
    """
    if kind.law_down:
        refusal = kind.format.law_bytes(vocab_size)
    elif kind.device_redraws:
        refusal = (ID_BYTES + SCALAR_BYTES) * min(kind.top, vocab_size)
    else:
        refusal = 0 if kind.law_asked else ID_BYTES
    return HEADER.size + np.where(rejected, refusal, ID_BYTES)


def again(kind: WireProtocol, rejected: Any, tail: Any) -> Any:
    """Whether a round needs a second exchange; see :func:`again_bytes`.

    Args:
        kind: Protocol.
        rejected: Whether a token was refused.
        tail: Whether it was drawn anew with the rest of the target's law.
    """
    if kind.law_asked:
        return np.asarray(rejected)
    return np.asarray(rejected) & np.asarray(tail) & (kind.top > 0)


def again_bytes(kind: WireProtocol, vocab_size: int) -> tuple[int, int]:
    """Lengths of the messages up and down of a second exchange; zeros where there is none.

    Args:
        kind: Protocol.
        vocab_size: Entries of a law.
    """
    if kind.law_asked:
        return HEADER.size + kind.format.law_bytes(vocab_size), HEADER.size + ID_BYTES
    if kind.top:
        return HEADER.size, HEADER.size + SCALAR_BYTES * (vocab_size - min(kind.top, vocab_size))
    return 0, 0
