"""Named streams, and noise that is addressed by key and position."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from covspec_core.randomness import gumbel, mix, streams, uniform

UNLIKELY = 1e-4
"""A right sample falls below this p-value once in ten thousand; the keys are fixed."""


def test_a_name_added_at_the_end_changes_no_other_stream():
    few, more = streams(3, "links", "requests"), streams(3, "links", "requests", "noise")
    for name, rng in few.items():
        np.testing.assert_array_equal(rng.random(8), more[name].random(8))


def test_streams_differ_by_name_and_by_seed():
    drawn = [rng.random() for seed in (0, 1) for rng in streams(seed, "a", "b").values()]
    assert len(set(drawn)) == 4


def test_mix_of_one_integer_is_splitmix64():
    # First outputs of the public-domain reference code for these seeds.
    assert int(mix(1234567)) == 6457827717110365317
    assert int(mix(0)) == 0xE220A8397B1DCDAF


def test_arrays_and_scalars_give_the_same_numbers():
    keys = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    positions = np.arange(5)
    together = uniform(keys[:, None], 7, positions)
    assert together.shape == (4, 5)
    one_by_one = [[float(uniform(int(key), 7, int(t))) for t in positions] for key in keys]
    np.testing.assert_array_equal(together, one_by_one)


def test_every_part_and_its_place_matter():
    addresses = [
        (1, 2, 3),
        (1, 3, 2),
        (2, 1, 3),
        (3, 2, 1),
        (1, 2),
        (1, 2, 0),
        (0, 1, 2),
        (1, 2, 4),
    ]
    assert len({int(mix(*address)) for address in addresses}) == len(addresses)


def test_addresses_of_many_requests_do_not_collide():
    keys, positions = mix(11, np.arange(500)), np.arange(100)
    numbers = mix(keys[:, None, None], positions[:, None], np.arange(4))
    assert np.unique(numbers).size == numbers.size


def test_uniform_numbers_lie_below_one_even_for_the_largest_hash(monkeypatch):
    largest = np.uint64(2**64 - 1)
    monkeypatch.setattr("covspec_core.randomness.mix", lambda *parts: largest)
    assert 1 - 2.0**-52 < uniform(0) < 1


@pytest.mark.parametrize("axis", ["keys", "positions", "purposes"])
def test_numbers_are_uniform_along_every_part_of_the_address(axis):
    n = np.arange(20_000)
    numbers = {
        "keys": lambda: uniform(n, 3, 1),
        "positions": lambda: uniform(3, n, 1),
        "purposes": lambda: uniform(3, 1, n),
    }[axis]()
    counts = np.bincount((numbers * 50).astype(int), minlength=50)
    assert counts.size == 50
    assert stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize("step", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_neighbours_are_independent(step):
    key, position, purpose = np.arange(200)[:, None, None], np.arange(50)[:, None], np.arange(4)
    here = uniform(key, position, purpose).ravel()
    there = uniform(key + step[0], position + step[1], purpose + step[2]).ravel()
    cells = (here * 8).astype(int) * 8 + (there * 8).astype(int)
    assert stats.chisquare(np.bincount(cells, minlength=64)).pvalue > UNLIKELY


def test_gumbel_noise_depends_on_the_address_alone():
    first = gumbel(2**64 - 1, 5, 16)
    gumbel(1, 2, 3)
    np.testing.assert_array_equal(gumbel(2**64 - 1, 5, 16), first)
    assert not np.isin(gumbel(2**64 - 1, 6, 16), first).any()
    assert not np.isin(gumbel(2**64 - 2, 5, 16), first).any()


def test_gumbel_noise_is_standard_within_and_across_positions():
    within = gumbel(9, 0, 20_000)
    across = np.concatenate([gumbel(9, t, 1) for t in range(4000)])
    for sample in (within, across):
        assert stats.kstest(sample, "gumbel_r").pvalue > UNLIKELY
