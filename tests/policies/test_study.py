"""A study finds the same however often it is interrupted; spaces are read as W&B reads them."""

from __future__ import annotations

import json
import re

import optuna
import pytest
import yaml

from covspec_core.errors import InvalidSetting, RunConflict
from env.presets import CONF
from policies.grid import combinations, run_grid
from policies.runs import claimed
from policies.space import Choice, Metric, Range, Space, Stop
from policies.study import main, run_study
from policies.trials import Referee, Trials
from tests.policies.test_launcher import tiny  # noqa: F401 (a fixture)

SPACE = {
    "method": "bayes",
    "metric": {"name": "validation_worth", "goal": "maximize"},
    "parameters": {
        "algorithm.learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "algorithm.epochs": {"values": [1, 2]},
    },
    "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
}


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


def trials_of(folder):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")
    return [(t.params, t.state, t.value, t.intermediate_values) for t in study.trials]


def test_a_study_goes_on_to_what_it_would_have_found(tiny, sweep, tmp_path):  # noqa: F811
    found = {}
    for name, budgets in (("whole", (4,)), ("cut", (2, 4))):
        # The name of the study decides the brackets of hyperband.
        place = tmp_path / name
        for most in budgets:
            run_study(sweep, "study", most, None, (*tiny, f"runs_dir={place}"))
        found[name] = trials_of(place / "study")
    assert found["cut"] == found["whole"]
    written = json.loads((tmp_path / "cut" / "study" / "study.json").read_text())
    assert written["value"] == max(value for _, state, value, _ in found["cut"] if state == 1)
    assert written["command"].startswith("python train.py ")


def test_a_trial_that_somebody_left_is_played_first(tiny, sweep, tmp_path):  # noqa: F811
    folder = tmp_path / "study"
    referee = Referee(folder, Space.load(sweep), "none")
    dead, alive, third = (Trials(referee, tiny, 3, 0) for _ in range(3))
    with dead.working():
        left = next(dead.jobs())
    with alive.working(), third.working():
        jobs = alive.jobs()
        assert next(jobs).overrides == left.overrides
        assert [job.name for job in third.jobs()] == ["study_001", "study_002"]
        assert next(jobs, None) is None


def test_hyperband_and_median_stop_what_does_worse(sweep, tmp_path):
    for pruner in ("hyperband", "median"):
        folder = tmp_path / pruner
        folder.mkdir()
        referee = Referee(folder, Space.load(sweep), pruner)
        stopped = []
        for number in range(9):
            study, worth = referee.study(), 2.0 if number < 6 else 1.0
            study.ask()
            asked = (referee(f"{pruner}_{number:03d}", step, worth) for step in range(1, 9))
            if any(asked):
                stopped.append(number)
                study.tell(number, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(number, worth)
        assert stopped
        assert min(stopped) >= 6


def test_another_search_in_the_same_folder_is_refused(tiny, sweep, tmp_path):  # noqa: F811
    referee = Referee(tmp_path / "study", Space.load(sweep), "none")
    with Trials(referee, tiny, 1, 0).working():
        pass
    other = Trials(referee, tiny, 1, 1)
    with pytest.raises(RunConflict, match="choose another --name"), other.working():
        pass


def test_what_cannot_be_trained_is_a_failed_trial_and_the_rest_goes_on(
    tiny, sweep, tmp_path, capsys  # noqa: F811
):  # fmt: skip
    values = SPACE | {"method": "grid", "parameters": {"algorithm.epochs": {"values": [0, 1]}}}
    sweep.write_text(yaml.safe_dump(values))
    run_study(sweep, "study", 9, None, (*tiny, f"runs_dir={tmp_path}"))
    states = [state.name for _, state, _, _ in trials_of(tmp_path / "study")]
    assert states == ["FAIL", "COMPLETE"]
    assert "study_000 cannot be trained: algorithm.epochs" in capsys.readouterr().err


def test_a_metric_that_no_run_has_is_said_and_the_trial_is_not_played_again(
    tiny, sweep, tmp_path  # noqa: F811
):  # fmt: skip
    metric = {"name": "validation_wurth", "goal": "maximize"}
    sweep.write_text(yaml.safe_dump(SPACE | {"metric": metric}))
    with pytest.raises(InvalidSetting, match="got 'validation_wurth', which study_000 never had"):
        run_study(sweep, "study", 2, None, (*tiny, f"runs_dir={tmp_path}"))
    assert [state.name for _, state, _, _ in trials_of(tmp_path / "study")] == ["FAIL"]


def test_a_sweep_file_may_say_how_many_trials_there_are(tiny, sweep, tmp_path):  # noqa: F811
    sweep.write_text(yaml.safe_dump(SPACE | {"run_cap": 2}))
    run_study(sweep, "study", None, None, (*tiny, f"runs_dir={tmp_path}"))
    assert len(trials_of(tmp_path / "study")) == 2


def test_what_is_given_by_hand_is_not_searched(tiny, sweep, tmp_path):  # noqa: F811
    words = (*tiny, "algorithm.epochs=2", f"runs_dir={tmp_path}")
    run_study(sweep, "study", 2, None, words)
    assert all(
        set(trial[0]) == {"algorithm.learning_rate"} for trial in trials_of(tmp_path / "study")
    )
    written = json.loads((tmp_path / "study" / "study.json").read_text())
    assert "algorithm.epochs=2" in written["command"]
    with pytest.raises(InvalidSetting, match="parameters must be one or more, got none"):
        run_study(sweep, "all", 1, None, (*words, "algorithm.learning_rate=0.001"))


def test_a_grid_plays_every_combination_and_only_once(tiny, tmp_path):  # noqa: F811
    words = (*tiny, f"runs_dir={tmp_path}", "controllers=[]", "seed=4,7")
    values = json.loads(run_grid("both", words).read_text())["jobs"]
    assert ["seed=4" in row["overrides"] for row in values.values()] == [True, False]
    assert all(row["best"] > 0 for row in values.values())
    before = (tmp_path / "both" / "both_001" / "report.json").read_bytes()
    assert json.loads(run_grid("both", words).read_text())["jobs"] == values
    assert (tmp_path / "both" / "both_001" / "report.json").read_bytes() == before
    with pytest.raises(RunConflict, match="another grid"):
        run_grid("both", words[:-1])


def test_combinations_are_those_of_hydra():
    assert combinations(["a=1,2", "b=[1,2]", "c=x,y"]) == [
        ("a=1", "b=[1,2]", "c=x"), ("a=1", "b=[1,2]", "c=y"),
        ("a=2", "b=[1,2]", "c=x"), ("a=2", "b=[1,2]", "c=y"),
    ]  # fmt: skip
    with pytest.raises(InvalidSetting, match="overrides must be Hydra's"):
        combinations(["a=[1"])


def test_a_held_folder_is_known_as_held(tmp_path):
    from policies.runs import is_claimed

    with claimed(tmp_path):
        assert is_claimed(tmp_path)
    assert not is_claimed(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Choice(()), "values must be one or more"),
        (lambda: Choice(("1", "1")), "each once"),
        (lambda: Range(2, 1), "min < max"),
        (lambda: Range(0.0, 1.0, "log_uniform_values"), "above 0 if logarithmic"),
        (lambda: Range(0.0, 1.0, "normal"), "distribution must be one of"),
        (lambda: Range(0.0, 1.0, "q_uniform"), "q belongs to q_uniform"),
        (lambda: Metric("loss", "down"), "metric.goal must be one of"),
        (lambda: Stop("envelope", 2), "early_terminate needs type hyperband"),
        (lambda: Space("grid", Metric("a", "minimize"), {"b": Range(1, 2)}, None), "grid needs"),
        (lambda: Space("grid", Metric("a", "minimize"), {"b": Choice(("1",))}, None, 0), "run_cap"),
    ],
)
def test_impossible_spaces_are_refused(wrong, said):
    with pytest.raises(InvalidSetting, match=said):
        wrong()


def test_a_parameter_without_a_range_is_refused(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "method: random\nmetric: {name: a, goal: maximize}\nparameters: {algorithm.gamma: 0.9}"
    )
    with pytest.raises(InvalidSetting, match=r"algorithm.gamma must be a mapping.*got 0.9"):
        Space.load(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml must be a sweep file"),
        ([str(CONF / "train.yaml")], "lacks \\['method', 'metric', 'parameters'\\]"),
        ([str(CONF / "sweep" / "ppo.yaml"), "nope=1"], "overrides of train.py must compose"),
        ([str(CONF / "sweep" / "grid.yaml"), "--pruner", "hyperband"], "needs early_terminate"),
        ([str(CONF / "sweep" / "ppo.yaml"), "--trials", "0"], "trials must be >= 1"),
    ],
)
def test_a_wrong_command_ends_with_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(said, lines[0])
