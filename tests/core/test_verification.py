"""Keeping and redrawing tokens, checked against the laws themselves."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from covspec_core.errors import InvalidRequest
from covspec_core.randomness import gumbel, uniform
from covspec_core.verification import (
    accept_probability,
    draw,
    entropy,
    law,
    margin,
    overlap,
    rank,
    residual,
    scores,
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
