"""Chains of rates against the laws of Markov chains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.markov import MarkovLink

STEP = ((0.8, 0.2, 0.0), (0.1, 0.7, 0.2), (0.05, 0.05, 0.9))
RATES = (0.0, 5e6, 20e6)
LINK = MarkovLink(RATES, STEP)


def draw(link, seed=0, n=200, duration_s=500.0):
    return link.realise(np.random.default_rng(seed), n, duration_s)


def states_of(table):
    return np.searchsorted(RATES, table.up_bps)


def test_states_have_their_stationary_shares_from_the_first_slot_on():
    law = np.linalg.matrix_power(np.array(STEP), 200)[0]
    states = states_of(draw(LINK, n=20_000, duration_s=20.0))
    for seen in (states[:, 0], states[:, -1]):
        np.testing.assert_allclose(np.bincount(seen) / len(seen), law, atol=0.012)


def test_steps_have_their_probabilities():
    states = states_of(draw(LINK))
    counts = np.zeros((3, 3))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), STEP, atol=0.01)


def test_links_are_independent_and_follow_the_seed():
    one, other = draw(LINK), draw(LINK, seed=1)
    np.testing.assert_array_equal(one.up_bps, draw(LINK).up_bps)
    assert (one.up_bps != other.up_bps).mean() > 0.3
    assert abs(np.corrcoef(one.up_bps[0], one.up_bps[1])[0, 1]) < 0.2


def test_the_downlink_is_scaled_or_has_rates_of_its_own():
    np.testing.assert_array_equal(draw(LINK).down_bps, draw(LINK).up_bps)
    doubled = draw(replace(LINK, down_scale=2.0))
    np.testing.assert_array_equal(doubled.down_bps, 2 * doubled.up_bps)
    own = draw(replace(LINK, down_bps=(1e6, 2e6, 3e6)))
    np.testing.assert_array_equal(own.down_bps, 1e6 * (1 + states_of(own)))


def test_one_state_is_a_constant_link():
    table = draw(MarkovLink((3e6,), ((1.0,),)), n=2, duration_s=3.0)
    assert (table.up_bps == 3e6).all()
    assert (table.slots, table.slot_s) == (3, 1.0)


def test_lists_from_a_file_are_as_good_as_tuples():
    link = MarkovLink(list(RATES), [list(row) for row in STEP])
    assert link == LINK
    assert hash(link) == hash(LINK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"up_bps": ()}, r"up_bps must have at least one state.*got \(\)"),
        ({"up_bps": (1.0, -1.0, 2.0)}, "up_bps must have .* >= 0, got"),
        ({"up_bps": "fast"}, "up_bps must have at least one state.*got 'fast'"),
        ({"down_bps": (1.0, 2.0)}, r"down_bps must have shape \[3\]"),
        ({"transition": ((1.0,),)}, r"transition must have shape \[3, 3\]"),
        ({"transition": ((1.0,), (0.5, 0.5))}, r"transition must have shape \[3, 3\]"),
        ({"transition": (*STEP[:2], (0.5, 0.4, 0.0))}, "transition: row 2 must sum to 1, got 0.9"),
        (
            {"transition": ((0.5, 0.5, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5))},
            "transition: state 2 must be reached from state 0, got no way",
        ),
        ({"slot_s": 0.0}, "slot_s must be finite and above 0, got 0.0"),
        ({"down_scale": np.inf}, "down_scale must be finite and >= 0, got inf"),
    ],
)
def test_wrong_parameters_give_one_clear_error(change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(LINK, **change)
