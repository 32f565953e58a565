"""Messages on the air: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covspec_core.errors import BrokenMessage, InvalidSetting
from covspec_core.wire import (
    HEADER,
    PROTOCOLS,
    VERSION,
    Draft,
    Verdict,
    download_bytes,
    protocol,
    upload_bytes,
)

DECODERS = {Draft: Draft.decode, Verdict: Verdict.decode}
KINDS = {Draft: 1, Verdict: 2}
PAPER_VOCABULARY = 151_674
quick = settings(max_examples=100, deadline=None)

ids = st.integers(0, 2**32 - 1)
id_lists = st.lists(ids, max_size=12)
floats = st.floats(0, 1, width=32)


def draft_of(kind, skipped, drafted, vocab_size=7, seed=0, number=3):
    """A message as a device of this protocol sends it."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(vocab_size), size=drafted).astype(np.float32)
    block = rng.integers(0, vocab_size, drafted)
    if kind.scalars_up:
        q = q[np.arange(drafted), block]
    sends_q = (kind.scalars_up or kind.laws_up) and drafted
    return Draft(number, rng.integers(0, vocab_size, skipped), block, q if sends_q else None)


def verdict_of(kind, rejected, vocab_size=7, number=3):
    if rejected and kind.law_down:
        law = np.random.default_rng(number).dirichlet(np.ones(vocab_size)).astype(np.float32)
        return Verdict(number, 2, None, law)
    return Verdict(number, 2, 5)


def assert_same(one, other):
    for name in type(one).__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


SENT = [
    *(draft_of(kind, s, d) for kind in PROTOCOLS.values() for s in (0, 3) for d in (0, 1, 4)),
    *(verdict_of(kind, rejected) for kind in PROTOCOLS.values() for rejected in (False, True)),
]


@pytest.mark.parametrize("message", SENT, ids=lambda m: type(m).__name__)
def test_a_decoded_message_equals_the_one_sent(message):
    assert_same(DECODERS[type(message)](message.encode()), message)


@quick
@given(number=st.integers(0, 2**20), skipped=id_lists, block=id_lists, data=st.data())
def test_any_draft_survives_the_trip(number, skipped, block, data):
    shapes = [()] if not block else [(), (len(block),), (len(block), data.draw(st.integers(2, 5)))]
    shape = data.draw(st.sampled_from(shapes))
    count = int(np.prod(shape)) if shape else 0
    values = data.draw(st.lists(floats, min_size=count, max_size=count))
    q = np.array(values, dtype=np.float32).reshape(shape) if shape else None
    sent = Draft(number, np.array(skipped, dtype=np.int64), np.array(block, dtype=np.int64), q)
    got = Draft.decode(sent.encode())
    assert got.round == number % 65_536
    assert_same(got, Draft(got.round, sent.skipped, sent.block, q))


@quick
@given(accepted=st.integers(0, 65_535), answer=st.one_of(ids, st.lists(floats, min_size=1)))
def test_any_verdict_survives_the_trip(accepted, answer):
    law = np.array(answer, dtype=np.float32) if isinstance(answer, list) else None
    sent = Verdict(9, accepted, None if law is not None else answer, law)
    assert_same(Verdict.decode(sent.encode()), sent)


@pytest.mark.parametrize("kind", PROTOCOLS.values(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("vocab_size", [2, 7, 300])
def test_byte_counts_equal_the_length_of_real_messages(kind, vocab_size):
    skipped, drafted = (grid.ravel() for grid in np.meshgrid([0, 1, 2, 16], [0, 1, 2, 5, 10]))
    counted = upload_bytes(kind, skipped, drafted, vocab_size)
    real = [
        len(draft_of(kind, s, d, vocab_size).encode())
        for s, d in zip(skipped, drafted, strict=True)
    ]
    np.testing.assert_array_equal(counted, real)
    np.testing.assert_array_equal(
        download_bytes(kind, np.array([False, True]), vocab_size),
        [len(verdict_of(kind, rejected, vocab_size).encode()) for rejected in (False, True)],
    )


def test_numbers_and_arrays_are_counted_alike():
    for kind in PROTOCOLS.values():
        assert upload_bytes(kind, 2, 3, 7) == upload_bytes(kind, np.array([2]), np.array([3]), 7)[0]
        assert download_bytes(kind, True, 7) == download_bytes(kind, np.array([True]), 7)[0]


@pytest.mark.parametrize("message", SENT, ids=lambda m: type(m).__name__)
def test_every_truncated_or_lengthened_message_is_broken(message):
    data, decode = message.encode(), DECODERS[type(message)]
    for end in range(len(data)):
        with pytest.raises(BrokenMessage):
            decode(data[:end])
    for extra in (b"\0", b"\0" * 4):
        with pytest.raises(BrokenMessage):
            decode(data + extra)


@pytest.mark.parametrize("message", SENT, ids=lambda m: type(m).__name__)
def test_every_flipped_bit_is_noticed(message):
    data, decode = message.encode(), DECODERS[type(message)]
    unnoticed = []
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            decode(bytes(flipped))
        except BrokenMessage:
            continue
        unnoticed.append(bit)
    assert not unnoticed, f"bits {unnoticed} of {type(message).__name__} can flip unnoticed"


@pytest.mark.parametrize("message", [SENT[0], SENT[-1]], ids=lambda m: type(m).__name__)
def test_another_version_and_the_other_kind_are_broken(message):
    data, decode = message.encode(), DECODERS[type(message)]
    with pytest.raises(BrokenMessage, match="version"):
        decode(bytes([VERSION + 1]) + data[1:])
    other = next(decoder for decoder in DECODERS.values() if decoder is not decode)
    with pytest.raises(BrokenMessage, match="kind"):
        other(data)


@quick
@given(st.binary(max_size=80))
def test_random_bytes_are_broken(data):
    for decode in DECODERS.values():
        with pytest.raises(BrokenMessage):
            decode(data)


def checksummed(kind, first, second, body):
    """A message whose header says anything at all, with a right checksum."""
    fields = (VERSION, KINDS[kind], 0, first, second)
    whole = HEADER.pack(*fields, 0) + body
    for covered in (body, whole):  # whichever part the checksum covers
        yield HEADER.pack(*fields, zlib.crc32(covered)) + body


@quick
@given(
    kind=st.sampled_from([Draft, Verdict]),
    first=st.integers(0, 6) | st.just(65_535),
    second=st.integers(0, 6) | st.just(65_535),
    body=st.binary(max_size=60),
)
def test_a_header_that_lies_about_its_body_is_read_or_broken_but_nothing_else(
    kind, first, second, body
):
    for data in checksummed(kind, first, second, body):
        try:
            message = DECODERS[kind](data)
        except BrokenMessage:
            continue
        assert message.encode() == data


@pytest.mark.parametrize(
    ("first", "second", "n_floats"),
    [(0, 0, 1), (0, 2, 3), (1, 2, 1)],
)
def test_floats_that_belong_to_no_drafted_token_are_broken(first, second, n_floats):
    body = struct.pack(f"<{first + second}I{n_floats}f", *range(first + second), *[0.5] * n_floats)
    for data in checksummed(Draft, first, second, body):
        with pytest.raises(BrokenMessage):
            Draft.decode(data)


@pytest.mark.parametrize(("n_ids", "n_floats"), [(0, 0), (1, 2), (2, 0)])
def test_a_verdict_without_exactly_one_token_or_law_is_broken(n_ids, n_floats):
    body = struct.pack(f"<{n_ids}I{n_floats}f", *range(n_ids), *[0.5] * n_floats)
    for data in checksummed(Verdict, 1, n_ids, body):
        with pytest.raises(BrokenMessage):
            Verdict.decode(data)


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(InvalidSetting, match=r"coupled.*decoupled.*full.*'semaphore'"):
        protocol("semaphore")


def bytes_per_1024_tokens(kind, length, acceptance):
    """Expected bytes both ways when every token is accepted with one chance."""
    emitted = sum(acceptance**k for k in range(length + 1))
    rejected = 1 - acceptance**length
    down = download_bytes(kind, np.array([False, True]), PAPER_VOCABULARY)
    expected_down = (1 - rejected) * down[0] + rejected * down[1]
    up = upload_bytes(kind, 0, length, PAPER_VOCABULARY)
    return 1024 * (up + expected_down) / emitted


@pytest.mark.parametrize("length", range(1, 11))
@pytest.mark.parametrize("acceptance", [0.75, 0.83, 0.9, 0.97])
def test_coupled_needs_less_than_a_fiftieth_of_a_megabyte(length, acceptance):
    assert bytes_per_1024_tokens(protocol("coupled"), length, acceptance) < 0.02 * 2**20


@pytest.mark.parametrize("length", range(1, 11))
def test_coupled_needs_a_thousandth_of_the_decoupled_bytes(length):
    decoupled = bytes_per_1024_tokens(protocol("decoupled"), length, 0.9)
    assert decoupled > 1000 * bytes_per_1024_tokens(protocol("coupled"), length, 0.9)


def test_one_law_of_the_paper_is_606696_bytes():
    full, decoupled = protocol("full"), protocol("decoupled")
    header = HEADER.size
    assert upload_bytes(full, 0, 1, PAPER_VOCABULARY) - header == 606_696 + 4
    assert download_bytes(decoupled, True, PAPER_VOCABULARY) - header == 606_696
    assert download_bytes(full, True, PAPER_VOCABULARY) - header == 4
