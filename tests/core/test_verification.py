"""Keeping and redrawing tokens, checked against the laws themselves."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from covspec_core.errors import InvalidRequest, InvalidSetting
from covspec_core.randomness import gumbel, uniform
from covspec_core.verification import (
    Truncation,
    accept_probability,
    draw,
    entropy,
    largest,
    law,
    margin,
    overlap,
    rank,
    residual,
    rest_residual,
    scores,
    settled,
    top_residual,
)

SEEDS = range(20)


def two_laws(seed: int, size: int = 6):
    """A target and a draft; every third pair has zeros in both."""
    rng = np.random.default_rng(seed)
    laws = rng.dirichlet(np.full(size, 0.7), size=2)
    if seed % 3 == 0:
        laws *= rng.random((2, size)) < 0.7
        laws[:, 0] += 1e-3
        laws /= laws.sum(-1, keepdims=True)
    return laws


@pytest.mark.parametrize("seed", SEEDS)
def test_kept_plus_redrawn_mass_equals_the_target(seed):
    target, draft = two_laws(seed)
    kept = draft * accept_probability(target, draft)
    redrawn = (1 - kept.sum()) * residual(target, draft)
    np.testing.assert_allclose(kept + redrawn, target, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_chance_to_keep_a_fresh_draft_is_the_overlap(seed):
    target, draft = two_laws(seed)
    kept = (draft * accept_probability(target, draft)).sum()
    slow = sum(min(p, q) for p, q in zip(target, draft, strict=True))
    assert overlap(target, draft) == pytest.approx(slow, abs=1e-12)
    assert overlap(target, draft) == pytest.approx(kept, abs=1e-12)
    assert overlap(target, draft) == pytest.approx(1 - abs(target - draft).sum() / 2, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_draft_equal_to_its_target_is_always_kept(seed):
    target, _ = two_laws(seed)
    np.testing.assert_array_equal(accept_probability(target, target.copy()), 1.0)
    np.testing.assert_array_equal(residual(target, target.copy()), target)


def test_a_draft_apart_from_its_target_is_never_kept():
    target, draft = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.3, 0.7])
    assert not (draft * accept_probability(target, draft)).any()
    np.testing.assert_array_equal(residual(target, draft), target)
    assert overlap(target, draft) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_refused_is_never_redrawn(seed):
    target, draft = two_laws(seed)
    again = residual(target, draft)
    assert again.sum() == pytest.approx(1)
    assert not again[target <= draft].any()


def test_stacked_laws_are_treated_one_by_one():
    targets, drafts = np.stack([two_laws(seed) for seed in SEEDS], axis=1)
    for function in (accept_probability, residual, overlap):
        rows = [function(p, q) for p, q in zip(targets, drafts, strict=True)]
        np.testing.assert_allclose(function(targets, drafts), rows, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_law_is_the_softmax_of_its_logits(temperature):
    logits = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(np.float32)
    for row, got in zip(logits, law(logits, temperature), strict=True):
        weights = [math.exp(float(x) / temperature) for x in row]
        np.testing.assert_allclose(got, [w / sum(weights) for w in weights], rtol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 1e-3])
def test_a_law_bears_huge_logits(temperature):
    logits = np.array([3e38, 1e38, -3e38], dtype=np.float32)
    np.testing.assert_array_equal(law(logits, temperature), [1, 0, 0])


def test_a_law_bears_tiny_temperatures():
    logits = np.array([30.0, 10.0, -30.0], dtype=np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(law(logits, 1e-308), [1, 0, 0])


def test_temperature_zero_puts_all_mass_on_the_first_largest_logit():
    logits = np.array([[0.0, 2.0, 2.0], [5.0, 4.0, 5.0]], dtype=np.float32)
    np.testing.assert_array_equal(law(logits, 0), [[0, 1, 0], [1, 0, 0]])


def test_temperature_zero_needs_no_table_of_the_vocabulary_squared():
    logits = np.zeros((2, 2000), dtype=np.float32)
    tracemalloc.start()
    law(logits, 0)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10 * logits.size * 8  # a law has 8 bytes an entry


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error(bad, temperature):
    with pytest.raises(InvalidRequest, match="finite"):
        law(np.array([0.0, bad, 1.0], dtype=np.float32), temperature)


@pytest.mark.parametrize("temperature", [-0.1, -np.inf, np.nan])
def test_a_temperature_below_zero_or_no_number_is_an_error(temperature):
    with pytest.raises(InvalidRequest, match="temperature"):
        law(np.zeros(3, dtype=np.float32), temperature)


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_entropy_and_rank_agree_with_plain_loops(seed):
    rng = np.random.default_rng(seed)
    values = np.round(two_laws(seed, size=7)[0], 1 if seed % 2 else 12)  # ties in every second
    ordered = sorted(values, reverse=True)
    assert margin(values) == pytest.approx(ordered[0] - ordered[1])
    assert entropy(values) == pytest.approx(-sum(q * math.log(q) for q in values if q > 0))
    order = sorted(range(7), key=lambda token: (-values[token], token))
    assert [rank(values, token) for token in order] == list(range(7))
    stacked = rng.dirichlet(np.ones(5), size=3)
    np.testing.assert_allclose(margin(stacked), [margin(row) for row in stacked])
    np.testing.assert_allclose(entropy(stacked), [entropy(row) for row in stacked])


def test_the_entropy_of_certainty_is_zero_and_of_ignorance_the_logarithm():
    assert entropy(np.array([0.0, 1.0, 0.0])) == 0
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(math.log(8))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_draw_is_the_token_whose_share_of_the_unit_interval_holds_the_number(seed):
    law_, _ = two_laws(seed)
    borders = np.concatenate([[0.0], np.cumsum(law_)])
    for token in np.flatnonzero(law_):
        low, high = borders[token], borders[token + 1]
        for share in (1e-6, 0.5, 1 - 1e-6):
            assert draw(law_, low + share * (high - low)) == token


def test_the_extreme_numbers_still_draw_a_possible_token():
    laws = np.random.default_rng(0).dirichlet(np.full(50, 0.1), size=200)
    laws[:, [0, -1]] = 0
    for law_ in laws:
        for u in (0.0, 1 - 2.0**-53):
            assert law_[draw(law_, u)] > 0


@pytest.mark.parametrize("way", ["gumbel", "inverse"])
def test_draws_follow_the_law(way):
    law_ = np.array([0.05, 0.0, 0.45, 0.2, 0.3])
    n = 20_000
    if way == "gumbel":
        drawn = scores(law_, np.stack([gumbel(4, t, law_.size) for t in range(n)])).argmax(-1)
    else:
        drawn = np.array([draw(law_, u) for u in uniform(4, np.arange(n), 2)])
    counts = np.bincount(drawn, minlength=law_.size)
    assert counts[1] == 0
    possible = law_ > 0
    assert stats.chisquare(counts[possible], n * law_[possible]).pvalue > 1e-4


def test_shared_noise_makes_equal_laws_draw_equal_tokens_and_close_laws_mostly():
    target, draft = np.array([0.5, 0.3, 0.2]), np.array([0.45, 0.35, 0.2])
    noise = np.stack([gumbel(4, t, 3) for t in range(4000)])
    same = scores(target, noise).argmax(-1) == scores(draft, noise).argmax(-1)
    # Daliri et al., theorem 3: at least (1 - tv) / (1 + tv), here 0.95 / 1.05 = 0.905.
    assert same.mean() > 0.89
    assert not same.all()


def redraw_by_rejection(target, draft, rows, tries=4000):
    """Law of the first draw from the target that is kept or not among ``rows``; a plain sum."""
    keep = np.where(target > 0, np.maximum(0, 1 - draft / np.maximum(target, 1e-300)), 0.0)
    law_, unknown, going = np.zeros(len(target)), 0.0, 1.0
    for _ in range(tries):
        again = 0.0
        for token, p in enumerate(target):
            if token not in rows:
                unknown += going * p
            else:
                law_[token] += going * p * keep[token]
                again += p * (1 - keep[token])
        going *= again
    return law_, unknown


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_the_largest_entries_decide_as_drawing_until_one_is_kept_does(seed, count):
    target, draft = two_laws(seed)
    top = largest(target, count)
    law_, unknown = redraw_by_rejection(target, draft, top)
    got = top_residual(target[top], draft[top])
    np.testing.assert_allclose(got[:-1], law_[top], atol=1e-9)
    assert got[-1] == pytest.approx(unknown, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_largest_entries_and_rest_together_redraw_the_residual(seed, count):
    target, draft = two_laws(seed)
    top = largest(target, count)
    first, rest = top_residual(target[top], draft[top]), rest_residual(target, draft, top)
    together = first[-1] * rest
    together[top] += first[:-1]
    assert rest.sum() == pytest.approx(1)
    np.testing.assert_allclose(together, residual(target, draft), atol=1e-12)
    for token in np.flatnonzero(together > 1e-12):
        at_once = first[list(top).index(token)] if token in top else 0.0
        expected = at_once / together[token]
        assert settled(target, draft, top, token) == pytest.approx(expected, abs=1e-9)


def test_largest_entries_that_hold_everything_need_no_rest():
    target, draft = np.array([0.0, 0.6, 0.4, 0.0]), np.array([0.5, 0.3, 0.1, 0.1])
    top = largest(target, 2)
    assert top.tolist() == [1, 2]
    assert top_residual(target[top], draft[top])[-1] == 0
    assert settled(target, draft, top, 1) == 1


def test_the_largest_come_in_order_and_equals_by_index():
    assert largest(np.array([0.2, 0.3, 0.2, 0.3]), 3).tolist() == [1, 3, 0]
    stacked = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert largest(stacked, 1).tolist() == [[1], [0]]


def truncated_slowly(law_, top_k, top_p):
    """Plain loops: sort, cut, cut again, divide."""
    order = sorted(range(len(law_)), key=lambda token: (-law_[token], token))
    kept = order[:top_k]
    mass, reached, chosen = sum(law_[t] for t in kept), 0.0, []
    for token in kept:
        if top_p is None or reached < top_p * mass or top_p == 1:
            chosen.append(token)
        reached += law_[token]
    total = sum(law_[t] for t in chosen)
    return [law_[t] / total if t in chosen else 0.0 for t in range(len(law_))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top_k", [None, 1, 3, 9])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9, 1.0])
def test_a_truncated_law_agrees_with_plain_loops(seed, top_k, top_p):
    # Ties in every second law.
    laws = np.stack([np.round(two_laws(seed + i)[0], 1 if i else 12) + 1e-3 for i in range(2)])
    laws /= laws.sum(-1, keepdims=True)
    got = Truncation(top_k, top_p).apply(laws)
    np.testing.assert_allclose(got, [truncated_slowly(row, top_k, top_p) for row in laws])
    logits = np.log(laws).astype(np.float32)
    expected = Truncation(top_k, top_p).apply(law(logits, 0.8))
    np.testing.assert_array_equal(law(logits, 0.8, Truncation(top_k, top_p)), expected)


def test_greedy_laws_know_no_truncation():
    logits = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    np.testing.assert_array_equal(law(logits, 0, Truncation(2, 0.5)), [0, 1, 0])


@pytest.mark.parametrize("arguments", [(0, None), (-1, None), (None, 0.0), (None, 1.1)])
def test_a_truncation_that_leaves_nothing_or_more_than_all_is_refused(arguments):
    with pytest.raises(InvalidSetting, match="top_"):
        Truncation(*arguments)
