"""How a law is written down: in single or half precision, or its largest entries only.

A law that goes up loses nothing in any format: the device draws from the law that the edge will
read, so both sides judge by the same one. A law that comes down stands for the target's own; in a
format that rounds it, the text follows the rounded law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.errors import BrokenMessage, InvalidSetting
from covspec_core.verification import Law, largest
from covspec_core.wire.frame import SCALAR_BYTES, probabilities

FORMATS = ("fp32", "fp16", "top_k")
_HALF_BYTES, _LEVELS = 2, 255
_SLACK = 0.01
"""How far the entries of a law in floats may be from a sum of 1."""


@dataclass(frozen=True, slots=True)
class LawFormat:
    """One of ``FORMATS``.

    ``top_k`` is CU-HLM's (arXiv 2505.11788): the largest entries with 8 bits each and an index of
    ``ceil(log2 V)`` bits; what they leave is spread evenly over the other entries.

    Attributes:
        name: ``fp32``, ``fp16`` or ``top_k``.
        entries: Entries of a law in ``top_k``; all but one of a smaller vocabulary.
    """

    name: str = "fp32"
    entries: int = 0

    def __post_init__(self) -> None:
        if self.name not in FORMATS:
            raise InvalidSetting(f"law_format must be one of {FORMATS}, got {self.name!r}")
        if (self.name == "top_k") != (self.entries > 0):
            needs = "needs" if self.name == "top_k" else "has no"
            raise InvalidSetting(
                f"a law of format {self.name} {needs} top entries (protocol.top), "
                f"got {self.entries}"
            )

    @property
    def exact(self) -> bool:
        """Keeps a law, up to single precision."""
        return self.name == "fp32"

    def law_bytes(self, vocab_size: int) -> int:
        """Bytes of one law."""
        if self.name == "top_k":
            count = self._count(vocab_size)
            return count + -(-count * _index_bits(vocab_size) // 8)
        return vocab_size * (SCALAR_BYTES if self.name == "fp32" else _HALF_BYTES)

    def encode(self, laws: Law) -> bytes:
        """Laws one behind the other, shape ``[rows, vocab]``."""
        if self.name == "top_k":
            return b"".join(map(self._pack, laws))
        return laws.astype("<f4" if self.name == "fp32" else "<f2").tobytes()

    def decode(self, data: bytes, vocab_size: int) -> Law:
        """Laws that add up to 1, shape ``[rows, vocab]``.

        Args:
            data: A whole number of laws.
            vocab_size: Entries of each.

        Raises:
            BrokenMessage: If an entry is no probability, or the laws do not add up to about 1.
        """
        if self.name == "top_k":
            size = self.law_bytes(vocab_size)
            rows = [data[at : at + size] for at in range(0, len(data), size)]
            return np.stack([self._unpack(row, vocab_size) for row in rows])
        laws = probabilities(data, "<f4" if self.name == "fp32" else "<f2")
        laws = laws.reshape(-1, vocab_size)
        mass = laws.sum(-1, keepdims=True)
        if (abs(mass - 1) > _SLACK).any():
            raise BrokenMessage(f"a law must add up to about 1, got {mass.ravel().tolist()}")
        return laws / mass

    def rounded(self, laws: Law) -> Law:
        """Laws as the other side reads them, shape as given."""
        if self.exact:
            return laws
        vocab_size = laws.shape[-1]
        return self.decode(self.encode(laws.reshape(-1, vocab_size)), vocab_size).reshape(
            laws.shape
        )

    def _count(self, vocab_size: int) -> int:
        return min(self.entries, vocab_size - 1)

    def _pack(self, law: Law) -> bytes:
        ids = largest(law, self._count(len(law)))
        levels = np.rint(law[ids] * _LEVELS).astype(np.uint8)
        shifts = np.arange(_index_bits(len(law)))
        return levels.tobytes() + np.packbits((ids[:, None] >> shifts) & 1).tobytes()

    def _unpack(self, data: bytes, vocab_size: int) -> Law:
        count, width = self._count(vocab_size), _index_bits(vocab_size)
        bits = np.unpackbits(np.frombuffer(data[count:], dtype=np.uint8))
        ids = bits[: count * width].reshape(count, width).astype(np.int64) @ (1 << np.arange(width))
        if bits[count * width :].any() or len(np.unique(ids)) < count or ids.max() >= vocab_size:
            raise BrokenMessage(f"{count} indices below {vocab_size} must differ, got {ids}")
        shares = np.frombuffer(data[:count], dtype=np.uint8) / _LEVELS
        if shares.sum() > 1 + count / (2 * _LEVELS):
            raise BrokenMessage(f"the entries of a law must add up to 1, got {shares.sum()}")
        law = np.full(vocab_size, max(1 - shares.sum(), 0.0) / (vocab_size - count))
        law[ids] = shares
        return law / law.sum()


def _index_bits(vocab_size: int) -> int:
    return (vocab_size - 1).bit_length()
