"""Formats of laws: what is read says what was written, as far as the format can."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.pair.formats import format_rows, protocol_rows, rest_share
from covspec_core.verification import overlap, residual, top_residual
from covspec_core.wire import FORMATS, LawFormat

SEEDS = range(6)


def laws_of(seed, rows=5, size=40, sharpness=0.2):
    return np.random.default_rng(seed).dirichlet(np.full(size, sharpness), size=rows)


def all_formats():
    return [LawFormat(name, 8 if name == "top_k" else 0) for name in FORMATS]


@pytest.mark.parametrize("kind", all_formats(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("size", [2, 9, 40, 300])
def test_what_is_read_is_a_law_of_the_promised_length(kind, size):
    laws = laws_of(size, size=size)
    data = kind.encode(laws)
    assert len(data) == len(laws) * kind.law_bytes(size)
    read = kind.decode(data, size)
    np.testing.assert_allclose(read.sum(-1), 1, atol=1e-12)
    assert (read >= 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_single_precision_keeps_a_law_and_half_loses_a_thousandth_of_an_entry(seed):
    laws = laws_of(seed)
    single, half = (kind.decode(kind.encode(laws), 40) for kind in all_formats()[:2])
    np.testing.assert_allclose(single, laws, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(half, laws, rtol=2e-3, atol=1e-7)
    assert (half != laws).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_largest_entries_stay_and_the_rest_is_spread_evenly(seed):
    law = laws_of(seed)[0]
    read = LawFormat("top_k", 8).rounded(law)
    order = np.argsort(-law, kind="stable")
    levels = np.rint(law[order[:8]] * 255) / 255
    rest = max(1 - levels.sum(), 0)
    expected = np.full(40, rest / 32)
    expected[order[:8]] = levels
    np.testing.assert_allclose(read, expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize("kind", all_formats(), ids=lambda kind: kind.name)
def test_a_law_of_one_token_survives_every_format(kind):
    for size in (2, 5, 40):
        for token in range(size):
            law = np.zeros(size)
            law[token] = 1.0
            np.testing.assert_array_equal(kind.rounded(law), law)


def test_an_even_law_of_many_tokens_survives_the_levels():
    law = np.full(1000, 1e-3)
    np.testing.assert_allclose(LawFormat("top_k", 600).rounded(law), law, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("fp8",), "law_format"), (("top_k", 0), "needs top"), (("fp16", 4), "has no top")],
)
def test_a_format_that_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(InvalidSetting, match=said):
        LawFormat(*arguments)


def test_the_measured_rows_are_those_of_a_plain_loop():
    laws = laws_of(0), laws_of(1)
    rows = {(row["format"], row["entries"]): row for row in format_rows(laws, [4, 39], 151_674)}
    assert list(rows) == [("fp32", 0), ("fp16", 0), ("top_k", 4), ("top_k", 39)]
    for (name, entries), row in rows.items():
        read = [LawFormat(name, entries).rounded(law) for law in laws[0]]
        apart = [1 - overlap(p, r) for p, r in zip(laws[0], read, strict=True)]
        assert row["target_tv_mean"] == pytest.approx(np.mean(apart), abs=1e-7)
        assert row["target_tv_max"] == pytest.approx(np.max(apart), abs=1e-7)
    assert rows["fp32", 0]["acceptance_lost"] == pytest.approx(0, abs=1e-7)
    assert rows["top_k", 4]["draft_tv_mean"] > rows["fp16", 0]["draft_tv_mean"] > 0


def test_the_rest_is_needed_in_the_measured_share_of_refusals():
    target, draft = laws_of(2), laws_of(3)
    # Refusals of a fresh draft, by the chance of each; their redraw needs the rest or not.
    refused = asked = 0.0
    for p, q in zip(target, draft, strict=True):
        chance = np.maximum(p - q, 0).sum()
        top = np.argsort(-p)[:4]
        inside = top_residual(p[top], q[top])[:-1].sum()
        assert inside <= residual(p, q)[top].sum() + 1e-12
        refused, asked = refused + chance, asked + chance * (1 - inside)
    assert rest_share((target, draft), 4) == pytest.approx(asked / refused)
    assert rest_share((target, draft), 40) == pytest.approx(0, abs=1e-12)
    rows = {row["protocol"]: row for row in protocol_rows((target, draft), [4], 1000)}
    assert rows["decoupled"]["refusal_bytes"] == 12 + 4000
    assert rows["lazy"]["refusal_bytes"] == 12 + 12 + 4000 + 16
    expected = 12 + 32 + asked / refused * (12 + 12 + 4 * 996)
    assert rows["progressive"]["refusal_bytes"] == pytest.approx(expected)
    assert [rows[n]["token_bytes"] for n in ("coupled", "decoupled", "full")] == [4, 8, 4004]
