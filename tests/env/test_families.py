"""Every family of links has a preset, and those that stand for a theory or a table keep to it."""

from __future__ import annotations

import numpy as np
import pytest

from env.presets import CHANNELS, build_link, preset
from tests.env.conftest import PRESETS

FILES = {"npz", "csv", "mahimahi"}
"""Kinds that replay a file of the user's."""
PLAIN = {"constant"}
"""Kinds that need no preset: ``paper`` never changes either."""


def kinds(values):
    """Kinds of a link and of those inside it."""
    inner = (kinds(value) for value in values.values() if isinstance(value, dict))
    return {values["kind"]}.union(*inner) if "kind" in values else set()


def test_every_kind_of_link_is_in_a_preset():
    assert set().union(*(kinds(preset("link", name)) for name in PRESETS)) == (
        set(CHANNELS) - FILES - PLAIN
    )


def test_the_steps_of_markov_are_those_of_a_slow_rayleigh_fade():
    """Wang and Moayeri, 1995: shares and level crossings of an exponential SNR."""
    link = build_link(preset("link", "markov"))
    snr = 10 ** (np.array([-6.7, 0.2, 5.9, 11.7]) / 10) / 10**0.8
    edges = np.concatenate([[0.0], snr, [np.inf]])
    share = -np.diff(np.exp(-edges))
    crossed = np.sqrt(2 * np.pi * snr) * 0.2 * np.exp(-snr) * link.slot_s
    step = np.diag(crossed / share[:-1], 1) + np.diag(crossed / share[1:], -1)
    step += np.diag(1 - step.sum(axis=1))
    np.testing.assert_allclose(link.transition, step, atol=1e-4)
    np.testing.assert_allclose(link.up_bps, 5e6 * np.array([0, 0.1523, 0.6016, 1.4766, 2.7305]),
                               rtol=1e-3)  # fmt: skip


def test_shadowed_has_the_spread_of_a_street_and_a_fast_part_of_3_db():
    link = build_link(preset("link", "shadowed"))
    assert link.sigma_db**2 * (1 - link.fast_share) == pytest.approx(7.82**2, rel=0.01)
    assert link.sigma_db**2 * link.fast_share == pytest.approx(9.0, rel=0.01)
    assert link.slow_s == pytest.approx(13 / (3 / 3.6), rel=0.01)


def test_lossy_uplink_is_slower_up_by_far_and_its_directions_fade_apart():
    table = build_link(preset("link", "lossy_uplink")).realise(np.random.default_rng(0), 50, 60.0)
    assert table.down_bps.mean() > 20 * table.up_bps.mean()
    assert abs(np.corrcoef(table.up_bps.ravel(), table.down_bps.ravel())[0, 1]) < 0.02
    late = table.rtt_s - table.rtt_s.min(axis=1, keepdims=True)
    assert (late > 0.1).mean() == pytest.approx(1 - 0.9 * 0.95, abs=0.01)
