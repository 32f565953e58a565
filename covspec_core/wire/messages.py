"""The messages themselves: a block up, a verdict down, and a second exchange where one is needed.

Behind the header (see :mod:`covspec_core.wire.frame`) come a mask of the judged tokens if there is
one, token ids as uint32, probabilities as float32, and laws in the format of the protocol. How long
a body must be follows from its header and from the terms; anything else is no message.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import BrokenMessage
from covspec_core.verification import Law
from covspec_core.wire.frame import (
    ID_BYTES,
    SCALAR_BYTES,
    Frame,
    id_bytes,
    pack,
    probabilities,
    read_ids,
    split,
    unpack,
)
from covspec_core.wire.protocols import WireProtocol

_DRAFT, _VERDICT, _GATED, _WISH, _LAW = range(1, 6)
_SLACK = 1e-3
"""How far above 1 some entries of a law may add up."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What both sides know before the first message.

    Attributes:
        kind: Protocol.
        vocab_size: Entries of a law.
    """

    kind: WireProtocol
    vocab_size: int

    @property
    def top(self) -> int:
        """Entries of a law that come first."""
        return min(self.kind.top, self.vocab_size)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Device to edge: tokens to catch up on, and a block to judge.

    An empty block asks the edge to decode alone.

    Attributes:
        round: Number of the round, modulo 65,536.
        skipped: Ids that the edge lacks, shape ``[skipped]``: where the device redraws the token
            behind the last verdict, then those committed without a check.
        block: Drafted ids, shape ``[drafted]``.
        q: ``q(x)`` of each drafted token, shape ``[drafted]``, or whole laws
            ``[drafted, vocab]``, or ``None``; of the judged tokens only, where some are not.
        judged: Which tokens of the block the target judges, shape ``[drafted]``; all if ``None``.
    """

    round: int
    skipped: NDArray[np.int64]
    block: NDArray[np.int64]
    q: NDArray[np.float64] | None = None
    judged: NDArray[np.bool_] | None = None

    def encode(self, terms: Terms) -> bytes:
        """The message as it goes on the air."""
        kind, body = _DRAFT, b""
        if self.judged is not None:
            kind, body = _GATED, np.packbits(self.judged, bitorder="little").tobytes()
        body += id_bytes(self.skipped) + id_bytes(self.block)
        if self.q is not None:
            whole = terms.kind.laws_up
            body += terms.kind.format.encode(self.q) if whole else _floats(self.q)
        return pack(kind, Frame(self.round, len(self.skipped), len(self.block), body))

    @staticmethod
    def decode(data: bytes, terms: Terms) -> Draft:
        """Read a message.

        Raises:
            BrokenMessage: If the bytes are no draft message of these terms.
        """
        code, (number, skipped, drafted, body) = unpack((_DRAFT, _GATED), data)
        judged, body = _split_mask(body, drafted) if code == _GATED else (None, body)
        rows = drafted if judged is None else int(judged.sum())
        kind, vocab_size = terms.kind, terms.vocab_size
        law_bytes = kind.format.law_bytes(vocab_size) if kind.laws_up else 0
        per_row = SCALAR_BYTES * kind.scalars_up + law_bytes
        own, rest = split(body, ID_BYTES * (skipped + drafted), per_row * rows)
        ids, q = read_ids(own, vocab_size), None
        if rest:
            q = kind.format.decode(rest, vocab_size) if kind.laws_up else probabilities(rest)
        return Draft(number, ids[:skipped], ids[skipped:], q, judged)


@dataclass(frozen=True, slots=True, eq=False)
class Top:
    """The largest entries of a law.

    Attributes:
        ids: Whose, shape ``[top]``.
        p: Their probabilities, shape ``[top]``.
    """

    ids: NDArray[np.int64]
    p: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Edge to device: how many tokens stand, and the next one or what it is to be drawn from.

    With neither a token nor a law it asks for the draft's law of the refused token.

    Attributes:
        round: Number of the round it answers.
        accepted: Drafted tokens that stand.
        token: Bonus or corrected id, ``None`` at a rejection after which it is still to be drawn.
        p: Target law at the first rejection, shape ``[vocab]``, or ``None``.
        top: Its largest entries only, or ``None``.
    """

    round: int
    accepted: int
    token: int | None
    p: Law | None = None
    top: Top | None = None

    def encode(self, terms: Terms) -> bytes:
        """The message as it goes on the air."""
        if self.token is not None:
            body = id_bytes(np.array([self.token]))
        elif self.top is not None:
            body = id_bytes(self.top.ids) + _floats(self.top.p)
        else:
            body = b"" if self.p is None else terms.kind.format.encode(self.p[None])
        return pack(_VERDICT, Frame(self.round, self.accepted, int(self.token is not None), body))

    @staticmethod
    def decode(data: bytes, terms: Terms) -> Verdict:
        """Read a message.

        Raises:
            BrokenMessage: If the bytes are no verdict of these terms.
        """
        _, (number, accepted, n_ids, body) = unpack((_VERDICT,), data)
        kind, vocab_size = terms.kind, terms.vocab_size
        if n_ids:
            own, _ = split(body, ID_BYTES, (n_ids - 1) * ID_BYTES)
            if n_ids > 1:
                raise BrokenMessage(f"a verdict holds at most one token, got {n_ids}")
            return Verdict(number, accepted, int(read_ids(own, vocab_size)[0]))
        if kind.top:
            return Verdict(number, accepted, None, top=_read_top(body, terms))
        if kind.law_down:
            (law,) = split(body, kind.format.law_bytes(vocab_size))
            return Verdict(number, accepted, None, kind.format.decode(law, vocab_size)[0])
        if not kind.law_asked:
            raise BrokenMessage(f"a verdict of protocol {kind.name} must hold a token")
        split(body)
        return Verdict(number, accepted, None)


@dataclass(frozen=True, slots=True)
class Wish:
    """Device to edge: the largest entries do not decide, the rest of the law is needed.

    Attributes:
        round: Number of the round.
    """

    round: int

    def encode(self, terms: Terms) -> bytes:
        """The message as it goes on the air."""
        return pack(_WISH, Frame(self.round, 0, 0, b""))

    @staticmethod
    def decode(data: bytes, terms: Terms) -> Wish:
        """Read a message.

        Raises:
            BrokenMessage: If the bytes are no wish, or the protocol knows none.
        """
        _, (number, first, second, body) = unpack((_WISH,), data)
        split(body)
        if first or second or not terms.kind.top:
            raise BrokenMessage(f"a wish holds nothing, in a protocol that has a rest of laws: "
                                f"got {first}, {second}, {terms.kind.name}")  # fmt: skip
        return Wish(number)


@dataclass(frozen=True, slots=True, eq=False)
class LawMessage:
    """A law that was asked for: of the draft, up; or the rest of the target's, down.

    Attributes:
        round: Number of the round.
        law: The draft's at the refused token, shape ``[vocab]``; or the target's entries in the
            order of the vocabulary without its largest, shape ``[vocab - top]``.
    """

    round: int
    law: Law

    def encode(self, terms: Terms) -> bytes:
        """The message as it goes on the air."""
        whole = terms.kind.law_asked
        body = terms.kind.format.encode(self.law[None]) if whole else _floats(self.law)
        return pack(_LAW, Frame(self.round, 0, 0, body))

    @staticmethod
    def decode(data: bytes, terms: Terms) -> LawMessage:
        """Read a message.

        Raises:
            BrokenMessage: If the bytes are no law of these terms.
        """
        _, (number, first, second, body) = unpack((_LAW,), data)
        kind, vocab_size = terms.kind, terms.vocab_size
        if first or second or not (kind.law_asked or kind.top):
            raise BrokenMessage(f"no law is asked for: got {first}, {second}, {kind.name}")
        if kind.law_asked:
            (own,) = split(body, kind.format.law_bytes(vocab_size))
            return LawMessage(number, kind.format.decode(own, vocab_size)[0])
        (own,) = split(body, SCALAR_BYTES * (vocab_size - terms.top))
        return LawMessage(number, _partial(own))


def _floats(values: NDArray[np.floating]) -> bytes:
    return values.astype("<f4").tobytes()


def _partial(data: bytes) -> NDArray[np.float64]:
    """Some entries of a law."""
    values = probabilities(data)
    if values.sum() > 1 + _SLACK:
        raise BrokenMessage(f"entries of a law must add up to at most 1, got {values.sum()}")
    return values


def _read_top(body: bytes, terms: Terms) -> Top:
    own, rest = split(body, ID_BYTES * terms.top, SCALAR_BYTES * terms.top)
    ids = read_ids(own, terms.vocab_size)
    if len(np.unique(ids)) < len(ids):
        raise BrokenMessage(f"the largest entries must be of different tokens, got {ids}")
    return Top(ids, _partial(rest))


def _split_mask(body: bytes, drafted: int) -> tuple[NDArray[np.bool_], bytes]:
    size = -(-drafted // 8)
    if len(body) < size:
        raise BrokenMessage(f"a body of {len(body)} bytes cannot hold a mask of {drafted} tokens")
    bits = np.unpackbits(np.frombuffer(body[:size], dtype=np.uint8), bitorder="little")
    if bits[drafted:].any():
        raise BrokenMessage(f"a mask of {drafted} tokens must end with them")
    return bits[:drafted].astype(bool), body[size:]
