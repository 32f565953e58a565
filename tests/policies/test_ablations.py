"""Ablations train every study once, go on where they were stopped, and tell what is paired."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from covspec_core.errors import InvalidSetting, RunConflict
from env.presets import CONF
from policies.experiments import ablations
from policies.experiments.ablations import AblationSettings
from policies.settings import layered
from tests.policies.conftest import toy_recording

STUDIES = {
    "all": {"algorithm": "ppo", "observation": "all"},
    "history_4": {"algorithm": "ppo", "observation": "history_4"},
}
QUICK = {"num_envs": 32, "rollout_steps": 16, "batch_size": 128, "threads": 1, "hidden": [16]}
VALUES = {"name": "ablations", "reference": "all", "seeds": (0, 1), "total_steps": 512}
VALUES |= {"reward": "training"}


@pytest.fixture
def config(tmp_path, monkeypatch):
    toy_recording().save(tmp_path / "toy.npz")
    overrides = [
        "experiment=ablations", "scenario=paper", "scenario.link_rows=8", "scenario.link_s=20.0",
        f"model.recording={tmp_path / 'toy.npz'}", f"runs_dir={tmp_path}", "name=study",
        "judging.sessions=4", "judging.validation_sessions=4",
        "experiment.total_steps=512", "experiment.seeds=[0,1]", "experiment.teachers=[edge_only]",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base=None):
        values = OmegaConf.to_container(compose("evaluate", overrides), resolve=True)
    values["experiment"]["studies"] = STUDIES
    # The files' trainings are for thousands of sessions side by side.
    whole = AblationSettings.algorithm
    quick = lambda self, study: whole(self, study) | QUICK  # noqa: E731
    monkeypatch.setattr(AblationSettings, "algorithm", quick)
    return values


def test_every_study_is_trained_with_every_seed_and_held_against_the_reference(config, tmp_path):
    found = ablations.run(config).values["studies"]
    assert list(found) == ["all", "history_4", "edge_only"]
    assert found["edge_only"]["speedup"] == pytest.approx(1.0)
    assert found["all"]["over_reference"]["gain_percent"] == 0.0
    for study in STUDIES:
        assert len(found[study]["seeds"]) == 2
        assert found[study]["speedup"] == pytest.approx(np.mean(found[study]["seeds"]))
        for seed in (0, 1):
            head = tmp_path / "study" / f"{study}_seed{seed}" / "policy" / "controller.json"
            network = json.loads(head.read_text())["network"]
            assert network["history"] == (4 if study == "history_4" else 1)
    page = (tmp_path / "study" / "ablations.md").read_text()
    assert all(f"| {study} |" in page for study in found)


def test_what_was_trained_is_not_trained_again(config, tmp_path):
    first = ablations.run(config).values["studies"]
    heads = sorted((tmp_path / "study").glob("*/checkpoint.pkl"))
    before = [head.stat().st_mtime_ns for head in heads]
    config["experiment"]["resume"] = str(tmp_path / "study")
    again = ablations.run(config).values["studies"]
    assert again == first
    assert [head.stat().st_mtime_ns for head in heads] == before
    assert len(before) == 4
    (tmp_path / "study" / "all_seed1" / "policy" / "controller.json").unlink()
    assert ablations.run(config).values["studies"] == first


def test_a_table_names_every_process_that_worked_for_it(config, tmp_path):
    config["experiment"]["seeds"] = [0]
    config["launcher"] = {"kind": "processes", "workers": 2}
    first = ablations.run(config).values
    config["experiment"]["resume"] = str(tmp_path / "study")
    config["launcher"] = {"kind": "serial"}
    again = ablations.run(config).values
    assert again["studies"] == first["studies"]
    assert again["earlier"] == [first["provenance"]]


def test_a_folder_of_other_trainings_is_refused(config, tmp_path):
    config["experiment"]["seeds"] = [0]
    ablations.run(config)
    config["experiment"] |= {"resume": str(tmp_path / "study"), "total_steps": 1024}
    with pytest.raises(RunConflict, match="was trained with algorithm="):
        ablations.run(config)
    config["experiment"]["total_steps"] = 512
    config["judging"]["validation_sessions"] = 5
    with pytest.raises(RunConflict, match="was trained with judging=4, now asked for 5"):
        ablations.run(config)
    config["experiment"]["resume"] = str(tmp_path / "nowhere")
    with pytest.raises(RunConflict, match="holds no experiment"):
        ablations.run(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": ()}, "seeds must be different and >= 0, at least one"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"reference": "none"}, "reference must be one of .*, got 'none'"),
        ({"studies": STUDIES | {"x": {"algorithm": "ppo"}}}, "studies.x needs an algorithm and"),
        (
            {"studies": STUDIES | {"x": {"algorithm": "ppo", "observation": "blind"}}},
            "observation must be one of",
        ),
        (
            {"studies": STUDIES | {"x": {"algorithm": "magic", "observation": "all"}}},
            "algorithm must be one of",
        ),
        ({"total_steps": 0}, "total_steps must lie in"),
    ],
    ids=str,
)
def test_impossible_studies_are_refused(changes, said):
    with pytest.raises(InvalidSetting, match=said):
        AblationSettings(**{**VALUES, "studies": STUDIES} | changes)


def test_studies_may_be_trained_with_a_reward_that_is_laid_over_another(config, tmp_path):
    config["experiment"] |= {"reward": "gated", "seeds": [0]}
    ablations.run(config)
    for study in STUDIES:
        written = (tmp_path / "study" / f"{study}_seed0" / "config.yaml").read_text()
        assert yaml.safe_load(written)["reward"] == layered("reward", "gated")


def test_a_study_struck_out_is_not_chosen():
    asked = AblationSettings(**VALUES, studies=STUDIES | {"history_4": None})
    assert list(asked.chosen) == ["all"]


def test_trainings_have_the_threads_that_are_asked_for_or_their_algorithms():
    asked = AblationSettings(**VALUES, studies=STUDIES)
    assert asked.algorithm("all") == layered("algorithm", "ppo") | {"total_steps": 512}
    alone = replace(asked, threads=1)
    assert alone.algorithm("all") == asked.algorithm("all") | {"threads": 1}


def test_files_without_hydra_are_what_hydra_composes():
    for group in ("algorithm", "observation", "reward"):
        for path in sorted((CONF / group).glob("*.yaml")):
            with initialize_config_dir(str(CONF), version_base=None):
                composed = compose("train", [f"{group}={path.stem}"])[group]
            assert OmegaConf.to_container(composed) == layered(group, path.stem)
