"""What a report holds, as JSON and as a page."""

from __future__ import annotations

import json
from functools import partial

import pytest

from covspec_core.provenance import provenance
from env.play import World
from policies.card import write_card
from policies.report import ALL, build_report, judge_all, markdown, write_report
from policies.rules import AdaptiveRule, RuleSettings, edge_only
from tests.policies.conftest import toy_scenario

REGIMES = {"near": 1e6, "far": 2e4}
KEYS = ("speedup", "mb_per_1024_tokens", "deviation_rate", "ttft_s", "price_saved", "n_sessions")
RIVALS = ("paper_rule", "tuned_rule")


@pytest.fixture(scope="module")
def controllers(recording):
    from env.codec import Codec
    from tests.policies.conftest import random_network

    scenario = toy_scenario()
    lossless = RuleSettings(gate_threshold=float("inf"))
    return {
        "edge_only": edge_only(scenario),
        "paper_rule": AdaptiveRule(scenario, RuleSettings()),
        "tuned_rule": AdaptiveRule(scenario, lossless),
        "learned": random_network(Codec.of(scenario)),
    }


@pytest.fixture(scope="module")
def judged(controllers, recording):
    worlds = {
        name: World.load(toy_scenario(bps=bps), "test", recording) for name, bps in REGIMES.items()
    }
    makers = {
        name: partial(lambda own, _: own, controller) for name, controller in controllers.items()
    }
    return judge_all(makers, worlds, 8, 0, lambda line: None)


@pytest.fixture(scope="module")
def report(judged):
    return build_report(judged, provenance(4), {"seed": 4}, 4)


def test_the_schema_of_a_report(report, tmp_path):
    write_report(report, tmp_path)
    read = json.loads((tmp_path / "report.json").read_text())
    assert set(read) == {"provenance", "config", "controllers", "comparisons"}
    assert {"commit", "command", "seed", "versions", "hardware"} <= set(read["provenance"])
    assert read["provenance"]["seed"] == 4
    assert set(read["controllers"]) == {"edge_only", "paper_rule", "tuned_rule", "learned"}
    for regimes in read["controllers"].values():
        assert list(regimes) == [*REGIMES, ALL]
        for regime, figures in regimes.items():
            assert set(KEYS) <= set(figures)
            assert all(isinstance(figures[key], int | float) for key in KEYS)
            assert figures["n_sessions"] == (16 if regime == ALL else 8)
    assert set(read["comparisons"]) == {f"learned_vs_{rival}" for rival in RIVALS}
    for regimes in read["comparisons"].values():
        assert list(regimes) == [*REGIMES, ALL]
        for found in regimes.values():
            assert set(found) == {"gain_percent", "ci95"}
            low, high = found["ci95"]
            assert low <= found["gain_percent"] <= high


def test_figures_of_a_report_are_those_of_its_sessions(report, judged):
    learned, rule = judged["learned"][ALL], judged["tuned_rule"][ALL]
    figures = report["controllers"]["learned"][ALL]
    assert figures["speedup"] == pytest.approx(learned.speedup.mean())
    gain = report["comparisons"]["learned_vs_tuned_rule"][ALL]["gain_percent"]
    assert gain == pytest.approx(100 * (learned.speedup.mean() / rule.speedup.mean() - 1))
    by_regime = [report["controllers"]["learned"][regime]["speedup"] for regime in REGIMES]
    assert figures["speedup"] == pytest.approx(sum(by_regime) / 2)


def test_the_page_shows_every_controller_regime_and_comparison(report):
    page = markdown(report, ["speed.png"])
    made = report["provenance"]
    assert f"`{made['command']}` at commit `{made['commit'][:12]}`" in page
    for name, regimes in report["controllers"].items():
        row = " | ".join([name, *(f"{figures['speedup']:.3f}" for figures in regimes.values())])
        assert f"| {row} |" in page
        assert f"{regimes[ALL]['mb_per_1024_tokens']:.3f}" in page
    for rival in RIVALS:
        assert f"learned against {rival.replace('_', ' ')}" in page
        for found in report["comparisons"][f"learned_vs_{rival}"].values():
            assert f"{found['gain_percent']:+.1f} %" in page
    assert "![speed](speed.png)" in page


def test_a_report_without_a_learned_controller_compares_nothing(judged):
    rules = {name: scores for name, scores in judged.items() if name != "learned"}
    report = build_report(rules, provenance(0), {}, 0)
    assert report["comparisons"] == {}
    assert "| edge_only |" in markdown(report)


def test_a_card_shows_the_measured_results(report, controllers, tmp_path):
    learned = controllers["learned"]
    learned.meta["training_seconds"] = 12.0
    write_card(tmp_path, learned, report)
    card = (tmp_path / "README.md").read_text()
    for regime, figures in report["controllers"]["learned"].items():
        assert f"| {regime} | {figures['speedup']:.3f} |" in card
    assert "trained on: toy; protocol `coupled`; 12 s" in card
