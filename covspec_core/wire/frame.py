"""What all messages share: header, length limit, checksum, and checked ids and probabilities.

Little endian; a 12-byte header (version, kind, round, two counts, CRC-32 of all the rest). Lengths
are compared before anything is made of a body, so that a header that lies costs nothing.
"""

from __future__ import annotations

import struct
import zlib
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import BrokenMessage

VERSION = 2
HEADER = struct.Struct("<BBHHHI")
ID_BYTES, SCALAR_BYTES = 4, 4
ROUNDS = 65_536
MOST_BYTES = 2**26
"""Longest message that either side writes or reads: more than a hundred laws of 151,674 entries."""
MOST_COUNT = 65_535


class Frame(NamedTuple):
    """A message with its header read.

    Attributes:
        round: Number of the round, modulo 65,536.
        first: First count.
        second: Second count.
        body: Everything behind the header.
    """

    round: int
    first: int
    second: int
    body: bytes


def pack(kind: int, frame: Frame) -> bytes:
    """The message as it goes on the air.

    Raises:
        BrokenMessage: If it is too long, or a count does not fit into the header.
    """
    _check_length(HEADER.size + len(frame.body))
    if max(frame.first, frame.second) > MOST_COUNT:
        raise BrokenMessage(
            f"counts must be at most {MOST_COUNT}, got {frame.first} and {frame.second}"
        )
    head = (VERSION, kind, frame.round % ROUNDS, frame.first, frame.second)
    return HEADER.pack(*head, zlib.crc32(HEADER.pack(*head, 0) + frame.body)) + frame.body


def unpack(kinds: tuple[int, ...], data: bytes) -> tuple[int, Frame]:
    """Kind and content of a message.

    Raises:
        BrokenMessage: If the length, the version, the kind or the checksum is wrong.
    """
    _check_length(len(data))
    if len(data) < HEADER.size:
        raise BrokenMessage(f"a message has at least {HEADER.size} bytes, got {len(data)}")
    version, kind, number, first, second, checksum = HEADER.unpack_from(data)
    if version != VERSION or kind not in kinds:
        raise BrokenMessage(f"expected version {VERSION} kind {kinds}, got {version} and {kind}")
    body = data[HEADER.size :]
    found = zlib.crc32(HEADER.pack(version, kind, number, first, second, 0) + body)
    if found != checksum:
        raise BrokenMessage(f"a message must match its checksum {checksum}, got {found}")
    return kind, Frame(number, first, second, body)


def split(body: bytes, *sizes: int) -> list[bytes]:
    """A body in parts.

    Raises:
        BrokenMessage: If it is shorter or longer than all of them together.
    """
    if len(body) != sum(sizes):
        raise BrokenMessage(f"a body of these counts has {sum(sizes)} bytes, got {len(body)}")
    ends = accumulate(sizes, initial=0)
    return [body[start:end] for start, end in pairwise(ends)]


def id_bytes(ids: NDArray[np.int64]) -> bytes:
    """Token ids as they travel."""
    return ids.astype("<u4").tobytes()


def read_ids(data: bytes, vocab_size: int) -> NDArray[np.int64]:
    """Token ids.

    Raises:
        BrokenMessage: If one is outside the vocabulary.
    """
    ids = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if (ids >= vocab_size).any():
        raise BrokenMessage(f"ids must be below {vocab_size}, got {ids.max()}")
    return ids


def probabilities(data: bytes, dtype: str = "<f4") -> NDArray[np.float64]:
    """Floats that can be probabilities.

    Raises:
        BrokenMessage: If one is no number in [0, 1].
    """
    values = np.frombuffer(data, dtype=dtype).astype(np.float64)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise BrokenMessage(f"probabilities must be numbers in [0, 1], got {values[wrong][0]}")
    return values


def _check_length(n_bytes: int) -> None:
    if n_bytes > MOST_BYTES:
        raise BrokenMessage(f"a message must have at most {MOST_BYTES} bytes, got {n_bytes}")
