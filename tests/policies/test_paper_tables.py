"""The paper's tables: the calibration's arithmetic, the fit, the goals, and what is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from covspec_core.errors import InvalidSetting
from covspec_core.profile import HardwareProfile
from covspec_core.provenance import ROOT
from covspec_core.stream import draw_stream
from env.play import World
from env.presets import CONF, build, preset
from policies.console import plain
from policies.experiments import experiment, paper_tables
from policies.factory import make_controller
from policies.judging import judge
from policies.paper_rows import Row, read_rows
from policies.settings import ControllerSettings
from policies.stream_fit import errors

QUICK = (
    "experiment.size.requests=64", "experiment.sessions=64", "experiment.fit.sessions=32",
    "experiment.fit.steps=1", "experiment.tuning.trials=1", "experiment.tuning.sessions=2",
    "experiment.tuning.final_sessions=2",
    "experiment.learning.total_steps=20000", "+experiment.learning.num_envs=64",
    "+experiment.learning.batch_size=1024", "~experiment.ours.fixed_coupled",
    "~experiment.ours.specdec_decoupled", "~experiment.ours.learned_coupled",
)  # fmt: skip
FITTED = ("vanilla_sd", "covspec", "no_gating")
PREDICTED = ("device_only", "u_hlm", "no_branching", "no_adaptation")


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        recording = f"model.recording={ROOT / 'assets' / 'recording.npz'}"
        words = ["experiment=paper_tables", recording, *overrides]
        return plain(compose("evaluate", overrides=words))


def test_the_papers_draft_steps_carry_no_head():
    profile = build(HardwareProfile, composed()["profile"], "profile")
    assert profile == build(
        HardwareProfile, preset("profile", "paper") | {"head_s": 0.0}, "profile"
    )


@cache
def played():
    """Every row of the paper at the constants of the configuration, on test noise."""
    config = composed()
    settings = build(paper_tables.PaperSettings, config["experiment"], "experiment")
    rows = read_rows(settings.rows, "rows")
    tables = paper_tables._tables(config, settings, 0)
    return rows, tables.play(rows, settings.start, "test", settings.sessions)


def even_recording(acceptance):
    """1,024 forced tokens whose chances to stand are all the same."""
    config = composed()
    settings = build(paper_tables.PaperSettings, config["experiment"], "experiment")
    tables = paper_tables._tables(config, settings, 0)
    drawn = draw_stream(settings.start, tables._losses["covspec"], settings.size, "test", 0)
    drawn = replace(drawn, q=np.full_like(drawn.q, acceptance))
    return tables._scenario, drawn, settings.rows["vanilla_sd"]["controller"]


def test_what_random_tokens_cost_is_what_the_pairs_card_says():
    card = (ROOT / "assets" / "pair" / "README.md").read_text().splitlines()
    rows = {cells[1].strip(): cells[2:-1] for line in card if len(cells := line.split("|")) == 10}
    place = [int(tokens) for tokens in rows["visual tokens"]].index(12)
    wanted = float(rows["random"][place])
    assert composed()["experiment"]["random_acceptance"] == wanted


def test_vanilla_is_what_the_calibration_works_out():
    """Length 7 and acceptance 0.9737 give 568.1 MiB, -7.25 % and 0.54 (calibration, "Use")."""
    scenario, drawn, controller = even_recording(0.9737)
    settings = ControllerSettings.of(controller, "vanilla")
    vanilla = make_controller(settings, scenario, 0, lambda rule="rule": None)
    scores = judge(World.load(scenario, "test", drawn), vanilla, 512, 0).summary()
    assert scores["mb_per_1024_tokens"] == pytest.approx(568.1, abs=1.5)
    assert 100 * scores["price_saved"] == pytest.approx(-7.25, abs=0.3)
    assert scores["speedup"] == pytest.approx(0.54, abs=0.005)


@pytest.mark.parametrize("name", [*FITTED, *PREDICTED])
def test_consistent_cells_are_within_the_goals(name):
    rows, found = played()
    row = rows[name]
    consistent = {c: v for c, v in row.reported.items() if c not in row.contradicted}
    for column, error in errors(consistent, found[name]).items():
        assert abs(error) <= 1, (column, found[name])


@pytest.mark.parametrize("name", ["full_tokens", "random_tokens", "no_decoupling"])
def test_contradicted_speeds_are_not_met(name):
    rows, found = played()
    assert "speed" in rows[name].contradicted
    assert found[name]["speed"] > 1.05 * rows[name].reported["speed"]


def test_branches_change_no_byte_and_no_bill():
    _, found = played()
    for column in ("comm", "price", "deviations"):
        assert found["no_branching"][column] == found["covspec"][column]
    assert found["no_branching"]["speed"] < found["covspec"]["speed"]


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    config = composed(*QUICK, f"runs_dir={folder}", "name=once")
    return experiment(config["experiment"])(config), folder / "once"


def test_findings_are_a_list_of_cells(findings):
    (cells, _), folder = findings
    keys = ["table", "row", "column", "reported", "ours", "fitted", "consistent"]
    assert all(list(cell) == keys for cell in json.loads(json.dumps(cells)))
    assert {cell["row"] for cell in cells if cell["fitted"]} == {
        "vanilla SD", "CoVSpec", "w/o margin gating"
    }  # fmt: skip
    assert sum(cell["fitted"] for cell in cells) == 9
    off = {(cell["row"], cell["column"]) for cell in cells if not cell["consistent"]}
    assert ("U-HLM", "price") in off
    assert json.loads((folder / "tables.json").read_text())["cells"] == cells


def test_accuracy_is_claimed_for_lossless_rows_alone(findings):
    (cells, _), _ = findings
    known = {c["row"]: c["ours"] for c in cells if c["column"] == "accuracy"}
    assert known["vanilla SD"] == known["w/o margin gating"] == known["coupled, tuned rule"] == 74.7
    for row in ("device-only", "U-HLM", "CoVSpec", "w/o adaptive drafting"):
        assert known[row] is None


def test_the_page_has_both_tables_ours_and_where_it_comes_from(findings):
    (_, text), folder = findings
    for part in ("commit", "seed 0", "## Table I", "## Table II", "## Our settings", "U-HLM:"):
        assert part in text
    assert "| decoupled, learned |" in text
    assert (folder / "tables.md").read_text() == text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("experiment.fit.rows=[nope]", "fit.rows must be among"),
        ("experiment.rows.no_adaptation.mean_of=nope", "mean_of must be one of"),
        ("+experiment.rows.covspec.nope=1", "rows.covspec allows"),
        ("+experiment.rows.covspec.controller.nope=1", "covspec"),
        ("+experiment.rows.covspec.reported.nope=1", "allows columns"),
        ("experiment.start.clarity=1.5", "stream.clarity must lie in"),
        ("experiment.sessions=0", "sessions >= 1"),
        ("experiment.learning.total_steps=0", "total_steps"),
    ],
)
def test_wrong_settings_are_refused_before_a_folder_is_made(tmp_path, override, said):
    config = composed(*QUICK, f"runs_dir={tmp_path / 'runs'}", override)
    with pytest.raises(InvalidSetting, match=said):
        experiment(config["experiment"])(config)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_reduction_is_refused():
    with pytest.raises(InvalidSetting, match="reduction must be covspec or random"):
        Row("x", reduction="magic")
