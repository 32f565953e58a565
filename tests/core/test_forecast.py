"""The table of expected accepted runs, against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.forecast import (
    HORIZON,
    PRIOR_COUNT,
    expected_runs,
    fit_forecast,
    previous_tokens,
)


def random_answers(seed: int, levels: int = 2, vocab_size: int = 5):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 15, size=6)
    n = int(lengths.sum())
    overlap = rng.random((levels, n)).astype(np.float16)
    return rng.integers(0, vocab_size, n), overlap, lengths


@pytest.mark.parametrize("seed", range(10))
def test_expected_runs_agree_with_a_plain_loop(seed):
    _, overlap, lengths = random_answers(seed)
    slow = np.zeros(overlap.shape)
    for level, row in enumerate(overlap.astype(float)):
        for end, length in zip(np.cumsum(lengths), lengths, strict=True):
            for t in range(end - length, end):
                chance = 1.0
                for k in range(t, min(t + HORIZON, end)):
                    chance *= row[k]
                    slow[level, t] += chance
    np.testing.assert_allclose(expected_runs(overlap, lengths), slow, rtol=1e-12)


def test_runs_end_with_the_answer():
    lengths = np.array([3, HORIZON + 4, 1])
    runs = expected_runs(np.ones((1, int(lengths.sum()))), lengths)[0]
    np.testing.assert_array_equal(runs[:3], [3, 2, 1])
    np.testing.assert_array_equal(runs[3:8], HORIZON)
    np.testing.assert_array_equal(runs[8:-1], np.arange(HORIZON - 1, 0, -1))
    assert runs[-1] == 1


def test_what_comes_before_an_answer_is_a_token_of_its_own():
    tokens, lengths = np.array([4, 1, 2, 3, 3, 0]), np.array([2, 1, 3])
    np.testing.assert_array_equal(previous_tokens(tokens, lengths, 9), [9, 4, 9, 9, 3, 3])


@pytest.mark.parametrize("seed", range(5))
def test_the_table_is_the_mean_run_shrunk_towards_the_overall_mean(seed):
    tokens, overlap, lengths = random_answers(seed)
    runs = expected_runs(overlap, lengths)
    table = fit_forecast(tokens, overlap, lengths, 5)
    assert table.shape == (2, 6)
    before = []
    for answer in np.split(tokens, np.cumsum(lengths)[:-1]):
        before += [5, *answer[:-1]]
    for level in range(2):
        mean = float(np.mean(runs[level]))
        for token in range(6):
            own = [run for run, last in zip(runs[level], before, strict=True) if last == token]
            shrunk = (sum(own) + PRIOR_COUNT * mean) / (len(own) + PRIOR_COUNT)
            assert table[level, token] == pytest.approx(shrunk, rel=1e-3)


def test_rare_tokens_are_shrunk_more_than_common_ones():
    # Answers of two tokens: after 1 and 2 the draft is always right, after 0 never.
    first = np.repeat([1, 2, 0], [100, 1, 100])
    tokens = np.stack([first, np.full(201, 3)], 1).ravel()
    overlap = np.stack([np.zeros(201), first > 0], 1).reshape(1, -1)
    table = fit_forecast(tokens, overlap, np.full(201, 2), 5)[0].astype(float)
    mean = 101 / 402
    assert 0 < table[0] < mean < table[2] < table[1] < 1
    assert abs(table[2] - mean) < 0.05
    assert table[4] == pytest.approx(mean, rel=1e-3)  # never seen


def test_a_token_seen_as_often_as_the_prior_counts_half():
    n = int(PRIOR_COUNT)
    tokens = np.tile([1, 2], n)
    overlap = np.tile([0.0, 1.0], n)[None]
    runs = expected_runs(overlap, np.array([2 * n]))[0]
    table = fit_forecast(tokens, overlap, np.array([2 * n]), 3)[0].astype(float)
    own = runs[1::2].mean()  # what follows token 1
    assert table[1] == pytest.approx((own + runs.mean()) / 2, rel=1e-3)
