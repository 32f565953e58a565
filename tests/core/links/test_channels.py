"""Random links against the closed forms of their stationary laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import AwgnLink, ConstantLink, GilbertElliottLink, RayleighLink
from covspec_core.links.table import Direction, LinkTable

CONSTANT = ConstantLink(2e6, 8e6)
AWGN = AwgnLink(5e6, 10.0)
RAYLEIGH = RayleighLink(5e6, 10.0, 0.05)
GILBERT_ELLIOTT = GilbertElliottLink(17e6, 1e6, 4.0, 1.0)
CHANNELS = [CONSTANT, AWGN, RAYLEIGH, GILBERT_ELLIOTT]

E1_OF_A_TENTH = 1.8229239585  # Abramowitz and Stegun, table 5.1


def draw(channel, seed=0, n=200, duration_s=60.0) -> LinkTable:
    return channel.realise(np.random.default_rng(seed), n, duration_s)


def runs(flags: np.ndarray) -> np.ndarray:
    """Lengths of the runs of true flags in a row, without those cut off at its ends."""
    change = np.flatnonzero(np.diff(flags))
    return np.diff(change)[(0 if flags[change[0] + 1] else 1) :: 2]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_equal_seeds_draw_equal_links_and_others_draw_others(channel):
    jittery = replace(channel, rtt_s=(0.01, 0.05), jitter_s=0.002)
    one, same, other = draw(jittery, 1), draw(jittery, 1), draw(jittery, 2)
    for name in ("up_bps", "down_bps", "rtt_s"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert (one.rtt_s != other.rtt_s).all()


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_the_delay_changes_no_rate(channel):
    slow = replace(channel, rtt_s=(0.2, 0.4))
    np.testing.assert_array_equal(draw(slow).up_bps, draw(channel).up_bps)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_links_cover_the_duration(channel):
    table = draw(channel, n=3, duration_s=1.234)
    assert table.n == 3
    assert 1.234 <= table.period_s < 1.234 + 0.1


@pytest.mark.parametrize(
    "channel", [AWGN, RAYLEIGH, GILBERT_ELLIOTT], ids=lambda c: type(c).__name__
)
def test_the_downlink_is_scaled(channel):
    table = draw(replace(channel, down_scale=3.0))
    np.testing.assert_array_equal(table.down_bps, 3.0 * table.up_bps)


def test_five_mhz_at_ten_db_carry_17_297_mbit_per_second():
    table = draw(AWGN)
    assert (np.round(table.up_bps / 1e6, 3) == 17.297).all()
    one_second = np.array([table.up_bps[0, 0] / 8])
    end_s = table.transfer_end_s(Direction.UP, np.array([0]), np.array([2.0]), one_second)
    np.testing.assert_allclose(end_s, 3.0)


def test_round_trips_are_uniform_between_links_and_constant_within_one():
    rtt_s = draw(replace(RAYLEIGH, rtt_s=(0.02, 0.06)), n=20_000, duration_s=0.2).rtt_s
    assert (rtt_s == rtt_s[:, :1]).all()
    assert rtt_s.min() >= 0.02
    assert rtt_s.max() <= 0.06
    assert rtt_s.mean() == pytest.approx(0.04, abs=3e-4)
    assert rtt_s[:, 0].std() == pytest.approx(0.04 / np.sqrt(12), rel=0.02)


def test_jitter_is_exponential_anew_in_each_slot():
    extra_s = draw(replace(CONSTANT, jitter_s=0.004)).rtt_s - 0.018
    assert extra_s.min() >= 0
    assert extra_s.mean() == pytest.approx(0.004, rel=0.02)
    assert extra_s.std() == pytest.approx(0.004, rel=0.03)


def test_rayleigh_rates_have_the_ergodic_mean():
    mean_bps = 5e6 * np.exp(0.1) * E1_OF_A_TENTH / np.log(2)
    assert draw(RAYLEIGH).up_bps.mean() == pytest.approx(mean_bps, rel=0.005)


@pytest.mark.parametrize("rate_bps", [1e6, 5e6, 20e6])
def test_rayleigh_rates_have_the_outage_probability(rate_bps):
    expected = 1 - np.exp(-(2 ** (rate_bps / 5e6) - 1) / 10)
    assert (draw(RAYLEIGH).up_bps < rate_bps).mean() == pytest.approx(expected, abs=0.004)


def test_rayleigh_blocks_are_independent_in_time_and_between_links():
    centred = draw(RAYLEIGH).up_bps - draw(RAYLEIGH).up_bps.mean()
    assert abs((centred[:, 1:] * centred[:, :-1]).mean()) < 0.01 * centred.var()
    assert abs((centred[1:] * centred[:-1]).mean()) < 0.01 * centred.var()


def test_rayleigh_directions_share_their_fades_only_if_told_so():
    shared, own = draw(RAYLEIGH), draw(replace(RAYLEIGH, shared_fade=False))
    assert (shared.up_bps == shared.down_bps).all()
    assert abs(np.corrcoef(own.up_bps.ravel(), own.down_bps.ravel())[0, 1]) < 0.01


def test_gilbert_elliott_is_bad_for_its_stationary_share_from_the_first_slot_on():
    bad = draw(GILBERT_ELLIOTT, n=20_000, duration_s=2.0).up_bps == 1e6
    for share in (bad.mean(), bad[:, 0].mean(), bad[:, -1].mean()):
        assert share == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("slot_s", [0.01, 0.25])
def test_gilbert_elliott_sojourns_have_their_means(slot_s):
    rows = draw(replace(GILBERT_ELLIOTT, slot_s=slot_s), n=20, duration_s=4000.0).up_bps == 1e6
    seen = -np.expm1(-slot_s * 1.25)
    bad_s = slot_s * np.concatenate([runs(row) for row in rows]).mean()
    good_s = slot_s * np.concatenate([runs(~row) for row in rows]).mean()
    assert bad_s == pytest.approx(slot_s / (0.8 * seen), rel=0.03)
    assert good_s == pytest.approx(slot_s / (0.2 * seen), rel=0.03)
    if slot_s == 0.01:
        assert (good_s, bad_s) == pytest.approx((4.0, 1.0), rel=0.03)


@pytest.mark.parametrize("lag_slots", [1, 5, 20])
def test_gilbert_elliott_forgets_exponentially(lag_slots):
    bad = draw(GILBERT_ELLIOTT, n=400, duration_s=100.0).up_bps == 1e6
    both = (bad[:, lag_slots:] & bad[:, :-lag_slots]).mean()
    expected = np.exp(-lag_slots * 0.05 * 1.25)
    assert (both - 0.2**2) / (0.2 * 0.8) == pytest.approx(expected, abs=0.03)


def test_a_bad_state_may_be_an_outage_and_transfers_wait_for_its_end():
    table = draw(replace(GILBERT_ELLIOTT, bad_bps=0.0), n=500)
    down = np.flatnonzero(table.up_bps[:, 0] == 0)
    ends = table.transfer_end_s(Direction.UP, down, np.zeros(down.size), np.full(down.size, 10))
    first_good = np.argmax(table.up_bps[down] > 0, axis=1)
    np.testing.assert_allclose(ends, first_good * 0.05 + 80 / 17e6)


@pytest.mark.parametrize(
    ("channel", "change", "message"),
    [
        (CONSTANT, {"up_bps": -1.0}, "up_bps must be finite and >= 0, got -1.0"),
        (CONSTANT, {"down_bps": np.inf}, "down_bps must be finite and >= 0, got inf"),
        (CONSTANT, {"up_bps": "17e6"}, "up_bps must be finite and >= 0, got '17e6'"),
        (CONSTANT, {"slot_s": 0.0}, "slot_s must be finite and above 0, got 0.0"),
        (CONSTANT, {"rtt_s": 0.018}, "rtt_s must be two numbers, got 0.018"),
        (CONSTANT, {"rtt_s": (0.018,)}, "rtt_s must be two numbers"),
        (CONSTANT, {"rtt_s": ("a", "b")}, "rtt_s must be two numbers"),
        (CONSTANT, {"rtt_s": (0.05, 0.02)}, r"low <= high < inf, got \(0.05, 0.02\)"),
        (CONSTANT, {"rtt_s": (-0.1, 0.02)}, "rtt_s must have 0 <= low"),
        (CONSTANT, {"jitter_s": np.nan}, "jitter_s must be finite and >= 0, got nan"),
        (AWGN, {"bandwidth_hz": 0.0}, "bandwidth_hz must be finite and above 0, got 0.0"),
        (AWGN, {"snr_db": np.nan}, r"snr_db must be finite and in \[-200, 200\], got nan"),
        (AWGN, {"down_scale": -1.0}, "down_scale must be finite and >= 0, got -1.0"),
        (RAYLEIGH, {"mean_snr_db": 1e6}, "mean_snr_db must be finite and in"),
        (RAYLEIGH, {"coherence_s": -0.1}, "coherence_s must be finite and above 0"),
        (GILBERT_ELLIOTT, {"mean_bad_s": 0.0}, "mean_bad_s must be finite and above 0"),
        (
            GILBERT_ELLIOTT,
            {"bad_bps": 2e7},
            "bad_bps must be <= good_bps = 17000000.0, got 20000000.0",
        ),
    ],
)
def test_impossible_settings_are_refused_by_name(channel, change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(channel, **change)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_impossible_draws_are_refused(channel):
    with pytest.raises(InvalidSetting, match="n must be >= 1, got 0"):
        draw(channel, n=0)
    for duration_s in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InvalidSetting, match="duration_s must be finite and above 0"):
            draw(channel, duration_s=duration_s)


def test_a_round_trip_given_as_a_list_is_the_same_setting():
    assert ConstantLink(1.0, 1.0, rtt_s=[0.01, 0.02]) == ConstantLink(1.0, 1.0, rtt_s=(0.01, 0.02))
