"""Statistics of rates on series whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import GilbertElliottLink
from covspec_core.links.statistics import autocorrelation, coarse, rate_statistics


def test_quantiles_and_outages_are_those_of_whole_seconds():
    rates = np.repeat([[0.0, 0.0, 4e6, 4e6, 0.2e6, 8e6]], 10, axis=1)
    rates[0, 30:35] = 0.0  # half of a second: its mean is no outage
    seen = rate_statistics(rates, 0.1)
    assert seen.mean_bps == pytest.approx((4e6 + 2e6 + 0.2e6 + 8e6) / 6)
    assert seen.median_bps == pytest.approx(1.1e6)
    assert (seen.outage_share, seen.outage_s) == (0.5, 1.5)
    assert seen.slot_outage_share == pytest.approx(35 / 60)


def test_runs_of_outages_end_with_their_row():
    seen = rate_statistics(np.array([[9e6, 0.0, 0.0], [0.0, 9e6, 9e6]]), 1.0)
    assert seen.outage_s == 1.5


def test_without_outages_they_last_no_time():
    assert rate_statistics(np.full((2, 5), 1e6), 1.0).outage_s == 0.0


def test_autocorrelation_is_taken_inside_rows():
    rng = np.random.default_rng(0)
    levels = 1e6 * np.arange(5)[:, None]
    assert autocorrelation(levels + rng.random((5, 20_000)), 1) == pytest.approx(0.0, abs=0.02)
    assert autocorrelation(np.tile([1.0, -1.0], (3, 50)), 1) == pytest.approx(-1.0)
    assert autocorrelation(np.ones((2, 9)), 1) == 1.0


def test_a_known_chain_has_its_autocorrelation_and_its_outages():
    link = GilbertElliottLink(9e6, 0.0, 6.0, 4.0, slot_s=0.1)
    table = link.realise(np.random.default_rng(0), 50, 2000.0)
    seen = rate_statistics(table.up_bps, 0.1)
    assert seen.acf_slot == pytest.approx(np.exp(-0.1 * (1 / 6 + 1 / 4)), abs=0.005)
    assert seen.slot_outage_share == pytest.approx(0.4, abs=0.01)
    assert 2.5 < seen.outage_s < 5.0


def test_coarser_slots_are_means_and_the_rest_is_dropped():
    np.testing.assert_array_equal(coarse(np.arange(7.0)[None], 3), [[1.0, 4.0]])


@pytest.mark.parametrize(
    ("shape", "slot_s", "message"),
    [
        ((2, 100), 0.3, "slot_s must divide 1 s, got 0.3"),
        ((2, 100), 5.0, "slot_s must divide 1 s, got 5.0"),
        ((2, 19), 0.1, r"rates must be \[n, slots\] of 2 s or more, got \(2, 19\)"),
        ((100,), 0.1, r"rates must be \[n, slots\]"),
    ],
)
def test_what_has_no_seconds_is_refused(shape, slot_s, message):
    with pytest.raises(InvalidSetting, match=message):
        rate_statistics(np.ones(shape), slot_s)
