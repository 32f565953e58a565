"""The acceptance head: what it is taught, that it learns it, and that it is read back whole."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from covspec_core.acceptance import (
    GRID,
    TOKEN_EXTRAS,
    Layers,
    features_of,
    load_head,
    standing,
    token_features,
)
from covspec_core.errors import InvalidSetting
from covspec_core.head_fit import Course, Examples, fit_head
from covspec_core.rounds import CHANCES
from tests.core.conftest import make_pair, toy_head


def test_labels_are_products_of_the_next_acceptances_and_end_with_the_answer():
    rng = np.random.default_rng(0)
    lengths = np.array([1, 7, 20, 3])
    overlap = rng.random(lengths.sum())
    labels = standing(overlap, lengths)
    start = 0
    for length in lengths:
        for t in range(length):
            for column, n in enumerate(CHANCES):
                inside = overlap[start + t : start + min(t + n, length)]
                expected = np.prod(inside) if t + n <= length else 0.0
                assert labels[start + t, column] == pytest.approx(expected, abs=1e-6)
        start += length


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def examples(n, rng):
    """Hidden states that tell how many tokens stand, and tokens that tell whether they do."""
    hidden, noise = rng.normal(size=(n, 6)).astype(np.float32), np.zeros(n)
    each = sigmoid(2 * hidden[:, :1] + 1)
    fresh, emitted = rng.normal(size=(2, n, TOKEN_EXTRAS))
    columns = (
        features_of(hidden, noise, noise, 0.5),
        each ** np.array(CHANCES),
        fresh,
        sigmoid(3 * fresh[:, 0] + hidden[:, 1]),
        emitted,
        (emitted[:, 1] > 0).astype(float),
        # Behind a token that did not come from the draft another draft goes on.
        np.where(emitted[:, 1] > 0, sigmoid(2 * emitted[:, 0]), 0.0),
    )
    return Examples(*(column.astype(np.float32) for column in columns))


@pytest.fixture(scope="module")
def fitted():
    return fit_head(examples(20_000, np.random.default_rng(0)), Course(epochs=15))


def test_a_fitted_head_knows_chances_that_the_hidden_state_tells(fitted):
    known = examples(2_000, np.random.default_rng(7))
    said = fitted.chances(known.features) / GRID
    assert np.abs(said - known.standing).mean() < 0.03
    assert (np.diff(said, axis=1) <= 0).all()


def test_it_knows_of_a_drawn_token_whether_it_stands_and_what_follows_where_it_does(fitted):
    known = examples(2_000, np.random.default_rng(8))
    stands = fitted.of_drawn(known.features, known.fresh)[:, 0] / GRID
    assert np.abs(stands - known.stands).mean() < 0.03
    came = known.came > 0
    follows = fitted.of_drawn(known.features, known.emitted)[came, 1] / GRID
    assert np.abs(follows - known.follows[came]).mean() < 0.03


def test_it_beats_the_mean_by_a_proper_score_where_outcomes_are_drawn():
    rng = np.random.default_rng(1)
    known = examples(20_000, rng)
    drawn = (rng.random((len(known.standing), 1)) < known.standing).astype(np.float32)
    head = fit_head(known._replace(standing=drawn), Course(epochs=15))
    known = examples(5_000, rng)
    drawn = rng.random((len(known.standing), 1)) < known.standing
    brier = ((head.chances(known.features) / GRID - drawn) ** 2).mean(0)
    assert (brier < 0.9 * drawn.mean(0) * (1 - drawn.mean(0))).all()


def test_token_features_are_logarithms_that_bear_zero():
    law = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.8, 0.1, 0.0]])
    found = token_features(law, np.array([0, 0]))
    np.testing.assert_allclose(found, np.log([[0.5, 1.0], [0.1, 0.125]]), rtol=1e-6)
    assert np.isfinite(token_features(law, np.array([3, 3]))).all()


def test_a_saved_head_says_the_same(tmp_path):
    head, rng = toy_head(6), np.random.default_rng(0)
    features = rng.normal(size=(50, 9)).astype(np.float32)
    token = rng.normal(size=(50, TOKEN_EXTRAS)).astype(np.float32)
    head.save(tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(loaded.chances(features), head.chances(features))
    np.testing.assert_array_equal(loaded.of_drawn(features, token), head.of_drawn(features, token))


@pytest.mark.parametrize("content", [None, b"", b"no head at all, whatever it says"])
def test_a_missing_or_broken_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"no acceptance head loads from .*head\.safetensors"):
        load_head(path)


def test_a_head_that_knows_no_drawn_tokens_is_refused_by_what_it_lacks(tmp_path):
    path = tmp_path / "head.safetensors"
    save_file({f"ahead.{f.name}": getattr(toy_head(6).ahead, f.name) for f in fields(Layers)}, path)
    with pytest.raises(InvalidSetting, match=r"it lacks 'drawn\.mean'; fit it anew"):
        load_head(path)


def test_a_head_of_another_draft_is_refused():
    pair = make_pair()
    with pytest.raises(InvalidSetting, match="must read 6 hidden entries, got 7"):
        replace(pair, head=toy_head(7))


def test_layers_that_do_not_fit_are_refused():
    head = toy_head(6)
    with pytest.raises(InvalidSetting, match=r"weight_out of shape \(4, 8\), got \(3, 8\)"):
        replace(head.ahead, weight_out=head.ahead.weight_out[:-1])
    with pytest.raises(InvalidSetting, match="features more for drawn tokens"):
        replace(head, drawn=head.ahead)
