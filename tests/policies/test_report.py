"""What a report holds, as JSON and as a page."""

from __future__ import annotations

import json
from functools import partial

import pytest

from covspec_core.provenance import provenance
from env.play import World
from policies.bounds import BOUNDS
from policies.card import write_card
from policies.report import ALL, build_report, judge_all, judge_bounds, markdown, write_report
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
def worlds(recording):
    return {
        name: World.load(toy_scenario(bps=bps), "test", recording) for name, bps in REGIMES.items()
    }


@pytest.fixture(scope="module")
def judged(controllers, worlds):
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


@pytest.fixture(scope="module")
def with_bounds(judged, worlds):
    return judged | judge_bounds(list(BOUNDS), worlds, 8, 0, lambda line: None)


def test_bounds_play_the_same_sessions_and_are_marked_as_not_deployable(with_bounds):
    report = build_report(with_bounds, provenance(0), {}, 0)
    assert set(report["comparisons"]) == {f"learned_vs_{rival}" for rival in RIVALS}
    for regime in (*REGIMES, ALL):
        speed = {name: scores[regime].speedup for name, scores in with_bounds.items()}
        assert (speed["outcome_oracle"] >= speed["tuned_rule"] - 1e-9).all()
    page = markdown(report)
    for name in BOUNDS:
        assert f"| {name} (bound, not deployable) |" in page
    assert "| learned |" in page


def test_the_share_of_the_gap_to_the_law_oracle_stands_beside_the_gain(with_bounds):
    report = build_report(with_bounds, provenance(0), {}, 0)
    for rival in RIVALS:
        for regime, found in report["comparisons"][f"learned_vs_{rival}"].items():
            ours, rule, bound = (
                with_bounds[name][regime].speedup.mean()
                for name in ("learned", rival, "law_oracle")
            )
            assert bound > rule
            assert found["gap_closed"] == pytest.approx((ours - rule) / (bound - rule))
            low, high = found["gap_ci95"]
            assert low <= found["gap_closed"] <= high
            assert f"| {found['gap_closed']:.0%} | {low:.0%} to {high:.0%} |" in markdown(report)


def test_where_a_rival_is_beyond_the_bound_there_is_no_gap_to_close(judged):
    """Lossy ones may be: the bound keeps the target's law."""
    below = judged | {"law_oracle": judged["tuned_rule"]}
    found = build_report(below, provenance(0), {}, 0)
    assert found["comparisons"]["learned_vs_tuned_rule"][ALL]["gap_closed"] is None
    assert "| no gap |" in markdown(found)


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
    assert (
        "- trained on links: toy\n- trained on protocols: coupled\n- training took 12 s\n" in card
    )
    assert "trained on parts" not in card
