"""The fit finds laws with given figures, and writes files that build into them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from covspec_core.errors import BrokenTrace
from covspec_core.links import fit, fitting
from covspec_core.links.fitting import RttTarget, Target, emulated, fit_correlation, fit_round_trips
from covspec_core.links.measured import PLANS, read_measured
from covspec_core.links.network import NetworkLink, NetworkRate
from covspec_core.links.statistics import RateStatistics

LAW = NetworkRate(
    median_bps=8e6, sigma_low=0.6, sigma_high=0.5, slow_s=1.5, fast_share=0.1,
    dip_share=0.08, dip_s=1.0, dip_bps=0.1e6, dip_sigma=0.8, idle_share=0.03,
)  # fmt: skip
NOTHING = RateStatistics(1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
ASKED = Target(NOTHING, (0.0, 0.0, 0.0), 0.1, True, 20.0, 0.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Few links and few steps."""
    monkeypatch.setattr(fitting, "N_SLOTS", 20_000)
    monkeypatch.setattr(fitting, "STEPS", 6)


def target_of(law):
    """The figures of a law, as if they had been measured."""
    figures, shares = emulated(law, ASKED)
    return replace(ASKED, figures=figures, shares=tuple(shares.tolist()))


def test_a_fit_finds_a_law_with_the_figures_that_it_is_given():
    target = target_of(LAW)
    figures, shares = emulated(fitting.fit_rate(target), target)
    for name in ("median_bps", "p95_bps", "mean_bps"):
        assert getattr(figures, name) == pytest.approx(getattr(target.figures, name), rel=0.05)
    assert figures.p5_bps == pytest.approx(target.figures.p5_bps, rel=0.15)
    for name in ("acf_slot", "acf_1s", "outage_share", "slot_outage_share"):
        assert getattr(figures, name) == pytest.approx(getattr(target.figures, name), abs=0.02)
    assert figures.outage_s == pytest.approx(target.figures.outage_s, rel=0.15)
    np.testing.assert_allclose(shares, target.shares, atol=0.03)


def test_a_correlation_is_found():
    link = NetworkLink(LAW, replace(LAW, median_bps=2e6))
    found = fit_correlation(link, 0.4, 20.0)
    rates = fitting.rate_correlation(replace(link, correlation=found), 20.0)
    assert rates == pytest.approx(0.4, abs=0.02)


def test_round_trips_are_found():
    wanted = (0.067, 0.080, 0.1655, 0.3514)
    least_s, jitter_s, share, spike_s = fit_round_trips(RttTarget(*wanted))
    link = NetworkLink(
        LAW, LAW, rtt_s=(least_s, least_s), jitter_s=jitter_s, spike_share=share, spike_s=spike_s
    )
    rtt_s = link.realise(np.random.default_rng(1), 400, 50.0).rtt_s
    np.testing.assert_allclose(np.quantile(rtt_s, (0.05, 0.5, 0.95, 0.99)), wanted, rtol=0.1)


def statistics_of(law, source, group):
    """A file of statistics with one direction of one network."""
    seen, shares = emulated(law, ASKED)
    rates = {name: getattr(seen, f"{name}_bps") / 1e6 for name in ("mean", "median", "p5", "p95")}
    down = {f"{name}_mbps": value for name, value in rates.items()} | {
        "outage_fraction": seen.outage_share,
        "autocorrelation_1s": {"pooled": seen.acf_1s},
        "autocorrelation_100ms": None,
        "acf_model": {"nu": 0.1, "tau_s": 6.0},
        "gilbert_elliott": {"p_bad_to_good": 1 / seen.outage_s},
        "markov4_fixed": {"share": [*np.diff(shares, prepend=0), 1 - shares[-1]]},
        "log_ar1": {"sd_between_traces": 0.0, "sd_within_trace": 1.0},
        "valid_s": 40.0,
        "n_traces": 2,
    }
    rtt = {"p5_ms": 66, "median_ms": 69, "p95_ms": 89, "p99_ms": 219}
    networks = {group: {"downlink": down, "rtt": rtt}}
    return {"sources": {source: {"by_technology_and_mobility": networks}}}


@pytest.fixture
def statistics(tmp_path):
    plan, path = PLANS["nr_static"], tmp_path / "statistics.json"
    path.write_text(json.dumps(statistics_of(LAW, plan.source, plan.group)))
    return path


def test_the_command_writes_a_file_that_is_the_fitted_link(statistics, tmp_path, capsys):
    out = tmp_path / "links"
    fit.main([str(statistics), "--out", str(out), "--only", "nr_static"])
    text = (out / "nr_static.yaml").read_text()
    values = yaml.safe_load(text)
    assert "downlink alone; the uplink is assumed" in text
    assert "outage share" in capsys.readouterr().out
    assert values.pop("kind") == "network"
    up, down = (NetworkRate(**values.pop(way)) for way in ("up", "down"))
    link = NetworkLink(up, down, **values)
    for name in NetworkRate.__slots__:
        share = 0.5 if name in ("median_bps", "dip_bps", "peak_bps") else 1.0
        assert getattr(up, name) == pytest.approx(share * getattr(down, name), rel=1e-3)
    table = link.realise(np.random.default_rng(0), 50, 100.0)
    assert np.median(table.down_bps) / 1e6 == pytest.approx(7.5, rel=0.25)
    assert np.median(table.rtt_s) == pytest.approx(0.069, rel=0.03)


def test_figures_are_read_as_they_were_measured(statistics):
    measured = read_measured(statistics, PLANS["nr_static"])
    assert (measured.up, measured.correlation) == (None, None)
    assert measured.rtt == RttTarget(0.066, 0.069, 0.089, 0.219)
    assert measured.down.duration_s == 20.0
    assert not measured.down.fine_known
    assert measured.down.figures.acf_slot == pytest.approx(0.9 * np.exp(-0.1 / 6))


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"sources": {}}', '{"sources": 3}'])
def test_a_file_without_the_network_is_named(tmp_path, text):
    path = tmp_path / "statistics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        BrokenTrace, match=r"statistics\.json(: has no| must be a file of) statistics"
    ):
        read_measured(path, PLANS["wifi_office"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "lte_flying"], "network must be one of ['lte_driving'"),
        (["--only", "wifi_office"], "has no statistics of wifi-office"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(statistics, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        fit.main([str(statistics), *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
