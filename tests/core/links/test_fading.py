"""Rician fading and log-normal shadowing against their closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import RayleighLink
from covspec_core.links.fading import RicianLink, ShadowedLink

RICIAN = RicianLink(5e6, 10.0, 6.0, 0.1)
SHADOWED = ShadowedLink(5e6, 10.0, 8.0, 2.0, fast_share=0.3)
LINKS = [RICIAN, SHADOWED]


def draw(link, seed=0, n=400, duration_s=60.0):
    return link.realise(np.random.default_rng(seed), n, duration_s)


def snr_of(bps, bandwidth_hz=5e6):
    return 2 ** (bps / bandwidth_hz) - 1


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: type(link).__name__)
def test_equal_seeds_draw_equal_links_whatever_the_delay(link):
    near, far = draw(link), draw(replace(link, rtt_s=(0.2, 0.4), jitter_s=0.01))
    np.testing.assert_array_equal(near.up_bps, far.up_bps)
    np.testing.assert_array_equal(near.down_bps, far.down_bps)
    assert (draw(link, seed=1).up_bps != near.up_bps).any()
    assert far.rtt_s.min() >= 0.2


@pytest.mark.parametrize("link", LINKS, ids=lambda link: type(link).__name__)
def test_the_downlink_has_its_own_bandwidth_and_signal(link):
    table = draw(replace(link, down_scale=3.0, down_snr_db=10.0))
    np.testing.assert_allclose(snr_of(table.down_bps, 15e6), 10 * snr_of(table.up_bps))


@pytest.mark.parametrize("k_db", [-20.0, 0.0, 10.0])
def test_rician_snr_has_its_mean_and_its_variance(k_db):
    snr, k = snr_of(draw(replace(RICIAN, k_db=k_db)).up_bps), 10 ** (k_db / 10)
    assert snr.mean() == pytest.approx(10.0, rel=0.01)
    assert snr.var() == pytest.approx(100 * (2 * k + 1) / (k + 1) ** 2, rel=0.02)


def test_rician_without_a_steady_path_is_rayleigh():
    rice = draw(replace(RICIAN, k_db=-200.0)).up_bps
    rayleigh = draw(RayleighLink(5e6, 10.0, 0.1), seed=1).up_bps
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    np.testing.assert_allclose(np.quantile(rice, levels), np.quantile(rayleigh, levels), rtol=0.01)


def test_rician_with_nothing_scattered_is_constant():
    np.testing.assert_allclose(snr_of(draw(replace(RICIAN, k_db=150.0)).up_bps), 10.0, rtol=1e-5)


def test_rician_blocks_are_independent_and_directions_share_them_if_told_so():
    shared, own = draw(RICIAN), draw(replace(RICIAN, shared_fade=False))
    assert abs(correlation(shared.up_bps[:, 1:], shared.up_bps[:, :-1])) < 0.01
    np.testing.assert_array_equal(shared.up_bps, shared.down_bps)
    assert abs(correlation(own.up_bps, own.down_bps)) < 0.01


@pytest.mark.parametrize("lag", [1, 5, 20])
def test_shadows_are_log_normal_and_forget_their_slow_part_exponentially(lag):
    shadow_db = 10 * np.log10(snr_of(draw(SHADOWED, n=1000).up_bps)) - 10.0
    assert np.median(shadow_db) == pytest.approx(0.0, abs=0.15)
    assert shadow_db.std() == pytest.approx(8.0, rel=0.02)
    assert (shadow_db < -8.0).mean() == pytest.approx(0.1587, abs=0.006)
    expected = 0.7 * np.exp(-lag * 0.1 / 2.0)
    assert correlation(shadow_db[:, lag:], shadow_db[:, :-lag]) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("given", [1.0, 0.4, 0.0, -0.5])
def test_shadows_of_both_directions_have_their_correlation(given):
    table = draw(replace(SHADOWED, correlation=given), n=1000)
    up_db, down_db = (np.log10(snr_of(bps)) for bps in (table.up_bps, table.down_bps))
    assert correlation(up_db, down_db) == pytest.approx(given, abs=0.03)


@pytest.mark.parametrize("fast_share", [0.0, 1.0])
def test_shadows_may_be_slow_or_fast_alone(fast_share):
    snr_db = np.log10(snr_of(draw(replace(SHADOWED, fast_share=fast_share)).up_bps))
    expected = 0.0 if fast_share else np.exp(-0.05)
    assert correlation(snr_db[:, 1:], snr_db[:, :-1]) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("link", "change", "message"),
    [
        (RICIAN, {"bandwidth_hz": 0.0}, "bandwidth_hz must be finite and above 0, got 0.0"),
        (RICIAN, {"k_db": np.nan}, r"k_db must be finite and in \[-200, 200\], got nan"),
        (RICIAN, {"coherence_s": -1.0}, "coherence_s must be finite and above 0, got -1.0"),
        (RICIAN, {"down_scale": -1.0}, "down_scale must be finite and >= 0, got -1.0"),
        (RICIAN, {"rtt_s": (2, 1)}, "rtt_s must have 0 <= low <= high"),
        (SHADOWED, {"sigma_db": -1.0}, r"sigma_db must be finite and in \[0, 100\], got -1.0"),
        (SHADOWED, {"slow_s": "2"}, "slow_s must be finite and above 0, got '2'"),
        (SHADOWED, {"fast_share": 1.1}, r"fast_share must be finite and in \[0, 1\], got 1.1"),
        (SHADOWED, {"correlation": -2.0}, r"correlation must be finite and in \[-1, 1\], got -2"),
        (SHADOWED, {"slot_s": 0.0}, "slot_s must be finite and above 0, got 0.0"),
    ],
)
def test_wrong_parameters_give_one_clear_error(link, change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(link, **change)
