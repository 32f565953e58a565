"""Whatever arrives, a message is read or called broken, and nothing is made of a lie."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covspec_core.blocks import Block, Sampler
from covspec_core.device import Device
from covspec_core.errors import BrokenMessage
from covspec_core.wire import HEADER, VERSION, Draft, LawMessage, Terms, Verdict, Wish
from tests.core.test_exactness import make_pair
from tests.core.test_wire import KINDS, SENT, every_message, kind_of, messages_of

MESSAGES = (Draft, Verdict, Wish, LawMessage)
CODES = {Draft: (1, 3), Verdict: (2,), Wish: (4,), LawMessage: (5,)}
ALL_CODES = [code for codes in CODES.values() for code in codes]
often = settings(max_examples=300, deadline=None)


def checksummed(code, first, second, body, number=0):
    """A message whose header says anything at all, with a right checksum."""
    fields = (VERSION, code, number, first, second)
    return HEADER.pack(*fields, zlib.crc32(HEADER.pack(*fields, 0) + body)) + body


def read_or_broken(data, terms):
    """What each kind of message makes of some bytes; anything but a refusal must be sound."""
    read = []
    for message in MESSAGES:
        try:
            read.append(message.decode(data, terms))
        except BrokenMessage:
            continue
    for message in read:
        assert_sound(message, terms)
    return read


def assert_sound(message, terms):
    """Ids of the vocabulary, probabilities, and nothing larger than what arrived."""
    if isinstance(message, Draft):
        ids = [*message.skipped, *message.block]
        floats = [] if message.q is None else [message.q]
    elif isinstance(message, Verdict):
        own = [] if message.token is None else [message.token]
        ids = own if message.top is None else message.top.ids.tolist()
        floats = [x for x in (message.p, message.top and message.top.p) if x is not None]
    else:
        ids, floats = [], [message.law] if isinstance(message, LawMessage) else []
    assert all(0 <= token < terms.vocab_size for token in ids)
    for values in floats:
        assert ((values >= 0) & (values <= 1)).all()


@often
@given(data=st.binary(max_size=120), kind=st.sampled_from(KINDS))
def test_random_bytes_are_broken(data, kind):
    assert not read_or_broken(data, Terms(kind, 7))


@often
@given(
    kind=st.sampled_from(KINDS),
    vocab_size=st.sampled_from([2, 3, 7]),
    code=st.sampled_from(ALL_CODES),
    first=st.integers(0, 4) | st.just(65_535),
    second=st.integers(0, 4) | st.just(65_535),
    body=st.binary(max_size=90),
)
def test_a_header_that_lies_about_its_body_is_read_or_broken_but_nothing_else(
    kind, vocab_size, code, first, second, body
):
    read_or_broken(checksummed(code, first, second, body), Terms(kind, vocab_size))


@often
@given(sent=st.sampled_from(SENT), data=st.data())
def test_a_changed_body_under_a_right_checksum_is_read_or_broken(sent, data):
    message, terms = sent
    whole = message.encode(terms)
    _, code, number, first, second, _ = HEADER.unpack_from(whole)
    body = bytearray(whole[HEADER.size :])
    for _ in range(data.draw(st.integers(1, 4))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    first, second = (n + data.draw(st.sampled_from([0, 0, 0, 1])) for n in (first, second))
    end = data.draw(st.sampled_from([len(body), len(body) // 2, len(body) - 1]))
    extra = data.draw(st.binary(max_size=8))
    read_or_broken(checksummed(code, first, second, bytes(body[:end]) + extra, number), terms)


@every_message
def test_every_truncated_or_lengthened_message_is_broken(message, terms):
    data, decode = message.encode(terms), type(message).decode
    for end in range(len(data)):
        with pytest.raises(BrokenMessage):
            decode(data[:end], terms)
    for extra in (b"\0", b"\0" * 4):
        with pytest.raises(BrokenMessage):
            decode(data + extra, terms)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.name} {k.format.name}")
def test_every_flipped_bit_is_noticed(kind):
    for message, terms in messages_of(kind, vocab_size=3)[::2]:
        data, unnoticed = message.encode(terms), []
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            try:
                type(message).decode(bytes(flipped), terms)
            except BrokenMessage:
                continue
            unnoticed.append(bit)
        assert not unnoticed, f"bits {unnoticed} of {message} can flip unnoticed"


@every_message
def test_another_version_and_another_kind_are_broken(message, terms):
    data = message.encode(terms)
    with pytest.raises(BrokenMessage, match="version"):
        type(message).decode(bytes([VERSION + 1]) + data[1:], terms)
    for other in MESSAGES:
        if other is not type(message):
            with pytest.raises(BrokenMessage, match="kind"):
                other.decode(data, terms)


@pytest.mark.parametrize("code", ALL_CODES)
@pytest.mark.parametrize("name", ["full", "decoupled", "lazy", "progressive", "full top_k"])
def test_huge_counts_cost_nothing(code, name):
    terms = Terms(kind_of(name), 151_674)
    data = checksummed(code, 65_535, 65_535, bytes(8_192))
    tracemalloc.start()
    assert not read_or_broken(data, terms)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A full message with these counts would take 40 GB.
    assert peak_bytes < 2**20


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def ids(*tokens):
    return struct.pack(f"<{len(tokens)}I", *tokens)


BAD = float("nan"), float("inf"), -0.1, 1.5


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    ("name", "message", "code", "counts", "body"),
    [
        ("decoupled", Draft, 1, (0, 1), lambda x: ids(1) + floats(x)),
        ("full", Draft, 1, (0, 1), lambda x: ids(1) + floats(x, 0.5, 0.5)),
        ("decoupled", Verdict, 2, (0, 0), lambda x: floats(x, 0.5, 0.5)),
        ("progressive", Verdict, 2, (0, 0), lambda x: ids(0, 1) + floats(x, 0.5)),
        ("progressive", LawMessage, 5, (0, 0), lambda x: floats(x)),
        ("lazy", LawMessage, 5, (0, 0), lambda x: floats(x, 0.5, 0.5)),
        ("lazy fp16", LawMessage, 5, (0, 0), lambda x: struct.pack("<3e", x, 0.5, 0.5)),
    ],
)
def test_what_is_no_probability_is_broken(name, message, code, counts, body, bad):
    terms = Terms(kind_of(name), 3)
    with pytest.raises(BrokenMessage, match="probabilities"):
        message.decode(checksummed(code, *counts, body(bad)), terms)
    sound = {"progressive": 0.3}.get(name, 0.0)
    message.decode(checksummed(code, *counts, body(sound)), terms)


@pytest.mark.parametrize(
    ("name", "message", "code", "counts", "body", "reason"),
    [
        ("coupled", Draft, 1, (1, 0), ids(3), "below 3"),
        ("coupled", Draft, 1, (0, 1), ids(2**32 - 1), "below 3"),
        ("coupled", Verdict, 2, (0, 1), ids(3), "below 3"),
        ("coupled", Verdict, 2, (0, 2), ids(1, 2), "at most one"),
        ("coupled", Verdict, 2, (0, 0), b"", "must hold a token"),
        ("coupled", Wish, 4, (0, 0), b"", "wish"),
        ("coupled", LawMessage, 5, (0, 0), b"", "no law"),
        ("progressive", Verdict, 2, (0, 0), ids(1, 1) + floats(0.5, 0.1), "different"),
        ("progressive", Verdict, 2, (0, 0), ids(1, 3) + floats(0.5, 0.1), "below 3"),
        ("progressive", Verdict, 2, (0, 0), ids(1, 2) + floats(0.9, 0.8), "add up"),
        ("progressive", Wish, 4, (1, 0), b"", "holds nothing"),
        ("decoupled", Verdict, 2, (0, 0), floats(0.2, 0.2, 0.2), "add up"),
        ("lazy", Verdict, 2, (0, 0), floats(0.2), "has 0 bytes"),
        ("lazy top_k", LawMessage, 5, (0, 0), bytes([200, 200, 0b10000000]), "add up"),
        ("lazy top_k", LawMessage, 5, (0, 0), bytes([200, 20, 0b00000000]), "differ"),
        ("lazy top_k", LawMessage, 5, (0, 0), bytes([200, 20, 0b00110000]), "differ"),
        ("lazy top_k", LawMessage, 5, (0, 0), bytes([200, 20, 0b00000001]), "differ"),
        ("coupled", Draft, 3, (0, 3), b"\x0f" + ids(0, 0, 0), "must end"),
        ("coupled", Draft, 3, (0, 9), b"\x0f", "cannot hold a mask"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_terms_is_broken(name, message, code, counts, body, reason):
    with pytest.raises(BrokenMessage, match=reason):
        message.decode(checksummed(code, *counts, body), Terms(kind_of(name), 3))


@pytest.mark.parametrize("verdict", [Verdict(1, 3, 0), Verdict(1, 2, None, np.ones(3) / 3)])
def test_a_verdict_on_more_tokens_than_were_drafted_is_broken(verdict):
    device = Device(make_pair().draft, kind_of("decoupled"))
    block = Block(Sampler(0, 1.0, False), tokens=[1, 2])
    with pytest.raises(BrokenMessage, match="block of 2"):
        device.resolve(block, verdict, 0)
