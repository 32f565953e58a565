"""The parts of an emulated network, one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.network import NetworkLink, NetworkRate

RATE = NetworkRate(median_bps=10e6, sigma_low=0.8, sigma_high=0.5, slow_s=4.0)
EVEN = replace(RATE, sigma_low=1.0, sigma_high=1.0)
DIPS = replace(RATE, dip_share=0.2, dip_s=3.0, dip_bps=1e3)
LINK = NetworkLink(RATE, EVEN)


def draw(link, seed=0, n=400, duration_s=100.0):
    return link.realise(np.random.default_rng(seed), n, duration_s)


def both(rate, **settings):
    return NetworkLink(rate, rate, **settings)


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_rates_are_two_piece_log_normal_each_way():
    table = draw(replace(LINK, up=replace(RATE, slow_s=0.1), down=replace(EVEN, slow_s=0.1)))
    levels = (0.05, 0.1587, 0.5, 0.8413, 0.95)
    z = np.array([-1.645, -1.0, 0.0, 1.0, 1.645])
    up, down = (np.log(np.quantile(bps, levels) / 10e6) for bps in (table.up_bps, table.down_bps))
    np.testing.assert_allclose(up, np.where(z < 0, 0.8, 0.5) * z, atol=0.01)
    np.testing.assert_allclose(down, z, atol=0.015)


@pytest.mark.parametrize("lag", [1, 10, 50])
def test_the_logarithm_has_a_kept_a_slow_and_a_fast_part(lag):
    logs = np.log(draw(both(replace(EVEN, kept_share=0.3, fast_share=0.2)), n=3000).up_bps)
    expected = 0.3 + 0.5 * np.exp(-lag * 0.1 / 4.0)
    assert logs.std() == pytest.approx(1.0, rel=0.02)
    assert correlation(logs[:, lag:], logs[:, :-lag]) == pytest.approx(expected, abs=0.02)


def test_dips_have_their_share_and_their_length():
    dip = draw(both(DIPS), n=100, duration_s=2000.0).up_bps < 1.1e3
    starts = (dip[:, 1:] & ~dip[:, :-1]).sum()
    assert dip.mean() == pytest.approx(0.2, rel=0.03)
    seen = -np.expm1(-0.1 / (3.0 * 0.8))  # as for Gilbert-Elliott, see channels.py
    assert 0.1 * dip[:, 1:].sum() / starts == pytest.approx(0.1 / (0.8 * seen), rel=0.04)


@pytest.mark.parametrize(("given", "together"), [(1.0, 0.2), (0.0, 0.04)])
def test_dips_of_both_directions_come_together_with_their_correlation(given, together):
    table = draw(both(DIPS, correlation=given), n=1000)
    dips = (table.up_bps < 1.1e3) & (table.down_bps < 1.1e3)
    assert dips.mean() == pytest.approx(together, abs=0.008)


def test_the_rate_in_a_dip_is_spread():
    rates = draw(both(replace(DIPS, dip_bps=1e2, dip_sigma=0.7))).up_bps
    logs = np.log(rates[rates < 2e4])
    assert logs.mean() == pytest.approx(np.log(1e2), abs=0.05)
    assert logs.std() == pytest.approx(0.7, rel=0.05)


@pytest.mark.parametrize("given", [0.0, 0.6, 1.0])
def test_rates_of_both_directions_have_their_correlation(given):
    table = draw(both(replace(EVEN, fast_share=0.2), correlation=given), n=1500)
    seen = correlation(np.log(table.up_bps), np.log(table.down_bps))
    assert seen == pytest.approx(given, abs=0.03)


def test_idle_slots_carry_nothing_here_and_there():
    idle = draw(both(replace(RATE, idle_share=0.1))).up_bps == 0
    assert idle.mean() == pytest.approx(0.1, rel=0.03)
    assert abs(correlation(idle[:, 1:], idle[:, :-1])) < 0.01


def test_no_rate_is_above_the_peak():
    assert draw(both(replace(RATE, peak_bps=12e6))).up_bps.max() == 12e6


def test_round_trips_spike_now_and_then():
    steady = both(RATE, rtt_s=(0.03, 0.03))
    spiky = replace(steady, spike_share=0.1, spike_s=0.2)
    extra_s = draw(spiky).rtt_s - 0.03
    assert (draw(steady).rtt_s == 0.03).all()
    assert (extra_s > 0).mean() == pytest.approx(0.1, rel=0.03)
    assert extra_s[extra_s > 0].mean() == pytest.approx(0.2, rel=0.03)
    np.testing.assert_array_equal(draw(spiky).up_bps, draw(steady).up_bps)


def test_a_direction_follows_its_own_law_alone():
    np.testing.assert_array_equal(draw(LINK).up_bps, draw(replace(LINK, down=DIPS)).up_bps)


def test_equal_seeds_draw_equal_links():
    link = both(replace(DIPS, fast_share=0.1, idle_share=0.1), spike_share=0.1, spike_s=0.1)
    for name in ("up_bps", "down_bps", "rtt_s"):
        np.testing.assert_array_equal(getattr(draw(link), name), getattr(draw(link), name))
    assert (draw(link).up_bps != draw(link, seed=1).up_bps).any(axis=1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"median_bps": 0.0}, "median_bps must be finite and above 0, got 0.0"),
        ({"sigma_low": -1.0}, r"sigma_low must be finite and in \[0, 10\], got -1.0"),
        ({"dip_sigma": 11.0}, r"dip_sigma must be finite and in \[0, 10\], got 11.0"),
        ({"dip_share": 1.0}, r"dip_share must be finite and in \[0, 1\), got 1.0"),
        ({"dip_s": 0.0}, "dip_s must be finite and above 0, got 0.0"),
        ({"idle_share": np.nan}, r"idle_share must be finite and in \[0, 1\), got nan"),
        ({"peak_bps": np.inf}, "peak_bps must be finite and above 0, got inf"),
        ({"kept_share": 0.6, "fast_share": 0.5}, r"kept_share \+ fast_share must be <= 1, got 1.1"),
    ],
)
def test_a_wrong_law_gives_one_clear_error(change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(RATE, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"up": 3.0}, "up must be a NetworkRate, got 3.0"),
        ({"correlation": 2.0}, r"correlation must be finite and in \[-1, 1\], got 2.0"),
        ({"spike_share": -0.1}, r"spike_share must be finite and in \[0, 1\], got -0.1"),
        ({"spike_s": np.inf}, "spike_s must be finite and >= 0, got inf"),
        ({"slot_s": 0.0}, "slot_s must be finite and above 0, got 0.0"),
    ],
)
def test_a_wrong_network_gives_one_clear_error(change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(LINK, **change)
