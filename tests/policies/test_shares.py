"""Intervals of shares."""

from __future__ import annotations

import numpy as np
import pytest

from policies.shares import bootstrap_share, right_share


def test_a_share_weighs_every_position_alike():
    found = bootstrap_share(np.array([8.0, 1.0]), np.array([10.0, 2.0]))
    assert found["mean"] == 0.75
    low, high = found["ci95"]
    assert (low, high) == (0.5, 0.8)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(200):
        counts = rng.integers(5, 60, size=60).astype(float)
        sums = counts * rng.beta(8, 2, size=60)
        low, high = bootstrap_share(sums, counts)["ci95"]
        hits += low <= 0.8 <= high
    assert 180 <= hits <= 199


def test_right_answers_have_an_interval_even_if_all_are_right():
    found = right_share(np.ones(20))
    assert found["mean"] == 1.0
    assert found["ci95"][0] == pytest.approx(0.839, abs=1e-3)
