"""Runs never overwrite or meet each other, and what they write is whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from covspec_core.errors import InvalidSetting, RunConflict
from covspec_core.provenance import ROOT
from policies.console import run_entry, spell_out
from policies.runs import claimed, new_run, point_latest, write_json, write_text

HOLD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from policies.runs import claimed\n"
    "with claimed(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_unnamed_runs_never_share_a_folder(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: new_run(tmp_path, None, "all_seed0"), range(48)))
    assert len(set(folders)) == 48
    assert all(folder.is_dir() and "all_seed0" in folder.name for folder in folders)


@pytest.mark.parametrize("name", ["mine", 7])
def test_a_name_is_given_once(tmp_path, name):
    folder = new_run(tmp_path / "deep" / "runs", name, "label")
    assert folder.name == str(name)
    (folder / "kept").touch()
    with pytest.raises(RunConflict, match=f"run folder .*{name} is there already; resume="):
        new_run(tmp_path / "deep" / "runs", name, "label")
    assert (folder / "kept").exists()


def test_a_held_folder_is_refused_to_another_process(tmp_path, holder):
    with (
        pytest.raises(RunConflict, match=f"is in use by process {holder.pid}$"),
        claimed(tmp_path),
    ):
        pass
    holder.stdin.close()
    holder.wait()
    with claimed(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    with claimed(tmp_path):
        assert (tmp_path / "run.lock").read_text() == str(os.getpid())


@pytest.mark.parametrize("left", ["", "1", "not a number"])
def test_what_a_stale_lock_holds_does_not_matter(tmp_path, left):
    (tmp_path / "run.lock").write_text(left)
    with claimed(tmp_path), pytest.raises(RunConflict), claimed(tmp_path):
        pass


def test_an_error_frees_the_folder(tmp_path):
    with pytest.raises(KeyError), claimed(tmp_path):
        raise KeyError
    with claimed(tmp_path):
        pass


def test_latest_leads_to_the_newest_run(tmp_path):
    for name in ("first", "second"):
        point_latest(new_run(tmp_path, name, ""))
        assert (tmp_path / "latest").resolve() == (tmp_path / name).resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest", "second"]


def full_disk(monkeypatch):
    """Every text file ends after ten letters with ENOSPC."""
    write = Path.write_text

    def fail(path, text, *args, **kwargs):
        write(path, text[:10], *args, **kwargs)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_text", fail)


def test_files_are_whole_or_as_before(monkeypatch, tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"a": [1, 2]})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    full_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": list(range(100))})
    assert json.loads(path.read_text()) == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.json"), 1,
         "train: No space left on device: x.json"),
        (InvalidSetting("seed must be whole"), 2, "train: seed must be whole"),
        (RunConflict("in use"), 2, "train: in use"),
        (KeyboardInterrupt(), 130, "train: stopped at once"),
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_ends_with_one_line_and_a_status(monkeypatch, capsys, error, code, line):
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def main(config):
        raise error

    with pytest.raises(SystemExit) as ended:
        run_entry("train", main)
    assert ended.value.code == code
    assert capsys.readouterr().err.splitlines() == [line]


def test_a_full_disk_ends_a_run_with_one_line_and_the_old_report(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    write_text(tmp_path / "report.md", "whole")
    full_disk(monkeypatch)
    with pytest.raises(SystemExit) as ended:
        run_entry("train", lambda config: write_text(tmp_path / "report.md", "x" * 1000))
    assert ended.value.code == 1
    assert (tmp_path / "report.md").read_text() == "whole"
    err = capsys.readouterr().err
    assert err.startswith("train: No space left on device: ")
    assert len(err.splitlines()) == 1


def test_an_entry_gets_plain_values(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "scenario=weak", "seed=5"])
    seen = []
    run_entry("train", seen.append)
    assert type(seen[0]) is dict
    assert list(seen[0]["scenario"]["links"]) == ["weak"]
    assert seen[0]["seed"] == 5


def test_a_controllers_folder_is_spelt_out():
    assert spell_out("controller=runs/a/policy") == [
        "controller=learned", "controller.path=runs/a/policy",
    ]  # fmt: skip
    for word in ("controller=paper_rule", "image=a/b.png", "controller.path=a/b", "-m"):
        assert spell_out(word) == [word]
