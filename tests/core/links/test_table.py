"""Transfers over a table of rates, against a plain loop in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covspec_core.errors import InvalidSetting
from covspec_core.links.table import Direction, LinkTable

ALL = np.arange(1)


def table_of(*rates_bps: float, slot_s: float = 0.125) -> LinkTable:
    """One link with these rates up and twice as many bits down."""
    up_bps = np.array([rates_bps], dtype=np.float64)
    return LinkTable(slot_s, up_bps, 2 * up_bps, np.full_like(up_bps, 0.018))


def end_s(table: LinkTable, start_s: float, payload_bytes: float) -> float:
    start, payload = np.array([start_s]), np.array([payload_bytes])
    return float(table.transfer_end_s(Direction.UP, ALL, start, payload)[0])


def oracle_end_s(rates_bps: list[float], slot_s: float, start_s: float, n_bytes: float) -> float:
    """Walk from slot to slot with fractions; no rounding before the result."""
    if n_bytes == 0:
        return start_s
    if not any(rates_bps):
        return np.inf
    now, left, step = Fraction(start_s), 8 * Fraction(n_bytes), Fraction(slot_s)
    while True:
        slot = now // step
        rate = Fraction(rates_bps[slot % len(rates_bps)])
        border = (slot + 1) * step
        if left <= rate * (border - now):
            return float(now + left / rate)
        left -= rate * (border - now)
        now = border


def random_table(rng: np.random.Generator, n: int, slots: int) -> LinkTable:
    """Rates over five orders of magnitude, a third of the slots down, odd slot lengths."""
    rates = 10 ** rng.uniform(2, 7, (2, n, slots)) * (rng.random((2, n, slots)) > 0.33)
    return LinkTable(rng.uniform(0.01, 0.3), rates[0], rates[1], rng.random((n, slots)))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("seed", range(20))
def test_transfers_end_where_a_plain_loop_says(seed, direction):
    rng = np.random.default_rng(seed)
    table = random_table(rng, n=8, slots=int(rng.integers(1, 20)))
    row = rng.integers(8, size=64)
    start_s = rng.uniform(0, 5 * table.period_s, 64)
    payload = rng.integers(0, 10 ** rng.integers(1, 6, 64))
    rates = table.up_bps if direction == Direction.UP else table.down_bps
    expected = [
        oracle_end_s(rates[r].tolist(), table.slot_s, s, int(b))
        for r, s, b in zip(row, start_s, payload, strict=True)
    ]
    found = table.transfer_end_s(direction, row, start_s, payload)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    rates=st.lists(st.sampled_from([0, 64, 512, 4096]), min_size=1, max_size=9),
    start=st.integers(0, 400),
    payload=st.integers(0, 500),
)
def test_binary_fractions_give_no_rounding_at_all(rates, start, payload):
    """Slot borders, ends before an outage and wraps are hit exactly."""
    assert end_s(table_of(*rates), start / 64, payload) == oracle_end_s(
        rates, 0.125, start / 64, payload
    )


def test_a_transfer_that_fills_the_last_slot_before_an_outage_ends_with_the_slot():
    table = table_of(8000, 0, 0, 8000)
    assert end_s(table, 0.0, 125) == 0.125
    assert end_s(table, 0.0, 126) == 0.375 + 0.001


def test_a_transfer_that_starts_in_an_outage_waits_for_its_end():
    assert end_s(table_of(0, 0, 8000), 0.0, 1) == 0.25 + 0.001


def test_whole_periods_are_added_up():
    table = table_of(8000, 0, 16_000)  # 375 bytes in 0.375 s
    assert end_s(table, 0.0, 1000 * 375) == 375.0
    assert end_s(table, 0.0, 1000 * 375 + 1) == 375.0 + 0.001
    assert end_s(table, 0.375 * 7, 375) == 0.375 * 8


def test_nothing_to_send_ends_at_once_even_while_the_link_is_down():
    table = table_of(0, 0, 8000)
    for start_s in (0.0, 0.1, 0.25, 0.3, 7.7):
        assert end_s(table, start_s, 0) == start_s
    assert end_s(table_of(0, 0), 0.1, 0) == 0.1


def test_a_link_without_any_rate_never_ends_a_transfer_in_that_direction_alone():
    table = LinkTable(0.1, np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 3)))
    assert end_s(table, 0.05, 1) == np.inf
    down = table.transfer_end_s(Direction.DOWN, ALL, np.array([0.0]), np.array([1]))
    np.testing.assert_allclose(down, [8.0])


def test_what_follows_a_transfer_without_end_has_no_end_and_warns_of_nothing(recwarn):
    table = table_of(8000, 0)
    start_s, row = np.array([np.inf, 0.0]), np.zeros(2, dtype=np.intp)
    found = table.transfer_end_s(Direction.UP, row, start_s, np.array([5, 5]))
    np.testing.assert_array_equal(found, [np.inf, 0.005])
    table.rtt_s_at(row, start_s)
    assert not recwarn.list


@pytest.mark.parametrize("seed", range(10))
def test_sending_in_two_parts_takes_as_long_as_sending_at_once(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, n=4, slots=12)
    row, start_s = rng.integers(4, size=200), rng.uniform(0, 3 * table.period_s, 200)
    first, second = rng.uniform(1, 1e5, (2, 200))
    between = table.transfer_end_s(Direction.UP, row, start_s, first)
    np.testing.assert_allclose(
        table.transfer_end_s(Direction.UP, row, between, second),
        table.transfer_end_s(Direction.UP, row, start_s, first + second),
        rtol=1e-9,
    )


@pytest.mark.parametrize("seed", range(10))
def test_later_starts_and_larger_payloads_never_end_earlier(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, n=1, slots=12)
    row, payload = np.zeros(300, dtype=np.intp), np.sort(rng.uniform(0, 1e6, 300))
    same = np.full(300, rng.uniform(0, table.period_s))
    assert (np.diff(table.transfer_end_s(Direction.UP, row, same, payload)) >= -1e-9).all()
    start_s = np.sort(rng.uniform(0, 3 * table.period_s, 300))
    ends = table.transfer_end_s(Direction.UP, row, start_s, np.full(300, 2e4))
    assert (np.diff(ends) >= -1e-9).all()
    assert (ends >= start_s).all()


def test_a_long_session_on_a_fast_link_stays_exact_to_a_nanosecond():
    rng = np.random.default_rng(0)
    table = LinkTable(0.05, *rng.uniform(1e8, 2e9, (2, 1, 12_000)), np.zeros((1, 12_000)))
    start_s = 5 * table.period_s + 123.456
    expected = oracle_end_s(table.up_bps[0].tolist(), 0.05, start_s, 600_000_000)
    assert end_s(table, start_s, 600_000_000) == pytest.approx(expected, abs=1e-9)


def test_rates_and_round_trips_are_those_of_the_slot_and_repeat():
    up_bps = np.array([[1.0, 2.0], [3.0, 4.0]])
    table = LinkTable(0.5, up_bps, 10 * up_bps, up_bps / 100)
    row, time_s = np.array([0, 0, 0, 1, 1]), np.array([0.0, 0.49, 0.5, 1.0, 7.75])
    up = table.rate_bps(Direction.UP, row, time_s)
    np.testing.assert_array_equal(up, [1.0, 1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(table.rate_bps(Direction.DOWN, row, time_s), 10 * up)
    np.testing.assert_array_equal(table.rtt_s_at(row, time_s), up / 100)


def test_a_table_is_a_copy_that_cannot_be_written():
    up_bps = np.ones((1, 2))
    table = LinkTable(0.5, up_bps, up_bps, up_bps)
    up_bps[:] = 7.0
    assert (table.up_bps == 1.0).all()
    with pytest.raises(ValueError, match="read-only"):
        table.up_bps[0, 0] = 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slot_s": 0.0}, "slot_s must be finite and above 0, got 0.0"),
        ({"slot_s": np.nan}, "slot_s must be finite and above 0, got nan"),
        ({"up_bps": np.array([[1.0, -2.0]])}, "up_bps must be finite and >= 0, got -2.0"),
        ({"down_bps": np.array([[1.0, np.nan]])}, "down_bps must be finite and >= 0, got nan"),
        ({"rtt_s": np.array([[np.inf, 0.0]])}, "rtt_s must be finite and >= 0, got inf"),
        ({"up_bps": np.ones(2)}, r"up_bps must have shape \[n, slots\], got \(2,\)"),
        ({"rtt_s": np.ones((1, 3))}, r"rtt_s must have shape \(1, 2\), got \(1, 3\)"),
    ],
)
def test_impossible_tables_are_refused(change, message):
    good = {"slot_s": 0.5, "up_bps": np.ones((1, 2)), "down_bps": np.ones((1, 2))}
    with pytest.raises(InvalidSetting, match=message):
        LinkTable(**{**good, "rtt_s": np.ones((1, 2)), **change})
