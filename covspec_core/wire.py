"""Messages between device and edge, and what each protocol puts into them.

Layout, little endian: a 12-byte header (version, kind, round, two counts, CRC-32 of all the rest),
then token ids as uint32, then float32 scalars, then laws. :func:`upload_bytes` and
:func:`download_bytes` give the length of the encoded message for whole arrays of rounds, and for
a vocabulary other than the models' own, so that a small pair can be charged a large one's bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import BrokenMessage, InvalidSetting

VERSION = 1
HEADER = struct.Struct("<BBHHHI")
ID_BYTES, SCALAR_BYTES = 4, 4
_DRAFT, _VERDICT, _GATED = 1, 2, 3


@dataclass(frozen=True, slots=True)
class WireProtocol:
    """Who sends what; every protocol is lossless as long as no gate is on.

    Attributes:
        name: Name in configurations and reports.
        scalars_up: The device sends ``q(x)`` of each drafted token.
        laws_up: The device sends the full ``q`` of each drafted token.
        law_down: The edge answers a rejection with the full ``p``; the device redraws.
        shared_noise: Both sides add the same Gumbel noise, so nothing is ever redrawn.
    """

    name: str
    scalars_up: bool = False
    laws_up: bool = False
    law_down: bool = False
    shared_noise: bool = False


PROTOCOLS = {
    p.name: p
    for p in (
        WireProtocol("full", laws_up=True),
        WireProtocol("decoupled", scalars_up=True, law_down=True),
        WireProtocol("coupled", shared_noise=True),
    )
}


def protocol(name: str) -> WireProtocol:
    """Look a protocol up.

    Raises:
        InvalidSetting: If there is none of this name.
    """
    if name not in PROTOCOLS:
        raise InvalidSetting(f"protocol must be one of {sorted(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Device to edge: tokens to catch up on, and a block to judge.

    An empty block asks the edge to decode alone.

    Attributes:
        round: Number of the round, modulo 65,536.
        skipped: Ids committed on the device without a check, shape ``[skipped]``.
        block: Drafted ids, shape ``[drafted]``.
        q: ``q(x)`` of each drafted token, shape ``[drafted]``, or whole laws
            ``[drafted, vocab]``, or ``None``; of the judged tokens only, where some are not.
        judged: Which tokens of the block the target judges, shape ``[drafted]``; all if ``None``.
    """

    round: int
    skipped: NDArray[np.int64]
    block: NDArray[np.int64]
    q: NDArray[np.float32] | None = None
    judged: NDArray[np.bool_] | None = None

    def encode(self) -> bytes:
        """The message as it goes on the air."""
        kind, mask = _DRAFT, b""
        if self.judged is not None:
            kind, mask = _GATED, np.packbits(self.judged, bitorder="little").tobytes()
        body = mask + _ids(self.skipped) + _ids(self.block) + _floats(self.q)
        return _frame(kind, self.round, len(self.skipped), len(self.block), body)

    @staticmethod
    def decode(data: bytes) -> Draft:
        """Read a message.

        Raises:
            BrokenMessage: If the bytes are no draft message of this version.
        """
        gated = data[1:2] == bytes([_GATED])
        number, skipped, drafted, body = _unframe(_GATED if gated else _DRAFT, data)
        judged, body = _split_mask(body, drafted) if gated else (None, body)
        ids, rest = _split_ids(body, skipped + drafted)
        q = np.frombuffer(rest, dtype="<f4") if rest else None
        if q is not None:
            rows = drafted if judged is None else int(judged.sum())
            if rows == 0 or q.size % rows:
                raise BrokenMessage(f"{q.size} floats do not divide into {rows} judged tokens")
            q = q if q.size == rows else q.reshape(rows, -1)
        return Draft(number, ids[:skipped], ids[skipped:], q, judged)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Edge to device: how many tokens stand, and the next one or the law to redraw it from.

    Attributes:
        round: Number of the round it answers.
        accepted: Drafted tokens that stand.
        token: Bonus or corrected id, ``None`` if a law comes instead.
        p: Target law at the first rejection, shape ``[vocab]``, or ``None``.
    """

    round: int
    accepted: int
    token: int | None
    p: NDArray[np.float32] | None = None

    def encode(self) -> bytes:
        """The message as it goes on the air."""
        ids = np.array([] if self.token is None else [self.token], dtype=np.int64)
        return _frame(_VERDICT, self.round, self.accepted, len(ids), _ids(ids) + _floats(self.p))

    @staticmethod
    def decode(data: bytes) -> Verdict:
        """Read a message.

        Raises:
            BrokenMessage: If the bytes are no verdict of this version.
        """
        number, accepted, n_ids, body = _unframe(_VERDICT, data)
        ids, rest = _split_ids(body, n_ids)
        p = np.frombuffer(rest, dtype="<f4") if rest else None
        if n_ids > 1 or (n_ids == 1) == (p is not None):
            raise BrokenMessage("a verdict holds either one token or one law")
        return Verdict(number, accepted, int(ids[0]) if n_ids else None, p)


def upload_bytes(
    kind: WireProtocol, skipped: Any, drafted: Any, vocab_size: int, judged: Any = None
) -> Any:
    """Length of an encoded :class:`Draft`; counts may be arrays.

    Args:
        kind: Protocol.
        skipped: Ids committed without a check.
        drafted: Tokens of the block.
        vocab_size: Entries of a law.
        judged: Tokens of the block that are judged, where a mask says which; all if ``None``.
    """
    mask = 0 if judged is None else -(-drafted // 8)
    per_judged = SCALAR_BYTES * (kind.scalars_up + vocab_size * kind.laws_up)
    ids = ID_BYTES * (skipped + drafted)
    return HEADER.size + mask + ids + per_judged * (drafted if judged is None else judged)


def download_bytes(kind: WireProtocol, rejected: Any, vocab_size: int) -> Any:
    """Length of an encoded :class:`Verdict`; ``rejected`` may be an array of truth values."""
    law_bytes = SCALAR_BYTES * vocab_size if kind.law_down else ID_BYTES
    return HEADER.size + np.where(rejected, law_bytes, ID_BYTES)


def _ids(ids: NDArray[np.int64]) -> bytes:
    return ids.astype("<u4").tobytes()


def _floats(values: NDArray[np.float32] | None) -> bytes:
    return b"" if values is None else values.astype("<f4").tobytes()


def _frame(kind: int, number: int, first: int, second: int, body: bytes) -> bytes:
    head = (VERSION, kind, number % 65536, first, second)
    return HEADER.pack(*head, zlib.crc32(HEADER.pack(*head, 0) + body)) + body


def _unframe(kind: int, data: bytes) -> tuple[int, int, int, bytes]:
    if len(data) < HEADER.size:
        raise BrokenMessage(f"a message has at least {HEADER.size} bytes, got {len(data)}")
    version, got, number, first, second, checksum = HEADER.unpack_from(data)
    body = data[HEADER.size :]
    if (version, got) != (VERSION, kind):
        raise BrokenMessage(f"expected version {VERSION} kind {kind}, got {version} and {got}")
    if zlib.crc32(HEADER.pack(version, got, number, first, second, 0) + body) != checksum:
        raise BrokenMessage("the message does not match its checksum")
    return number, first, second, body


def _split_mask(body: bytes, drafted: int) -> tuple[NDArray[np.bool_], bytes]:
    size = -(-drafted // 8)
    if len(body) < size:
        raise BrokenMessage(f"a body of {len(body)} bytes cannot hold a mask of {drafted} tokens")
    bits = np.unpackbits(np.frombuffer(body[:size], dtype=np.uint8), bitorder="little")
    if bits[drafted:].any():
        raise BrokenMessage(f"a mask of {drafted} tokens must end with them")
    return bits[:drafted].astype(bool), body[size:]


def _split_ids(body: bytes, n_ids: int) -> tuple[NDArray[np.int64], bytes]:
    end = n_ids * ID_BYTES
    if len(body) < end or (len(body) - end) % SCALAR_BYTES:
        raise BrokenMessage(f"a body of {len(body)} bytes cannot hold {n_ids} ids and floats")
    return np.frombuffer(body[:end], dtype="<u4").astype(np.int64), body[end:]
