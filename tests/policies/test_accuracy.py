"""Right answers against speed: what is asked, kept, stated and drawn."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from covspec_core.errors import InvalidSetting, RunConflict
from env.presets import CONF
from policies import accuracy_report, answers
from policies.answer_store import AnswerStore, digest
from policies.answers import Task, answered, asked
from policies.console import plain
from policies.experiments import accuracy
from policies.failures import broken_rows
from policies.mixes import read_scenarios
from policies.model_settings import ModelSettings
from policies.systems import read_systems
from tests.core.drawn_pair import export_pair

QUICK = (
    "experiment.questions=2", "experiment.checked=1", "experiment.sets=[test,rare]",
    "experiment.workers=0", "experiment.pictures=1", "experiment.systems.u_hlm=null",
    "experiment.systems.covspec.thresholds=[0.0]", "experiment.shown=[edge_only,covspec@0]",
    "experiment.systems.covspec_all_tokens.thresholds=[0.0]",
    "experiment.pruning=[[device_only_pruned,device_only],[covspec@0,covspec_all_tokens@0]]",
    "model.limit=12", "model.head=null",
)  # fmt: skip


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("evaluate", overrides=["experiment=accuracy", *overrides]))


def systems_of(config):
    scenario, _ = read_scenarios(config)
    return {s.name: s for s in read_systems(scenario, config["experiment"]["systems"])}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return export_pair(tmp_path_factory.mktemp("pair"))


def quick(pair, runs, *overrides):
    own = (f"model.draft={pair / 'draft'}", f"model.target={pair / 'target'}", f"runs_dir={runs}")
    return composed(*QUICK, *own, *overrides)


@pytest.fixture(scope="module")
def measured(pair, tmp_path_factory):
    """The folder of a finished measurement, and what was found."""
    runs = tmp_path_factory.mktemp("runs")
    found = accuracy.run(quick(pair, runs, "name=a"))
    return runs / "a", found


def test_a_gate_becomes_one_system_for_every_threshold():
    systems = systems_of(composed())
    gated = [s for s in systems.values() if s.family == "covspec"]
    assert [s.threshold for s in gated] == [0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
    for system in gated:
        controller, scenario = system.controller(0)
        assert controller._gate == system.threshold
        assert scenario.protocol.name == "decoupled"
    assert systems["coupled"].controller(0)[1].protocol.name == "coupled"
    u_hlm, scenario = systems["u_hlm@0.57"].controller(0)
    assert (scenario.gate, scenario.protocol.name) == ("uncertainty", "full")
    assert u_hlm._controller.action.gate_threshold == 0.57


def test_everything_is_written_and_drawn(measured):
    folder, found = measured
    report = json.loads((folder / "report.json").read_text())
    assert report == json.loads(json.dumps(found.values))
    assert {"commit", "command", "seed", "hardware"} <= set(report["provenance"][-1])
    page = (folder / "report.md").read_text()
    assert page == found.text
    drawn = [word.split("(")[1].rstrip(")") for word in page.split() if word.startswith("![")]
    assert {"tradeoff.png", "tradeoff_by_set.png", "kinds.png"} <= set(drawn)
    for name in drawn:
        assert Image.open(folder / name).size[0] > 500


def test_lossless_systems_write_the_edges_text_and_others_are_asked_everything(measured):
    _, found = measured
    systems = found.values["systems"]
    for name in ("decoupled", "coupled"):
        assert systems[name]["equal_texts"] == {"equal": 2, "of": 2}
        assert systems[name]["right_is_the_references"]
        assert systems[name]["sets"]["all"]["right"]["n"] == 4
        assert systems[name]["sets"]["all"]["speedup"]["n"] == 2
    assert systems["device_only"]["equal_texts"]["of"] == 4
    assert not systems["device_only"]["right_is_the_references"]
    assert systems["device_only"]["sets"]["all"]["unchecked"] == 1.0
    assert systems["edge_only"]["sets"]["all"]["speedup"]["mean"] == pytest.approx(1.0)


def test_an_open_gate_is_the_device_alone_until_too_many_tokens_stand_unchecked(measured):
    folder, _ = measured
    gated, alone = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("covspec_all_tokens@0", "device_only")
    )
    assert [row["answer"] for row in gated] == [row["answer"] for row in alone]
    assert all(row["unchecked"] == row["tokens"] for row in gated)


def test_an_interrupted_measurement_goes_on_and_ends_alike(measured, pair, monkeypatch):
    folder, found = measured
    runs = folder.parent

    def cut(tasks, workers):
        for number, done in enumerate(answered(tasks, workers)):
            if number == 3:
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(accuracy, "answered", cut)
    with pytest.raises(KeyboardInterrupt):
        accuracy.run(quick(pair, runs, "name=b"))
    kept = (runs / "b" / "edge_only.jsonl").read_text()
    assert len(kept.splitlines()) == 4
    (runs / "b" / "edge_only.jsonl").write_text(kept[:-20])  # and its last line cut off
    monkeypatch.undo()
    again = accuracy.run(quick(pair, runs, f"experiment.resume={runs / 'b'}"))
    assert again.values["systems"] == found.values["systems"]
    assert len(again.values["provenance"]) == 2
    assert (runs / "b" / "edge_only.jsonl").read_text() == kept


def test_more_questions_only_add_to_those_there_are(measured, pair):
    folder, found = measured
    before = (folder / "device_only.jsonl").read_text()
    more = quick(pair, folder.parent, f"experiment.resume={folder}", "experiment.questions=3",
                 "experiment.sets=[test]")  # fmt: skip
    again = accuracy.run(more)
    after = (folder / "device_only.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 5
    assert again.values["systems"]["device_only"]["sets"]["all"]["right"]["n"] == 3
    assert found.values["questions_of_every_set"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("model.limit=13",), "holds answers made with another model"),
        (("seed=1",), "holds answers made with another seed"),
        (("experiment.systems.device_only_pruned.values.keep=0.5",), "named device_only_pruned"),
        (("scenario.edge_burst=3",), "other systems named .*edge_only"),
    ],
    ids=str,
)
def test_answers_made_with_something_else_are_not_gone_on_with(measured, pair, changes, said):
    folder, _ = measured
    with pytest.raises(RunConflict, match=said):
        accuracy.run(quick(pair, folder.parent, f"experiment.resume={folder}", *changes))


def test_other_weights_are_another_pair(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    one = digest(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert digest(str(tmp_path)) != one
    assert digest("org/name-on-the-hub") == "org/name-on-the-hub"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("experiment.sets=[exam]",), "experiment.sets must be among"),
        (("experiment.questions=0",), "experiment.questions must be >= 1, got 0"),
        (("experiment.workers=-1",), "experiment.workers must be >= 0, got -1"),
        (("experiment.systems.edge_only=null",), "experiment.systems must hold edge_only"),
        (("experiment.shown=[nobody]",), r"experiment.shown must name systems .*\['nobody'\]"),
        (("experiment.pruning=[[a,b]]",), r"experiment.pruning must name .*got \['a', 'b'\]"),
        (("experiment.pruning=[[coupled]]",), "experiment.pruning must hold pairs"),
        (("experiment.systems.coupled.controller=nobody",), "controller must be one of"),
        (("experiment.systems.coupled.controller=tuned_rule",), "systems take no tuned"),
        (("+experiment.systems.coupled.thresholds=[0.5]",), "lossless system has no thresholds"),
        (("+experiment.systems.coupled.colour=red",), "system coupled allows .*colour"),
        (("experiment.systems.coupled=nul",), "system coupled must be a mapping or null"),
        (("experiment.systems.u_hlm.thresholds=[-1.0]",), "thresholds must be >= 0, got"),
        (("experiment.temperature=-1",), "temperature >= 0"),
        (("experiment.resume=nowhere",), "nowhere holds no answers to go on with"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_before_anything_is_loaded(tmp_path, changes, said):
    with pytest.raises((InvalidSetting, RunConflict), match=said):
        accuracy.run(composed(f"runs_dir={tmp_path}", *changes))
    assert not list(tmp_path.iterdir())


def test_the_first_questions_of_all_come_first(tmp_path):
    config = composed("experiment.questions=50", "experiment.checked=50")
    systems = list(systems_of(config).values())[:3]
    model = ModelSettings("a", "b", "c")
    store = AnswerStore(tmp_path, model, systems, 0, {})
    settings = accuracy.AccuracySettings("accuracy", {"edge_only": {}}, questions=50)
    todo = accuracy.tasks(store, systems, settings, model, 0)
    assert [task.indices[0] for task in todo] == [0] * 15 + [20] * 15 + [40] * 15
    asked_of = {(t.system.name, t.set, i) for t in todo for i in t.indices}
    assert len(asked_of) == sum(len(t.indices) for t in todo) == 3 * 5 * 50


def test_a_question_is_the_same_however_many_are_drawn():
    few = asked("rare", 3, 0)
    answers._cases.cache_clear()
    asked("rare", 100, 0)
    again = asked("rare", 3, 0)
    assert few[0] == again[0]
    assert (few[1].key, few[1].question) == (again[1].key, again[1].question)
    keys = {asked(name, i, seed)[1].key for name in ("test", "rare") for i in (0, 1)
            for seed in (0, 1)}  # fmt: skip
    assert len(keys) == 8


def test_processes_answer_as_this_one_does(pair):
    system = systems_of(composed())["device_only"]
    model = ModelSettings(
        str(pair / "draft"), str(pair / "target"), "none", temperature=0.0, limit=4
    )
    tasks = [Task(system, model, "test", (index,), 0) for index in (0, 1)]
    assert list(answered(tasks, 1)) == list(answered(tasks, 0))


def row(right, **changes):
    values = {"answer": str(right), "right": right, "kind": "what", "tokens": 10, "seconds": 2.0,
              "seconds_edge_only": 4.0, "unchecked": 0, "deviations": 0, "bytes": 0}  # fmt: skip
    return values | changes


def stated(**systems):
    """A summary of systems that answered one set."""
    template = systems_of(composed())["device_only"]
    found = {(name, "test"): rows for name, rows in systems.items()}
    made = [replace(template, name=n, family=n, lossless=n == "exact") for n in systems]
    return accuracy_report.summary(made, found, ("test",), {}, 0)


def test_a_lossless_system_that_writes_something_else_stands_by_its_own_answers():
    edge = [row(True), row(True), row(False)]
    same = stated(edge_only=edge, exact=edge[:2])["systems"]["exact"]
    assert same["right_is_the_references"]
    assert same["sets"]["test"]["right"]["mean"] == pytest.approx(2 / 3)
    other = stated(edge_only=edge, exact=[row(True), row(False)])["systems"]["exact"]
    assert not other["right_is_the_references"]
    assert other["equal_texts"] == {"equal": 1, "of": 2}
    assert other["sets"]["test"]["right"] | {"ci95": 0} == {"mean": 0.5, "ci95": 0, "n": 2}


def test_the_frontier_holds_whom_nobody_beats():
    def system(speed, share):
        rights = np.arange(10) < 10 * share
        return [row(bool(r), seconds_edge_only=2.0 * speed) for r in rights]

    found = stated(
        edge_only=system(1.0, 0.9), better=system(1.5, 0.9), worse=system(1.2, 0.8),
        fast=system(3.0, 0.2),
    )  # fmt: skip
    assert found["frontier"]["test"] == ["better", "fast"]


def test_failures_are_right_with_all_tokens_only_and_sets_take_turns():
    whole = {"test": [True, True, True, False], "rare": [True, False]}
    few = {"test": [False, False, True, False], "rare": [False, True]}
    found = {
        (name, split): [row(right, index=i, set=split) for i, right in enumerate(rights)]
        for name, by_set in (("few", few), ("whole", whole))
        for split, rights in by_set.items()
    }
    rows = broken_rows(found, "few", "whole", ("test", "rare"))
    assert [(a["set"], a["index"]) for a, _ in rows] == [("test", 0), ("rare", 0), ("test", 1)]
    assert all(b["right"] and not a["right"] for a, b in rows)
