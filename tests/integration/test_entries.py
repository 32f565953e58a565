"""The entry scripts as users run them, on a toy recording and in seconds."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest
import yaml

import train
from covspec_core.provenance import ROOT
from policies import console
from policies.training_run import EXAMPLE
from tests.policies.conftest import toy_recording

ENV = os.environ | {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0", "WANDB_MODE": "disabled"}
STEPS, ROLLOUT = 4096, 512
QUICK = (
    f"algorithm.total_steps={STEPS}", "algorithm.num_envs=32", "algorithm.rollout_steps=16",
    "algorithm.batch_size=128", "algorithm.threads=1", "algorithm.hidden=[16]",
    "tuning.trials=2", "tuning.sessions=8", "tuning.final_sessions=8",
    "judging.sessions=8", "judging.validation_sessions=8",
)  # fmt: skip
LINES = ("scenario=paper", "scenario.link_rows=8", "scenario.link_s=20.0")
FIGURES = ("speedup", "mb_per_1024_tokens", "deviation_rate", "ttft_s", "price_saved", "n_sessions")
FAST_RIVALS = "controllers=[paper_rule]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a toy recording; runs go below it."""
    if not EXAMPLE.exists():
        pytest.skip(f"training draws a figure from {EXAMPLE}, which is not there yet")
    folder = tmp_path_factory.mktemp("entries")
    toy_recording().save(folder / "toy.npz")
    return folder


def command(place, entry, *overrides):
    quick = QUICK if entry == "train" else QUICK[6:]
    own = (f"model.recording={place / 'toy.npz'}", f"runs_dir={place / 'runs'}")
    flags = [word for word in overrides if word.startswith("-")]
    words = [word for word in overrides if word not in flags]
    return [sys.executable, f"{entry}.py", *flags, *quick, *LINES, *own, *words]


def run_entry(place, entry, *overrides, **kwargs):
    return subprocess.run(
        command(place, entry, *overrides),
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=120, check=False, **kwargs,
    )  # fmt: skip


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(place):
    """The folder of a finished training, and what the program said."""
    done = run_entry(
        place, "train", "name=trained", "controllers=[edge_only,paper_rule,tuned_rule]"
    )
    assert done.returncode == 0, done.stderr
    return place / "runs" / "trained", done


def test_training_writes_everything(trained):
    folder, done = trained
    report = json.loads((folder / "report.json").read_text())
    assert {"commit", "command", "seed", "versions", "hardware"} <= set(report["provenance"])
    assert set(report["controllers"]) == {"edge_only", "paper_rule", "tuned_rule", "learned"}
    for regimes in report["controllers"].values():
        assert list(regimes) == ["paper", "all"]
        assert all(set(FIGURES) <= set(figures) for figures in regimes.values())
    assert {"learned_vs_paper_rule", "learned_vs_tuned_rule"} <= set(report["comparisons"])
    page = (folder / "report.md").read_text()
    for name in (folder / "policy").glob("*"):
        assert name.stat().st_size > 0
    drawn = [word.split("(")[1].rstrip(")") for word in page.split() if word.startswith("![")]
    assert {"speed.png", "learning.png", "timeline.png"} <= set(drawn)
    assert all((folder / name).stat().st_size > 1000 for name in drawn)
    policy = {path.name for path in (folder / "policy").iterdir()}
    assert policy == {"controller.json", "network.npz", "README.md", "results.json"}
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert page.splitlines()[0] in done.stderr
    assert not list(folder.rglob("*partial*"))


def test_training_logs_every_rollout_and_keeps_its_configuration(trained):
    folder, _ = trained
    rows = rows_of(folder)
    assert [row["step"] for row in rows] == list(range(ROLLOUT, STEPS + 1, ROLLOUT))
    assert "validation_speedup" in rows[0]
    assert "validation_speedup" in rows[-1]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["algorithm"]["total_steps"] == STEPS
    assert config["seed"] == 0


def test_evaluation_judges_the_trained_policy(place, trained):
    folder, _ = trained
    chosen = f"controllers=[paper_rule,{folder / 'policy'}]"
    done = run_entry(place, "evaluate", chosen, "output=json", "name=judged")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["controllers"]) == {"paper_rule", "learned"}
    first = json.loads((folder / "report.json").read_text())
    for name in ("paper_rule", "learned"):
        assert report["controllers"][name] == first["controllers"][name]
    judged = place / "runs" / "judged"
    assert json.loads((judged / "report.json").read_text()) == report
    assert (judged / "speed.png").stat().st_size > 1000
    assert (folder.parent / "latest").resolve() == folder.resolve()


def test_a_training_at_token_level_is_one_like_any_other(place):
    done = run_entry(place, "train", "name=tokens", FAST_RIVALS, "level=token")
    assert done.returncode == 0, done.stderr
    folder = place / "runs" / "tokens"
    report = json.loads((folder / "report.json").read_text())
    assert set(report["controllers"]) == {"paper_rule", "learned"}
    policy = json.loads((folder / "policy" / "controller.json").read_text())
    assert policy["codec"]["level"] == policy["meta"]["level"] == "token"
    assert "asked behind every drafted token" in (folder / "policy" / "README.md").read_text()


def test_an_interrupted_training_goes_on_without_loss(place, trained):
    overrides = ("name=broken", FAST_RIVALS, "algorithm.total_steps=400000")
    process = subprocess.Popen(
        command(place, "train", *overrides),
        cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder, began = place / "runs" / "broken", time.monotonic()
    while not (folder / "metrics.jsonl").exists() or len(rows_of(folder)) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: python train.py resume={folder}" in said
    before = rows_of(folder)
    # Ask for less, so that the rest takes seconds: two rollouts.
    shorten(folder, before[-1]["step"] + 2 * ROLLOUT)
    done = run_entry(place, "train", f"resume={folder}")
    assert done.returncode == 0, done.stderr
    after = rows_of(folder)
    assert after[: len(before)] == before
    assert [row["step"] for row in after] == [ROLLOUT * (i + 1) for i in range(len(before) + 2)]
    assert (folder / "report.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once_and_behind_a_training_the_first(monkeypatch, number):
    usual = [signal.getsignal(each) for each in train.SIGNALS]
    with train.Interrupt() as interrupt:
        assert not interrupt.asked
        signal.raise_signal(number)
        assert interrupt.asked
        assert [signal.getsignal(each) for each in train.SIGNALS] == usual
    with train.Interrupt():
        pass
    assert [signal.getsignal(each) for each in train.SIGNALS] == usual


def test_a_signal_in_the_last_rollout_stops_before_judging(capsys):
    class Run:
        folder = "runs/here"

        def train(self, should_stop):
            signal.raise_signal(signal.SIGTERM)
            return True

    with pytest.raises(SystemExit, match="130"):
        train._train(Run())
    assert "go on with: python train.py resume=runs/here" in capsys.readouterr().err


def shorten(folder, total_steps):
    """Change how long an interrupted training is to last, in its configuration and checkpoint."""
    program = (
        "import hashlib, pickle, sys, yaml\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from policies.checkpoints import CHECKPOINT, DIGEST_BYTES\n"
        "folder, total = Path(sys.argv[1]), int(sys.argv[2])\n"
        "config = yaml.safe_load((folder / 'config.yaml').read_text())\n"
        "config['algorithm']['total_steps'] = total\n"
        "(folder / 'config.yaml').write_text(yaml.safe_dump(config))\n"
        "state = pickle.loads((folder / CHECKPOINT).read_bytes()[DIGEST_BYTES:])\n"
        "settings, *rest = state['asked']\n"
        "state['asked'] = (replace(settings, total_steps=total), *rest)\n"
        "written = pickle.dumps(state)\n"
        "(folder / CHECKPOINT).write_bytes(hashlib.sha256(written).digest() + written)\n"
    )
    subprocess.run([sys.executable, "-c", program, folder, str(total_steps)], cwd=ROOT, check=True)


def test_a_resumed_run_keeps_to_its_own_settings(place, trained):
    folder, _ = trained
    config = yaml.safe_load((folder / "config.yaml").read_text())
    copy = place / "runs" / "changed"
    copy.mkdir()
    (copy / "checkpoint.pkl").write_bytes((folder / "checkpoint.pkl").read_bytes())
    config["algorithm"]["epochs"] = 9
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    done = run_entry(place, "train", f"resume={copy}")
    assert done.returncode == 2
    assert "was trained with" in done.stderr


WRONG = [
    ("train", "controllers=[nope]", "controller must be one of ['ada_edl'"),
    ("train", "protocol.name=telepathy", "coupled"),
    ("train", "algorithm.batch_size=100000", "batch_size must be at most"),
    ("train", "seed=abc", "seed must be a whole number in [0, 2**32), got 'abc'"),
    ("train", "scenario.keep_levels=[0.5,0.1]", "keep_levels must ascend within [0.0, 1.0]"),
    ("train", "level=token algorithm.imitation_rounds=8", "imitation_rounds must be 0 at token"),
    ("train", "level=token scenario=gated", "gate_levels must be empty at token level"),
    ("train", "judging.split=exam", "judging.split must be one of ('train', 'validation'"),
    ("train", "scenario=measured", "['measured'] need measured traces: set COVSPEC_TRACES_DIR"),
    ("train", "resume=runs/nowhere", "runs/nowhere holds no run to go on with"),
    ("evaluate", "output=xml", "output must be one of ('text', 'json'), got 'xml'"),
    ("evaluate", "controllers=[runs/nope/policy]", "no controller folder 'runs/nope/policy'"),
    ("evaluate", "model.reduction=magic", "model.reduction must be one of ['covspec'"),
    ("decode", "image=nowhere.png", "no image at nowhere.png"),
    ("decode", "clock=sundial", "clock must be one of ('virtual', 'wall'), got 'sundial'"),
    ("decode", "model.decoder=fast", "model.decoder must be one of ('auto', 'lean', 'library')"),
    ("decode", "output=xml", "output must be one of ('text', 'json'), got 'xml'"),
]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("protocol.law_format=fp16", "law_format must be fp32 in a replay"),
        ("model.temperature=0.3", "temperature"),
        ("model.reduction=divprune", "reduction"),
        ("model.recording=none.npz", "none.npz"),
    ],
)
def test_what_no_recording_can_play_leaves_no_folder(tmp_path, monkeypatch, capsys, override, said):
    monkeypatch.setattr(sys, "argv", ["train.py", override, f"runs_dir={tmp_path / 'runs'}"])
    with pytest.raises(SystemExit) as ended:
        console.run_entry("train", train.main)
    assert ended.value.code == 2
    assert one_line(capsys.readouterr().err, "train", said)
    assert not (tmp_path / "runs").exists()


def words_without_recording(entry, override, folder):
    """A command line whose recording is missing: what was refused cannot have looked for it."""
    own = [f"model.recording={folder / 'none.npz'}"]
    own += ["image=nowhere.png", "question=what?"] if entry == "decode" else []
    own += [] if entry == "decode" else [f"runs_dir={folder / 'runs'}"]
    own += ["controllers=[edge_only]"] if entry == "evaluate" else []
    return [*own, *override.split()]


def one_line(stderr, entry, said):
    (line,) = stderr.splitlines()
    return line.startswith(f"{entry}: ") and said in line


@pytest.mark.parametrize(("entry", "override", "said"), WRONG, ids=str)
def test_a_wrong_setting_ends_with_one_line_before_anything_is_loaded(
    tmp_path, monkeypatch, capsys, entry, override, said
):
    words = words_without_recording(entry, override, tmp_path)
    monkeypatch.delenv("COVSPEC_TRACES_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", [f"{entry}.py", *words])
    with pytest.raises(SystemExit) as ended:
        console.run_entry(entry, import_module(entry).main)
    assert ended.value.code == 2
    assert one_line(capsys.readouterr().err, entry, said)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("entry", "override", "said"), [WRONG[0], WRONG[10], WRONG[13]], ids=str)
def test_a_script_with_a_wrong_setting_ends_so_too(tmp_path, entry, override, said):
    done = subprocess.run(
        [sys.executable, f"{entry}.py", *words_without_recording(entry, override, tmp_path)],
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert one_line(done.stderr, entry, said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("nope=1", "Could not override 'nope'"),
        ("scenario=nope", "Could not find 'scenario/nope'"),
    ],
)
def test_what_hydra_refuses_is_understandable(override, said):
    done = subprocess.run(
        [sys.executable, "train.py", override],
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if "scenario" in override:
        assert "bursty" in done.stderr


def test_a_name_that_is_taken_is_refused(place, trained):
    folder, _ = trained
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for entry in ("train", "evaluate"):
        own = ["name=trained", FAST_RIVALS]
        done = run_entry(place, entry, *own)
        assert done.returncode == 2
        assert f"run folder {folder} is there already; resume={folder} goes on" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_many_runs_at_once_and_in_a_row_never_share_a_folder(place):
    own = (FAST_RIVALS, f"runs_dir={place / 'many'}", f"algorithm.total_steps={ROLLOUT}")
    rows = (f"hydra.sweep.dir={place / 'multirun'}", "seed=1,2", "-m")
    sweep, single = (
        subprocess.Popen(
            command(place, "train", *own, *extra),
            cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for extra in (rows, ("seed=1",))
    )  # fmt: skip
    for process in (sweep, single):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    folders = [path for path in (place / "many").iterdir() if not path.is_symlink()]
    seeds = [yaml.safe_load((folder / "config.yaml").read_text())["seed"] for folder in folders]
    assert sorted(seeds) == [1, 1, 2]
    assert all((folder / "report.json").exists() for folder in folders)


def test_a_disk_that_fills_up_ends_a_run_with_one_clear_error(place):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = run_entry(place, "train", "name=full", preexec_fn=little_room)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train: File too large")
    assert "Traceback" not in done.stderr
    folder = place / "runs" / "full"
    assert not (folder / "checkpoint.pkl").exists()
    assert yaml.safe_load((folder / "config.yaml").read_text())["name"] == "full"
