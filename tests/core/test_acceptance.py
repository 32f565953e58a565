"""The acceptance head: what it is taught, that it learns it, and that it is read back whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.acceptance import GRID, features_of, fit_head, load_head, standing
from covspec_core.errors import InvalidSetting
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


def examples(n, rng):
    """Hidden states that tell how many tokens stand."""
    hidden = rng.normal(size=(n, 6)).astype(np.float32)
    each = 1 / (1 + np.exp(-2 * hidden[:, :1] - 1))
    noise = np.zeros(n)
    return features_of(hidden, noise, noise, 0.5), (each ** np.array(CHANCES)).astype(np.float32)


def test_a_fitted_head_knows_chances_that_the_hidden_state_tells():
    rng = np.random.default_rng(0)
    head = fit_head(*examples(20_000, rng), epochs=15)
    features, labels = examples(2_000, rng)
    said = head.chances(features) / GRID
    assert np.abs(said - labels).mean() < 0.03
    assert (np.diff(said, axis=1) <= 0).all()


def test_it_beats_the_mean_by_a_proper_score_where_outcomes_are_drawn():
    rng = np.random.default_rng(1)
    features, chances = examples(20_000, rng)
    drawn = (rng.random((len(chances), 1)) < chances).astype(np.float32)
    head = fit_head(features, drawn, epochs=15)
    features, chances = examples(5_000, rng)
    drawn = rng.random((len(chances), 1)) < chances
    brier = ((head.chances(features) / GRID - drawn) ** 2).mean(0)
    assert (brier < 0.9 * drawn.mean(0) * (1 - drawn.mean(0))).all()


def test_a_saved_head_says_the_same(tmp_path):
    head = toy_head(6)
    features = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    head.save(tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")
    np.testing.assert_array_equal(loaded.chances(features), head.chances(features))


@pytest.mark.parametrize("content", [None, b"", b"no head at all, whatever it says"])
def test_a_missing_or_broken_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"no acceptance head loads from .*head\.safetensors"):
        load_head(path)


def test_a_head_of_another_draft_is_refused():
    pair = make_pair()
    with pytest.raises(InvalidSetting, match="must read 6 hidden entries, got 7"):
        replace(pair, head=toy_head(7))


def test_layers_that_do_not_fit_are_refused():
    head = toy_head(6)
    with pytest.raises(InvalidSetting, match="matching layers"):
        replace(head, weight_out=head.weight_out[:, :-1])
