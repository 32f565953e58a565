"""Links of several regimes in one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import ConstantLink, GilbertElliottLink
from covspec_core.links.mixture import MixtureLink
from covspec_core.links.table import LinkTable


@dataclass(frozen=True)
class Stairs:
    """Slot ``k`` has the rate ``base + k`` up, ten times that down, and a delay of ``k`` ms."""

    slot_s: float
    base: float

    def realise(self, rng, n, duration_s):
        rates = np.tile(self.base + np.arange(round(duration_s / self.slot_s)), (n, 1))
        return LinkTable(self.slot_s, rates, 10 * rates, (rates - self.base) / 1000)


def realise(n=6, duration_s=12.0, **parts):
    return MixtureLink(parts).realise(np.random.default_rng(0), n, duration_s)


def test_every_part_has_a_block_of_equal_size():
    parts = {f"{rate}": ConstantLink(rate, 2.0 * rate) for rate in (10.0, 20.0, 30.0)}
    table = realise(6, **parts)
    np.testing.assert_array_equal(table.up_bps[:, 0], [10, 10, 20, 20, 30, 30])
    np.testing.assert_array_equal(table.down_bps, 2 * table.up_bps)


@pytest.mark.parametrize(("n", "rows"), [(1, 3), (6, 6), (7, 9)])
def test_shares_are_equal_even_if_that_needs_more_rows(n, rows):
    parts = {f"{rate}": ConstantLink(rate, rate) for rate in (10.0, 20.0, 30.0)}
    table = realise(n, **parts)
    assert table.n == rows
    assert np.unique(table.up_bps, return_counts=True)[1].tolist() == [rows // 3] * 3


@pytest.mark.parametrize("duration_s", [0.3, 10.3])
def test_links_last_as_long_as_asked_where_slots_do_not_divide_it(duration_s):
    fading = GilbertElliottLink(2.0, 1.0, 1.0, 1.0, slot_s=1.0)
    table = realise(2, duration_s, a=fading, b=fading)
    assert duration_s <= table.period_s < duration_s + table.slot_s


def test_longer_slots_are_cut_into_the_shortest():
    table = realise(2, fine=Stairs(0.5, 0.0), coarse=Stairs(1.5, 100.0))
    assert (table.slot_s, table.slots) == (0.5, 24)
    np.testing.assert_array_equal(table.up_bps[0], np.arange(24))
    np.testing.assert_array_equal(table.up_bps[1], 100 + np.repeat(np.arange(8), 3))
    np.testing.assert_array_equal(table.down_bps, 10 * table.up_bps)
    np.testing.assert_allclose(table.rtt_s[1], np.repeat(np.arange(8), 3) / 1000)


def test_every_moment_has_the_rates_of_its_part():
    parts = {"fine": Stairs(0.25, 0.0), "coarse": Stairs(2.0, 50.0)}
    table = realise(2, **parts)
    moments = np.random.default_rng(1).uniform(0, 12, 200)
    for row, part in enumerate(parts.values()):
        own = part.realise(None, 1, 12.0)
        expected = own.rate_bps("up", np.zeros(200, dtype=int), moments)
        given = table.rate_bps("up", np.full(200, row), moments)
        np.testing.assert_array_equal(given, expected)


def test_a_part_that_never_changes_goes_with_any_slot():
    fading = GilbertElliottLink(1e6, 1e3, 1.0, 1.0, slot_s=0.05)
    table = realise(4, steady=ConstantLink(5.0, 7.0), fading=fading)
    assert table.slot_s == 0.05
    assert (table.up_bps[:2] == 5.0).all()
    assert set(np.unique(table.up_bps[2:])) == {1e3, 1e6}


def test_equal_seeds_give_equal_links():
    parts = {
        "a": GilbertElliottLink(2.0, 1.0, 1.0, 1.0),
        "b": GilbertElliottLink(4.0, 3.0, 1.0, 1.0),
    }
    np.testing.assert_array_equal(realise(**parts).up_bps, realise(**parts).up_bps)


@pytest.mark.parametrize("slot_s", [0.75, 0.6, 1.25])
def test_slots_that_do_not_fit_are_refused(slot_s):
    with pytest.raises(InvalidSetting, match=f"multiples of the shortest, 0.5 s, got {slot_s}"):
        realise(fine=Stairs(0.5, 0.0), odd=Stairs(slot_s, 0.0))


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(InvalidSetting, match="at least one channel"):
        MixtureLink({})
