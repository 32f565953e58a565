"""Lost packets and other users, over any link; a channel for each direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import ConstantLink, GilbertElliottLink, RayleighLink
from covspec_core.links.impairments import LossyLink, SharedLink, divided
from covspec_core.links.mixture import AsymmetricLink, MixtureLink

CONSTANT = ConstantLink(2e6, 8e6, rtt_s=(0.02, 0.02))
FADING = RayleighLink(5e6, 10.0, 0.05)
LOSSY = LossyLink(CONSTANT, 0.2, 0.5, retry_s=0.01)
SHARED = SharedLink(CONSTANT, 1.5, 4.0, turn_s=0.03)


def draw(link, seed=0, n=300, duration_s=100.0):
    return link.realise(np.random.default_rng(seed), n, duration_s)


def test_links_around_links_are_equal_where_their_settings_are():
    for link in (LOSSY, SHARED):
        assert replace(link) == link
        assert replace(link, link=FADING) != link
    assert AsymmetricLink(LOSSY, SHARED) == AsymmetricLink(replace(LOSSY), replace(SHARED))


def test_losses_take_their_share_of_the_rate_each_way():
    table = draw(LOSSY)
    np.testing.assert_allclose(table.up_bps, 0.8 * 2e6)
    np.testing.assert_allclose(table.down_bps, 0.5 * 8e6)


def test_the_last_packet_waits_for_a_geometric_number_of_attempts():
    retries = (draw(LOSSY).rtt_s - 0.02) / 0.01
    np.testing.assert_allclose(retries, np.round(retries), atol=1e-9)
    assert retries.mean() == pytest.approx(0.2 / 0.8 + 0.5 / 0.5, rel=0.01)
    assert (retries < 0.5).mean() == pytest.approx(0.8 * 0.5, rel=0.01)
    assert abs(np.corrcoef(retries[:, 1:].ravel(), retries[:, :-1].ravel())[0, 1]) < 0.01


def test_without_losses_a_link_stays_as_it_is():
    plain, lossless = draw(FADING), draw(LossyLink(FADING, 0.0, 0.0))
    for name in ("up_bps", "down_bps", "rtt_s"):
        np.testing.assert_array_equal(getattr(lossless, name), getattr(plain, name))


def test_other_users_are_poisson_and_forget_exponentially():
    users = np.round((draw(SHARED).rtt_s - 0.02) / 0.03)
    assert users.mean() == pytest.approx(1.5, rel=0.04)
    assert users.var() == pytest.approx(1.5, rel=0.06)
    assert (users == 0).mean() == pytest.approx(np.exp(-1.5), rel=0.06)
    for lag_slots in (10, 40):
        seen = np.corrcoef(users[:, lag_slots:].ravel(), users[:, :-lag_slots].ravel())[0, 1]
        assert seen == pytest.approx(np.exp(-lag_slots * 0.1 / 4.0), abs=0.03)


def test_the_cell_is_shared_equally_and_the_server_takes_turns():
    table = draw(SHARED)
    users = np.round((table.rtt_s - 0.02) / 0.03)
    np.testing.assert_allclose(table.up_bps, 2e6 / (1 + users))
    np.testing.assert_allclose(table.down_bps, 8e6 / (1 + users))


def test_a_shared_server_leaves_the_rates_alone():
    table = draw(replace(SHARED, share_cell=False))
    assert (table.up_bps == 2e6).all()
    assert table.rtt_s.max() > 0.1


def test_nobody_else_changes_nothing():
    np.testing.assert_array_equal(draw(replace(SHARED, mean_users=0.0)).rtt_s, 0.02)


def test_impairments_can_be_put_around_each_other():
    table = draw(LossyLink(SharedLink(FADING, 1.0, 3.0), 0.1, 0.1))
    assert table.up_bps.mean() < 0.9 * draw(FADING).up_bps.mean()
    assert table.slot_s == 0.05


@pytest.mark.parametrize("link", [LOSSY, SHARED], ids=lambda link: type(link).__name__)
def test_equal_seeds_draw_equal_links(link):
    np.testing.assert_array_equal(draw(link).rtt_s, draw(link).rtt_s)
    assert (draw(link).rtt_s != draw(link, seed=1).rtt_s).any()


def test_long_slots_are_divided_and_short_ones_kept():
    table = draw(GilbertElliottLink(2e6, 1e6, 1.0, 1.0, slot_s=0.5), n=3, duration_s=5.0)
    slot_s, up_bps, _, rtt_s = divided(table, 0.2)
    assert slot_s == pytest.approx(0.5 / 3)
    np.testing.assert_array_equal(up_bps, np.repeat(table.up_bps, 3, axis=1))
    assert rtt_s.shape == (3, 30)
    assert divided(table, 0.5)[0] == divided(table, 9.0)[0] == 0.5


def test_each_direction_has_its_own_channel():
    up = GilbertElliottLink(2e6, 1e6, 1.0, 1.0, slot_s=0.1, rtt_s=(0.05, 0.05))
    table = draw(AsymmetricLink(up, FADING), duration_s=10.0)
    assert (table.slot_s, table.slots) == (0.05, 200)
    assert set(np.unique(table.up_bps)) == {1e6, 2e6}
    np.testing.assert_array_equal(table.up_bps[:, ::2], table.up_bps[:, 1::2])
    assert len(np.unique(table.down_bps)) > 1000
    assert (table.rtt_s == 0.05).all()
    assert abs(np.corrcoef(table.up_bps.ravel(), table.down_bps.ravel())[0, 1]) < 0.02


def test_a_constant_direction_fits_any_slots():
    table = draw(AsymmetricLink(CONSTANT, FADING), duration_s=10.0)
    assert (table.up_bps == 2e6).all()
    assert table.slot_s == 0.05


def test_impaired_links_mix_with_others():
    table = draw(MixtureLink({"a": LOSSY, "b": FADING, "c": SHARED}), n=9, duration_s=10.0)
    assert (table.n, table.slot_s) == (9, 0.05)
    assert (table.up_bps[:3] == 0.8 * 2e6).all()


@pytest.mark.parametrize(
    ("link", "change", "message"),
    [
        (LOSSY, {"loss_up": 1.0}, r"loss_up must be finite and in \[0, 1\), got 1.0"),
        (LOSSY, {"loss_down": -0.1}, r"loss_down must be finite and in \[0, 1\), got -0.1"),
        (LOSSY, {"retry_s": np.nan}, "retry_s must be finite and >= 0, got nan"),
        (LOSSY, {"slot_s": 0}, "slot_s must be finite and above 0, got 0"),
        (SHARED, {"mean_users": -1.0}, "mean_users must be finite and >= 0, got -1.0"),
        (SHARED, {"stay_s": 0.0}, "stay_s must be finite and above 0, got 0.0"),
        (SHARED, {"turn_s": "x"}, "turn_s must be finite and >= 0, got 'x'"),
    ],
)
def test_wrong_parameters_give_one_clear_error(link, change, message):
    with pytest.raises(InvalidSetting, match=message):
        replace(link, **change)


@pytest.mark.parametrize("link", [LOSSY, SHARED, AsymmetricLink(CONSTANT, CONSTANT)])
@pytest.mark.parametrize(("n", "duration_s"), [(0, 1.0), (1, 0.0), (1, np.inf)])
def test_nothing_to_draw_is_refused(link, n, duration_s):
    with pytest.raises(InvalidSetting, match=r"n must be >= 1|duration_s must be finite"):
        draw(link, n=n, duration_s=duration_s)
