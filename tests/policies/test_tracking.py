"""Every sink gets the same figures, and none is loaded that was not asked for."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from covspec_core.errors import InvalidSetting
from covspec_core.provenance import ROOT
from policies.tracking import Tracker, TrackingSettings, WandbSettings

FILES = TrackingSettings(tensorboard=False, wandb=WandbSettings())
ROWS = {10: {"loss": 0.5, "speedup": 1.25}, 20: {"loss": 0.25, "speedup": 1.5}, 30: {"loss": 0.125}}


def written(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def log_all(tracker, steps=ROWS):
    with tracker:
        for step in steps:
            tracker.log(step, ROWS[step])


def test_every_row_is_one_json_line(tmp_path):
    log_all(Tracker(tmp_path, FILES, {}))
    assert written(tmp_path) == [{"step": step, **row} for step, row in ROWS.items()]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_word_is_no_flag():
    with pytest.raises(InvalidSetting, match="tensorboard must be a value of type bool, got 'no'"):
        TrackingSettings.of({"tensorboard": "no", "wandb": {}})


def test_a_row_is_on_disk_at_once(tmp_path):
    tracker = Tracker(tmp_path, FILES, {})
    tracker.log(1, {"loss": 2.0})
    assert written(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_a_resumed_run_has_every_row_once(tmp_path):
    log_all(Tracker(tmp_path, FILES, {}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')  # Killed while writing.
    log_all(Tracker(tmp_path, FILES, {}, resumed_at=20), steps=[30])
    assert written(tmp_path) == [{"step": step, **row} for step, row in ROWS.items()]


def test_a_run_that_never_saved_starts_anew(tmp_path):
    log_all(Tracker(tmp_path, FILES, {}, resumed_at=0))
    log_all(Tracker(tmp_path, FILES, {}, resumed_at=0))
    assert len(written(tmp_path)) == len(ROWS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_same_figures(tmp_path):
    settings = replace(FILES, tensorboard=True)
    log_all(Tracker(tmp_path, settings, {}))
    log_all(Tracker(tmp_path, settings, {}, resumed_at=20), steps=[30])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "speedup"}
    for name in ("loss", "speedup"):
        expected = [(step, row[name]) for step, row in ROWS.items() if name in row]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected


BLOCK, HEAD, WHOLE, LAST = 32768, struct.Struct("<IHB"), 1, 4
"""W&B's file: LevelDB's log after seven bytes, pieces with checksum, length and type."""


def wandb_records(folder):
    """Records of an offline run, from its own file."""
    from wandb.proto import wandb_internal_pb2 as pb

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, payload, records = path.read_bytes(), 7, b"", []
    while place + HEAD.size <= len(data):
        if BLOCK - place % BLOCK < HEAD.size:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = HEAD.unpack_from(data, place)
        payload += data[place + HEAD.size : place + HEAD.size + length]
        place += HEAD.size + length
        if kind in (WHOLE, LAST):
            records.append(pb.Record.FromString(payload))
            payload = b""
    return records


def finished_records(folder, patience_s=60.0):
    """Records of a finished run: W&B's own process may write the last ones a little later."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        records = wandb_records(folder)
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.2)
    raise AssertionError(f"the run in {folder} was never closed")


def items_of(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_an_offline_wandb_run_has_the_same_figures(tmp_path, monkeypatch):
    for name, value in (("WANDB_SILENT", "true"), ("WANDB_MODE", "offline")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    folder = tmp_path / "2026-01-01_all_seed0"
    folder.mkdir()
    settings = replace(FILES, wandb=WandbSettings(mode="offline", tags=("test",)))
    log_all(Tracker(folder, settings, {"seed": 3}))
    records = finished_records(folder)
    rows = [items_of(r.history.item) for r in records if r.WhichOneof("record_type") == "history"]
    assert {row["_step"]: {k: v for k, v in row.items() if k[0] != "_"} for row in rows} == ROWS
    (run,) = (r.run for r in records if r.WhichOneof("record_type") == "run")
    assert run.run_id == folder.name
    assert items_of(run.config.update)["seed"] == 3
    assert written(folder) == [{"step": step, **row} for step, row in ROWS.items()]


def test_wandb_and_tensorboard_stay_unloaded_unless_asked_for(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from policies.tracking import Tracker, TrackingSettings, WandbSettings\n"
        "settings = TrackingSettings(False, WandbSettings())\n"
        "with Tracker(Path(sys.argv[1]), settings, {}) as tracker:\n"
        "    tracker.log(1, {'loss': 1.0})\n"
        "print(sorted({'wandb', 'tensorboard'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
