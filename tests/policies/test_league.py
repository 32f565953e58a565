"""The league: its measures, perturbations, kept pieces and page."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from scipy.stats import mannwhitneyu, trim_mean

from covspec_core.errors import InvalidSetting, RunConflict
from env.presets import CONF
from policies import league_players, measures
from policies.console import plain
from policies.experiments import league
from policies.league_page import best_rival, markdown, not_helped
from policies.league_regimes import TRAINED, grouped_regimes
from policies.measures import Draws
from policies.perturbed import LINK_FIELDS, RATES, StaleLink, WrongLink
from tests.policies.conftest import status_with

QUICK = (
    "name=a", "launcher=serial", "experiment.seeds=2", "experiment.first_seed=3",
    "experiment.controllers=[edge_only,device_only,paper_rule,tuned_rule]",
    "experiment.sensitivity.controllers=[learned,tuned_rule]", "experiment.sensitivity.sigma=[1.0]",
    "experiment.sensitivity.rounds=[1]", "experiment.sensitivity.sessions=2",
    "experiment.oracles={names:[law_oracle],sessions:2}",
    "experiment.held_out.unseen_technology=null", "experiment.held_out.unseen_hardware=null",
    "experiment.held_out.unseen_links=null", "experiment.held_out.unseen_emulated=null",
    "+scenario@experiment.held_out.slower=custom",
    "experiment.held_out.slower.device_factor=[2.0,2.5]",
    "scenario=paper", "algorithm.total_steps=512", "algorithm.num_envs=16",
    "algorithm.rollout_steps=16", "algorithm.batch_size=128", "algorithm.hidden=[8]",
    "judging.sessions=4", "judging.validation_sessions=4", "tuning.trials=2", "tuning.sessions=4",
    "tuning.final_sessions=4",
)  # fmt: skip


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("evaluate", overrides=["experiment=league", *overrides]))


class Witness:
    """Keeps the statuses that it is shown."""

    def __init__(self):
        self.seen = []

    def begin(self, size):
        self.seen = []

    def decide(self, status):
        self.seen.append(status)


def test_an_interquartile_mean_is_scipys_trimmed_mean_in_every_resample():
    scores = np.random.default_rng(0).gamma(2.0, 1.0, (3, 2, 4))
    draws = Draws.of(3, 4, seed=1, resamples=50)
    for row, found in enumerate(draws.trimmed_means(scores)):
        seeds, sessions = (np.repeat(np.arange(w.shape[1]), w[row])
                           for w in (draws.seeds, draws.sessions))  # fmt: skip
        again = scores[np.ix_(seeds, [0, 1], sessions)]
        assert found == pytest.approx(trim_mean(again, 0.25, axis=None))
        assert draws.means(scores)[row] == pytest.approx(again.mean())


def test_sessions_are_drawn_alike_for_all_controllers():
    one, many = (Draws.of(seeds, 5, seed=4, resamples=20) for seeds in (1, 10))
    np.testing.assert_array_equal(one.sessions, many.sessions)
    np.testing.assert_array_equal(many.sessions.sum(1), 5)
    np.testing.assert_array_equal(many.seeds.sum(1), 10)
    np.testing.assert_array_equal(one.seeds, 1)


def test_regimes_that_share_all_luck_have_the_interval_of_one_of_them():
    rng, draws = np.random.default_rng(6), Draws.of(4, 30, 0)
    ours, (theirs, oracle) = rng.uniform(1, 2, (4, 1, 30)), rng.uniform(1, 2, (2, 1, 1, 30))
    once, often = (
        [np.tile(own, (1, regimes, 1)) for own in (ours, theirs, oracle + 1)] for regimes in (1, 9)
    )
    for measure in (measures.gain, measures.gap_closed, measures.improvement):
        count = 3 if measure is measures.gap_closed else 2
        one, many = (measure(*own[:count], draws) for own in (once, often))
        assert many["ci95"] == pytest.approx(one["ci95"])
        assert one["ci95"][1] - one["ci95"][0] > 0.01
    one, many = (measures.summary(own[0], draws) for own in (once, often))
    for name in ("mean_ci95", "iqm_ci95"):
        assert many[name] == pytest.approx(one[name])


def test_regimes_that_share_no_luck_have_a_narrower_interval_together():
    scores, draws = np.random.default_rng(7).normal(1.5, 0.2, (1, 9, 400)), Draws.of(1, 400, 0)
    low, high = measures.interval(draws.means(scores))
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / 20 / 3, rel=0.15)


def test_the_chance_of_improvement_is_the_mann_whitney_statistic_over_both_counts():
    rng = np.random.default_rng(2)
    ours, theirs = (
        rng.integers(1, 4, (7, 2, 5)).astype(float),
        rng.integers(1, 4, (1, 2, 5)).astype(float),
    )
    draws = Draws.of(7, 5, 0)
    wanted = [mannwhitneyu(ours[:, r, s], theirs[:, r, s]).statistic / 7
              for r in range(2) for s in range(5)]  # fmt: skip
    found = measures.improvement(ours, theirs, draws)
    assert found["probability"] == pytest.approx(np.mean(wanted))
    assert found["ci95"][0] <= found["probability"] <= found["ci95"][1]


def test_equal_controllers_improve_by_half_and_gain_nothing():
    scores = np.random.default_rng(3).uniform(1, 2, (1, 2, 6))
    draws = Draws.of(1, 6, 0)
    assert measures.improvement(scores, scores, draws) == {"probability": 0.5, "ci95": [0.5, 0.5]}
    assert measures.gain(scores, scores, draws) == {"gain_percent": 0.0, "ci95": [0.0, 0.0]}


def test_a_gain_over_several_seeds_bears_their_luck_too():
    rng = np.random.default_rng(4)
    sessions = rng.uniform(1, 2, (1, 2, 40))
    ours, theirs = (sessions + rng.normal(0, 0.1, (3, 1, 1)) for _ in range(2))
    draws, drawn = Draws.of(3, 40, 0), Draws.of(3, 40, 0, whose=1)
    np.testing.assert_array_equal(draws.sessions, drawn.sessions)
    assert (draws.seeds != drawn.seeds).any()
    low, high = measures.gain(ours, theirs, draws, drawn)["ci95"]
    seeds = [100 * (a / b - 1) for a in ours.mean((1, 2)) for b in theirs.mean((1, 2))]
    assert min(seeds) - 1 < low < min(seeds) / 3
    assert max(seeds) / 3 < high < max(seeds) + 1


def test_a_controller_half_way_to_the_oracle_closes_half_of_the_gap():
    rule = np.random.default_rng(5).uniform(1, 2, (1, 2, 6))
    draws = Draws.of(1, 6, 0)
    found = measures.gap_closed(rule + 0.2, rule, rule + 0.4, draws)
    assert found["gap_closed"] == pytest.approx(0.5)
    assert found["ci95"] == pytest.approx([0.5, 0.5])
    assert measures.gap_closed(rule, rule, rule, draws)["gap_closed"] is None


def test_a_profile_is_the_share_of_scores_above_a_level():
    scores = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    found = measures.profile(scores, np.array([0.0, 2.0, 4.0]), Draws.of(2, 2, 0))
    assert found["share"] == [1.0, 0.5, 0.0]
    assert found["low"][0] == found["high"][0] == 1.0


def test_a_wrong_link_scales_rates_by_one_factor_a_session_and_leaves_the_rest():
    status, witness = status_with(500, up_bps=1e6, down_bps=2e6), Witness()
    wrong = WrongLink(witness, 0.5, seed=7)
    wrong.begin(500)
    wrong.decide(status)
    wrong.decide(status)
    first, second = witness.seen
    np.testing.assert_array_equal(first.values, second.values)
    drawn = np.random.default_rng(7).normal(0.0, 1.0, (500, 2))
    for column, name in enumerate(RATES):
        np.testing.assert_allclose(first[name], status[name] * np.exp(0.5 * drawn[:, column]))
        first[name] = status[name]
    np.testing.assert_array_equal(first.values, status.values)
    assert (status["up_bps"] == 1e6).all()


def test_a_stale_link_is_reported_as_it_stood_some_rounds_ago():
    witness = Witness()
    stale = StaleLink(witness, 2)
    for _ in range(2):
        stale.begin(1)
        for now in range(5):
            fields = {name: 10.0 + now for name in LINK_FIELDS}
            stale.decide(status_with(1, tokens=float(now), **fields))
        assert [seen["up_bps"][0] for seen in witness.seen] == [10, 10, 10, 11, 12]
        assert [seen["rtt_s"][0] for seen in witness.seen] == [10, 10, 10, 11, 12]
        assert [seen["tokens"][0] for seen in witness.seen] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "make", [lambda: WrongLink(Witness(), -0.1, 0), lambda: StaleLink(Witness(), -1)]
)
def test_impossible_perturbations_are_refused(make):
    with pytest.raises(InvalidSetting, match="must be >= 0"):
        make()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("experiment.controllers=[paper_rule]", "must hold tuned_rule"),
        ("experiment.seeds=-1", "experiment.seeds must be >= 0"),
        ("experiment.oracles.names=[oracle]", "names among"),
        ("experiment.sensitivity.sigma=[0.0]", "sigma > 0"),
        ("experiment.sensitivity.controllers=[nobody]", "must be among"),
        ("+experiment.finished.other=[nowhere]", "folders of trained controllers"),
        ("+scenario@experiment.held_out.group=paper", "names of their own"),
        ("experiment.resume=nowhere", "no league to go on with"),
        ("judging.sessions=63", "oracles.sessions must be at most judging.sessions, 63, got 64"),
        ("+level=token algorithm.imitation_rounds=0", r"got \['learned'\] at token level"),
    ],
)
def test_a_wrong_setting_is_one_error_before_anything_is_played(override, said, tmp_path):
    with pytest.raises((InvalidSetting, RunConflict), match=said):
        league.run(composed(*override.split(), f"runs_dir={tmp_path}", "name=a"))
    assert not (tmp_path / "a").exists()


def test_a_group_of_measured_regimes_is_left_out_aloud_without_traces(monkeypatch, capsys):
    monkeypatch.delenv("COVSPEC_TRACES_DIR", raising=False)
    config = composed("experiment.held_out.unseen_technology=null")
    regimes = grouped_regimes(config, config["experiment"]["held_out"])
    assert list(regimes.groups) == [TRAINED, "unseen_emulated", "unseen_hardware"]
    assert "group unseen_links is left out: it needs measured traces" in capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def found(runs):
    """What a small league on the embedded pair's recording found."""
    return league.run(composed(*QUICK, f"runs_dir={runs}"))


def test_a_league_reports_everyone_everywhere_in_strict_json(found, runs):
    report = json.loads((runs / "a" / "report.json").read_text(), parse_constant=pytest.fail)
    assert report == json.loads(json.dumps(found.values))
    names = {"learned", "edge_only", "device_only", "paper_rule", "tuned_rule"}
    regimes = {"paper", "custom", "trained_on", "slower", "all"}
    assert set(report["controllers"]) == names
    assert all(set(own) == regimes for own in report["controllers"].values())
    versus = report["comparisons"]["learned_vs_tuned_rule"]
    assert {"gain_percent", "ci95", "improvement", "gap_closed"} <= set(versus["all"])
    assert report["controllers"]["learned"]["all"]["n_sessions"] == 2 * 2 * 4
    assert len(report["controllers"]["learned"]["all"]["speedup_of_seeds"]) == 2
    assert set(report["sensitivity"]) == {"wrong_1", "stale_1"}
    assert report["tuned"]["rule"]["constants"]["longest"] >= 1


def test_the_page_names_every_regime_where_learning_does_not_help(found):
    listed = not_helped(found.values, "learned")
    for regime, own in found.values["comparisons"]["learned_vs_tuned_rule"].items():
        named = any((regime, "tuned_rule") == row[:2] for row in listed)
        assert named == (own["ci95"][0] <= 0)
    page = found.text
    assert "Where `learned` does not help" in page
    for regime, rival, own in listed:
        assert f"| {regime} | {rival} | {own['gain_percent']:+.1f} % |" in page


def test_the_page_tells_every_process_and_bears_a_league_in_which_all_deviate(found):
    report = json.loads(json.dumps(found.values))
    report["earlier"] = [report["provenance"] | {"commit": "c0ffee" * 7}]
    for own in report["controllers"].values():
        for figures in own.values():
            figures["deviation_rate"] = 0.01
    page = markdown(report)
    for made in (*report["earlier"], report["provenance"]):
        assert f"at commit `{made['commit'][:12]}`" in page
    assert best_rival(report, "all") is None


def test_a_second_run_takes_all_that_is_kept(found, runs, monkeypatch):
    def fail(*_):
        raise AssertionError("nothing was left to do")

    for module, name in ((league, "play"), (league_players, "train"), (league_players, "search")):
        monkeypatch.setattr(module, name, fail)
    resumed = (*QUICK, f"runs_dir={runs}", f"experiment.resume={runs / 'a'}")
    again = league.run(composed(*resumed))
    assert again.values["controllers"] == found.values["controllers"]
    assert again.values["sensitivity"] == found.values["sensitivity"]
    with pytest.raises(AssertionError, match="nothing was left"):
        league.run(composed(*resumed, "judging.sessions=5"))


def test_trainings_of_other_settings_have_other_folders():
    def names(*overrides):
        return [
            own["name"] for own in league_players.training_configs(composed(*overrides), (1, 2))
        ]

    assert len({*names(), *names("algorithm.gamma=0.9"), *names("reward=time")}) == 6
    assert names() == names("runs_dir=elsewhere") == names("tuning.trials=8")
    copied = "algorithm.imitation_rounds=8"
    assert names(copied) != names(copied, "tuning.trials=8")
