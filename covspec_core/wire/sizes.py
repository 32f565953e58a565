"""Lengths of encoded messages for whole arrays of rounds, and for any vocabulary.

A small pair can so be charged a large one's bytes. Live rounds check that the messages they really
send have these lengths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from covspec_core.wire.frame import HEADER, ID_BYTES, SCALAR_BYTES
from covspec_core.wire.protocols import WireProtocol

HEADER_BYTES = HEADER.size
STREAM_BYTES = HEADER_BYTES + ID_BYTES
"""Message in which the edge streams one token."""


def draft_bytes(ids: Any, drafted: Any, judged: Any, masked: Any, judged_bytes: Any) -> Any:
    """Length of an encoded :class:`~covspec_core.wire.Draft`; arrays, or compiled numbers.

    Args:
        ids: Ids that the edge lacks, committed without a check or redrawn.
        drafted: Tokens of the block.
        judged: Tokens of the block that are judged.
        masked: Whether a mask says which.
        judged_bytes: What each of them takes beside its id, see :func:`judged_bytes`.
    """
    mask = masked * -(-drafted // 8)
    return HEADER_BYTES + mask + ID_BYTES * (ids + drafted) + judged_bytes * judged


def judged_bytes(kind: WireProtocol, vocab_size: int) -> int:
    """Bytes of a judged token beside its id."""
    law_bytes = kind.format.law_bytes(vocab_size) if kind.laws_up else 0
    return SCALAR_BYTES * kind.scalars_up + law_bytes


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
    masked, each = judged is not None, judged_bytes(kind, vocab_size)
    return draft_bytes(skipped, drafted, judged if masked else drafted, masked, each)


def verdict_bytes(rejected: Any, refusal_bytes: Any) -> Any:
    """Length of an encoded first :class:`~covspec_core.wire.Verdict`; arrays, or numbers.

    Args:
        rejected: Whether it refuses a token.
        refusal_bytes: What a refusal brings, see :func:`refusal_bytes`.
    """
    return HEADER_BYTES + ID_BYTES + rejected * (refusal_bytes - ID_BYTES)


def refusal_bytes(kind: WireProtocol, vocab_size: int) -> int:
    """Bytes behind the header of a verdict that refuses a token."""
    if kind.law_down:
        return kind.format.law_bytes(vocab_size)
    if kind.device_redraws:
        return (ID_BYTES + SCALAR_BYTES) * min(kind.top, vocab_size)
    return 0 if kind.law_asked else ID_BYTES


def download_bytes(kind: WireProtocol, rejected: Any, vocab_size: int) -> Any:
    """Length of an encoded first :class:`~covspec_core.wire.Verdict`.

    Args:
        kind: Protocol.
        rejected: Whether it refuses a token; may be an array.
        vocab_size: Entries of a law.
    """
    return verdict_bytes(np.asarray(rejected), refusal_bytes(kind, vocab_size))


def asks_again(rejected: Any, tail: Any, always: Any, for_tail: Any) -> Any:
    """Whether a round needs a second exchange; arrays, or compiled numbers.

    Args:
        rejected: Whether a token was refused.
        tail: Whether it was drawn anew with the rest of the target's law.
        always: Every refusal needs one.
        for_tail: Those do for which the rest was needed.
    """
    return rejected & (always | (for_tail & tail))


def again_bytes(kind: WireProtocol, vocab_size: int) -> tuple[int, int]:
    """Lengths of the messages up and down of a second exchange; zeros where there is none.

    Args:
        kind: Protocol.
        vocab_size: Entries of a law.
    """
    if kind.law_asked:
        return HEADER_BYTES + kind.format.law_bytes(vocab_size), HEADER_BYTES + ID_BYTES
    if kind.top:
        return HEADER_BYTES, HEADER_BYTES + SCALAR_BYTES * (vocab_size - min(kind.top, vocab_size))
    return 0, 0
