"""The table of expected accepted runs, against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.forecast import (
    HORIZON,
    ORDER,
    PRIOR_COUNT,
    Forecast,
    expected_runs,
    fit_forecast,
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


def slow_forecast(tokens, overlap, lengths):
    """Corrections by context in plain dictionaries, and the forecast of a text."""
    rest = expected_runs(overlap, lengths)
    contexts = [
        tuple(answer[:t].tolist())
        for answer in np.split(tokens, np.cumsum(lengths)[:-1])
        for t in range(len(answer))
    ]
    tables = []
    for order in range(ORDER + 1):
        own = [tail(context, order) for context in contexts]
        table = {}
        for context in set(own):
            rows = [i for i, other in enumerate(own) if other == context]
            table[context] = rest[:, rows].sum(1) / (len(rows) + PRIOR_COUNT)
        rest = rest - np.stack([table[context] for context in own], axis=1)
        tables.append(table)

    def forecast(text):
        known = (tables[k].get(tail(tuple(text), k)) for k in range(ORDER + 1))
        return sum(correction for correction in known if correction is not None)

    return forecast


def tail(text, order):
    return (("start",) * order + text)[len(text) :] if order else ()


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_agrees_with_plain_dictionaries(seed):
    tokens, overlap, lengths = random_answers(seed)
    slow, fitted = slow_forecast(tokens, overlap, lengths), fit_forecast(tokens, overlap, lengths)
    rng = np.random.default_rng(seed)
    texts = [[], *(rng.integers(0, 7, size=rng.integers(1, 6)).tolist() for _ in range(30))]
    for text in texts:
        for level, expected in enumerate(slow(text)):
            assert fitted.after(level, text) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_positions_of_an_answer_and_texts_give_the_same_forecast(seed):
    tokens, overlap, lengths = random_answers(seed)
    fitted = fit_forecast(tokens, overlap, lengths)
    along = fitted.along(tokens, lengths)
    starts = np.cumsum(lengths) - lengths
    for start, length in zip(starts, lengths, strict=True):
        for t in range(length):
            text = tokens[start : start + t].tolist()
            for level in range(2):
                assert fitted.after(level, text) == along[level, start + t]


def test_rare_contexts_are_shrunk_more_than_common_ones():
    # Answers of two tokens: after 1 and 2 the draft is always right, after 0 never.
    first = np.repeat([1, 2, 0], [100, 1, 100])
    tokens = np.stack([first, np.full(201, 3)], 1).ravel()
    overlap = np.stack([np.zeros(201), first > 0], 1).reshape(1, -1)
    after = fit_forecast(tokens, overlap, np.full(201, 2))
    never, common, rare, unseen = (after.after(0, [token]) for token in (0, 1, 2, 4))
    assert never < unseen < rare < common
    assert common > 0.8


def test_an_empty_forecast_knows_nothing():
    assert Forecast.empty(2).after(1, [3, 4]) == 0
