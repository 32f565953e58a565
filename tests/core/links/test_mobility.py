"""A road with sites: path loss, gaps at the borders of cells, shadowing along the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.mobility import MobilityLink

PLAIN = MobilityLink(10e6, 0.0, (20.0, 20.0), sigma_db=0.0, handover_s=0.0, slot_s=0.05)


def draw(link, seed=0, n=100, duration_s=60.0):
    return link.realise(np.random.default_rng(seed), n, duration_s)


def snr_db_of(bps):
    return 10 * np.log10(2 ** (bps / 10e6) - 1)


def test_the_mean_snr_follows_the_log_distance_law():
    road_m = np.array([0.0, 100.0, 250.0, 400.0, 500.0, 750.0])
    near_db = 35 * np.log10(np.hypot(250, 50) / 50)
    snr_db = PLAIN.mean_snr_db(road_m)
    np.testing.assert_allclose(snr_db[[0, 4]], near_db)
    np.testing.assert_allclose(snr_db[[2, 5]], 0.0, atol=1e-12)
    assert snr_db[1] == pytest.approx(snr_db[3])
    assert snr_db[1] == pytest.approx(35 * np.log10(np.hypot(250, 50) / np.hypot(100, 50)))


def test_rates_rise_and_fall_once_in_every_cell():
    table = draw(PLAIN, n=50, duration_s=75.0)  # three cells of 500 m
    falling = np.diff(table.up_bps, axis=1) < 0
    peaks = (falling[:, 1:] & ~falling[:, :-1]).sum(axis=1)
    assert set(peaks) <= {2, 3}
    assert snr_db_of(table.up_bps).min() == pytest.approx(0.0, abs=0.05)
    assert np.ptp(table.up_bps[:, 0]) > 1e7  # links start anywhere


def test_the_rate_stops_growing_at_the_peak():
    table = draw(replace(PLAIN, peak_snr_db=10.0))
    assert snr_db_of(table.up_bps).max() == pytest.approx(10.0)


@pytest.mark.parametrize("slot_s", [0.05, 0.1, 1.0])
def test_handovers_take_their_part_of_the_time_in_both_directions(slot_s):
    flat = replace(PLAIN, exponent=0.0, handover_s=0.5, slot_s=slot_s)
    table = draw(flat, n=400, duration_s=100.0)
    carried = table.up_bps / table.up_bps.max()
    assert 1 - carried.mean() == pytest.approx(0.5 / 25.0, rel=0.03)  # a cell takes 25 s
    np.testing.assert_array_equal(table.up_bps, table.down_bps)
    assert carried.min() == pytest.approx(0.0 if slot_s < 0.5 else 0.5, abs=1e-9)


def test_a_gap_lasts_as_long_as_it_should():
    table = draw(replace(PLAIN, exponent=0.0, handover_s=0.5), n=50, duration_s=100.0)
    lost_s = 0.05 * (1 - table.up_bps / table.up_bps.max()).sum(axis=1)
    np.testing.assert_allclose(lost_s, 2.0, atol=1e-6)  # four borders in 2000 m


def test_shadowing_decorrelates_along_the_way_not_in_time():
    rough = replace(PLAIN, exponent=0.0, sigma_db=6.0, border_snr_db=5.0, peak_snr_db=100.0)
    for speed_mps in (5.0, 25.0):
        moving = replace(rough, speed_mps=(speed_mps, speed_mps))
        shadow_db = snr_db_of(draw(moving, n=800).up_bps) - 5.0
        assert shadow_db.std() == pytest.approx(6.0, rel=0.04)
        lag = round(25.0 / speed_mps / 0.05)  # 25 m, half the decorrelation distance
        seen = np.corrcoef(shadow_db[:, lag:].ravel(), shadow_db[:, :-lag].ravel())[0, 1]
        assert seen == pytest.approx(np.exp(-0.5), abs=0.04)


def test_the_downlink_has_its_own_bandwidth_and_power():
    table = draw(replace(PLAIN, down_scale=2.0, down_snr_db=6.0, peak_snr_db=100.0))
    down_snr = 2 ** (table.down_bps / 20e6) - 1
    np.testing.assert_allclose(10 * np.log10(down_snr), snr_db_of(table.up_bps) + 6.0)


def test_equal_seeds_move_alike():
    link = replace(PLAIN, speed_mps=[5.0, 30.0], sigma_db=6.0)
    assert link.speed_mps == (5.0, 30.0)
    np.testing.assert_array_equal(draw(link).up_bps, draw(link).up_bps)
    assert (draw(link, seed=1).up_bps != draw(link).up_bps).any(axis=1).all()
    np.testing.assert_array_equal(draw(link).up_bps, draw(replace(link, rtt_s=(0.1, 0.2))).up_bps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed_mps": 20.0}, "speed_mps must be two numbers, low <= high, above 0, got 20.0"),
        ({"speed_mps": (20.0, 10.0)}, r"speed_mps must be two .* got \(20.0, 10.0\)"),
        ({"speed_mps": (0.0, 10.0)}, "speed_mps must be two numbers, low <= high, above 0"),
        ({"speed_mps": ("a", "b")}, "speed_mps must be two numbers"),
        ({"site_m": 0.0}, "site_m must be finite and above 0, got 0.0"),
        ({"offset_m": 0.0}, "offset_m must be finite and above 0, got 0.0"),
        ({"exponent": 11.0}, r"exponent must be finite and in \[0, 10\], got 11.0"),
        ({"handover_s": 25.0}, "handover_s must be below the time in a cell, 25 s, got 25.0"),
        ({"border_snr_db": np.inf}, r"border_snr_db must be finite and in \[-200, 200\], got inf"),
    ],
)
def test_wrong_parameters_give_one_clear_error(change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(PLAIN, **change)
