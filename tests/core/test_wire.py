"""Messages on the air: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covspec_core.errors import BrokenMessage, InvalidSetting
from covspec_core.wire import (
    FORMATS,
    HEADER,
    MOST_BYTES,
    PROTOCOLS,
    Draft,
    LawMessage,
    Terms,
    Top,
    Verdict,
    Wish,
    again_bytes,
    download_bytes,
    protocol,
    upload_bytes,
)
from covspec_core.wire.sizes import asks_again
from tests.core.conftest import kind_of

KINDS = [
    *(kind_of(name) for name in PROTOCOLS),
    *(kind_of(f"{name} {form}") for name in ("full", "decoupled", "lazy") for form in FORMATS[1:]),
]
PAPER_VOCABULARY = 151_674
quick = settings(max_examples=100, deadline=None)
label = pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.name} {k.format.name}")


def laws_of(rng, rows, terms):
    """Laws that survive their format: what is read of them says the same once more."""
    return rng.dirichlet(np.ones(terms.vocab_size), size=rows)


def draft_of(terms, skipped, drafted, seed=0, number=3, judged=None):
    """A message as a device of this protocol sends it."""
    rng = np.random.default_rng(seed)
    rows = drafted if judged is None else int(judged.sum())
    q = laws_of(rng, rows, terms)
    block = rng.integers(0, terms.vocab_size, drafted)
    if terms.kind.scalars_up:
        q = q[:, 0].astype(np.float32).astype(float)
    sends_q = (terms.kind.scalars_up or terms.kind.laws_up) and rows
    skipped_ids = rng.integers(0, terms.vocab_size, skipped)
    return Draft(number, skipped_ids, block, q if sends_q else None, judged)


def refusal_of(terms, number=3):
    """A verdict that refuses a token."""
    law = laws_of(np.random.default_rng(number), 1, terms)[0].astype(np.float32).astype(float)
    if terms.kind.top:
        ids = np.argsort(-law)[: terms.top]
        return Verdict(number, 2, None, top=Top(ids, law[ids]))
    if terms.kind.law_down:
        return Verdict(number, 2, None, law)
    return Verdict(number, 2, None if terms.kind.law_asked else 4)


def again_of(terms, number=3):
    """The messages of a second exchange, up and down, if the protocol has one."""
    law = laws_of(np.random.default_rng(number), 1, terms)[0].astype(np.float32).astype(float)
    if terms.kind.law_asked:
        return LawMessage(number, law), Verdict(number, 2, 4)
    if terms.kind.top:
        return Wish(number), LawMessage(number, law[terms.top :])
    return ()


def messages_of(kind, vocab_size=7):
    """One message of every sort that a protocol knows, with its terms."""
    terms = Terms(kind, vocab_size)
    drafts = [draft_of(terms, s, d) for s in (0, 3) for d in (0, 1, 4)]
    gated = draft_of(terms, 1, 9, judged=np.arange(9) % 3 == 0)
    verdicts = [Verdict(3, 2, 5), refusal_of(terms)]
    return [(m, terms) for m in (*drafts, gated, *verdicts, *again_of(terms))]


SENT = [pair for kind in KINDS for pair in messages_of(kind)]
every_message = pytest.mark.parametrize(
    ("message", "terms"), SENT,
    ids=[f"{type(m).__name__}-{t.kind.name}-{t.kind.format.name}" for m, t in SENT],
)  # fmt: skip


def read(message, terms):
    return type(message).decode(message.encode(terms), terms)


def assert_same(one, other, atol=1e-7):
    """Equal; what was rounded on its way, up to that."""
    for name in type(one).__dataclass_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, Top):
            assert_same(mine, theirs)
        elif isinstance(mine, np.ndarray) and mine.dtype == np.float64:
            np.testing.assert_allclose(mine, theirs, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


@every_message
def test_a_decoded_message_equals_the_one_sent(message, terms):
    # A law in half precision is off by 2**-11 of an entry, one of two entries by all the others.
    loss = {"fp32": 1e-7, "fp16": 1e-3, "top_k": 0.5}[terms.kind.format.name]
    assert_same(read(message, terms), message, loss)


@quick
@given(
    number=st.integers(0, 2**20),
    skipped=st.lists(st.integers(0, 299), max_size=12),
    block=st.lists(st.integers(0, 299), max_size=12),
    name=st.sampled_from(["coupled", "decoupled", "full"]),
    data=st.data(),
)
def test_any_draft_survives_the_trip(number, skipped, block, name, data):
    terms = Terms(kind_of(name), 300)
    judged = None
    if data.draw(st.booleans()):
        judged = np.array(data.draw(st.lists(st.booleans(), min_size=len(block))), dtype=bool)
        judged = judged[: len(block)]
    rows = len(block) if judged is None else int(judged.sum())
    rng = np.random.default_rng(number)
    q = None
    if rows and name != "coupled":
        q = laws_of(rng, rows, terms) if name == "full" else rng.random(rows)
    ids = [np.array(tokens, dtype=np.int64) for tokens in (skipped, block)]
    got = read(Draft(number, *ids, q, judged), terms)
    assert_same(got, Draft(number % 65_536, *ids, q, judged))


@label
@pytest.mark.parametrize("vocab_size", [3, 7, 300])
def test_byte_counts_equal_the_length_of_real_messages(kind, vocab_size):
    terms = Terms(kind, vocab_size)
    skipped, drafted = (grid.ravel() for grid in np.meshgrid([0, 1, 2, 16], [0, 1, 2, 5, 10]))
    counted = upload_bytes(kind, skipped, drafted, vocab_size)
    counts = list(zip(skipped, drafted, strict=True))
    real = [len(draft_of(terms, s, d).encode(terms)) for s, d in counts]
    np.testing.assert_array_equal(counted, real)
    verdicts = Verdict(3, 2, 2), refusal_of(terms)
    np.testing.assert_array_equal(
        download_bytes(kind, np.array([False, True]), vocab_size),
        [len(verdict.encode(terms)) for verdict in verdicts],
    )
    second = [len(message.encode(terms)) for message in again_of(terms)]
    assert list(again_bytes(kind, vocab_size)) == (second or [0, 0])
    if kind.law_asked:
        return
    judged = np.arange(10) % 4 == 1
    gated = draft_of(terms, 2, 10, judged=judged)
    assert upload_bytes(kind, 2, 10, vocab_size, 3) == len(gated.encode(terms))


@label
def test_a_second_exchange_follows_where_the_first_verdict_leaves_the_token_open(kind):
    rejected, tail = np.array([False, True, True]), np.array([False, False, True])
    expected = {"lazy": [False, True, True], "progressive": [False, False, True]}
    asked = asks_again(rejected, tail, kind.law_asked, kind.top > 0)
    np.testing.assert_array_equal(asked, expected.get(kind.name, [False] * 3))


@label
def test_numbers_and_arrays_are_counted_alike(kind):
    assert upload_bytes(kind, 2, 3, 7) == upload_bytes(kind, np.array([2]), np.array([3]), 7)[0]
    assert download_bytes(kind, True, 7) == download_bytes(kind, np.array([True]), 7)[0]


def test_a_message_of_more_bytes_than_allowed_is_neither_written_nor_read():
    terms = Terms(protocol("full"), 2**18)
    laws = np.broadcast_to(np.full(2**18, 2.0**-18), (64, 2**18))  # 64 MiB of entries
    message = Draft(1, np.arange(0), np.arange(64), laws)
    with pytest.raises(BrokenMessage, match="at most"):
        message.encode(terms)
    for decode in (Draft.decode, Verdict.decode, Wish.decode, LawMessage.decode):
        with pytest.raises(BrokenMessage, match="at most"):
            decode(bytes(MOST_BYTES + 1), terms)


def test_counts_beyond_the_header_are_not_written():
    terms = Terms(protocol("coupled"), 10)
    with pytest.raises(BrokenMessage, match="65535"):
        Draft(1, np.zeros(65_536, dtype=np.int64), np.arange(0)).encode(terms)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("semaphore",), r"coupled.*decoupled.*full.*lazy.*progressive.*'semaphore'"),
        (("full", "fp8"), r"law_format.*fp32.*fp16.*top_k.*'fp8'"),
        (("full", "top_k"), "top"),
        (("full", "fp32", 8), "top"),
        (("lazy", "top_k", 0), "top must be >= 1, got 0"),
        (("progressive", "fp16"), "fp32"),
        (("coupled", "fp16"), "fp32"),
        (("coupled", "fp32", 4), "top"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(arguments, reason):
    with pytest.raises(InvalidSetting, match=reason):
        protocol(*arguments)


def test_only_a_rounded_law_on_its_way_down_loses_anything():
    lossy = {(kind.name, kind.format.name) for kind in KINDS if not kind.lossless}
    assert lossy == {("decoupled", "fp16"), ("decoupled", "top_k")}


def test_cu_hlms_law_has_its_papers_bits():
    # 30 entries of 8 + 15 bits in a vocabulary of 32,000: 86.25 bytes.
    kind = protocol("full", "top_k", 30)
    assert kind.format.law_bytes(32_000) == 87
    assert kind.format.law_bytes(151_674) == 98


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
