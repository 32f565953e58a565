"""What a piece of work finds does not depend on where it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting, WorkLost
from env.play import World
from policies.jobs import Job, run_job, run_jobs
from policies.judging import Scores
from policies.launcher import (
    SERIAL,
    LauncherSettings,
    Processes,
    open_launcher,
    windowed,
)
from policies.report import judge_all
from policies.rules import AdaptiveRule, Random, RuleSettings
from tests.policies.conftest import toy_scenario

NO_RAY = "needs the optional extra: pip install -e .[ray]"
TINY = (
    "scenario=paper", "scenario.link_rows=8", "scenario.link_s=20.0", "algorithm.total_steps=4096",
    "algorithm.num_envs=32", "algorithm.rollout_steps=16", "algorithm.batch_size=128",
    "algorithm.threads=1", "algorithm.hidden=[16]", "algorithm.validate_every=1",
    "judging.validation_sessions=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(recording, tmp_path_factory):
    """Overrides of a training of a second."""
    path = tmp_path_factory.mktemp("recording") / "toy.npz"
    recording.save(path)
    return (*TINY, f"model.recording={path}")


def jobs_of(tiny, folder, count=3):
    for seed in range(count):
        job = Job.of((*tiny, f"seed={seed}", "controllers=[]"), f"job_{seed:03d}", folder)
        yield Job(job.name, job.overrides, job.config, judged=False)


def played(launcher, tiny, folder, verdict=None):
    """Values of the validations and the network of each job."""
    done = run_jobs(launcher, jobs_of(tiny, folder), folder, verdict)
    values = {each.name: each.values for each in done}
    weights = {}
    for name in sorted(values):
        with np.load(folder / name / "policy" / "network.npz") as network:
            weights[name] = {key: network[key] for key in network.files}
    return values, weights


def assert_same(one, other):
    assert one[0] == other[0]
    for name, arrays in one[1].items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, other[1][name][key])


def late_first(factor, item):
    time.sleep(0.3 if item == 0 else 0.0)
    return factor * item


def test_processes_find_what_one_process_finds():
    for launcher in (SERIAL, Processes(2)):
        found = dict(launcher.each(late_first, 3, range(5)))
        assert found == {0: 0, 1: 3, 2: 6, 3: 9, 4: 12}


def test_no_more_pieces_are_taken_than_there_is_room_for():
    taken, going = [], []

    def source():
        for item in range(6):
            taken.append(item)
            yield item

    def submit(item):
        going.append(item)
        return item

    found = windowed(submit, max, lambda item: item, source(), 2)
    place, result = next(found)
    assert (place, result, taken) == (1, 1, [0, 1])
    assert sorted(place for place, _ in found) == [0, 2, 3, 4, 5]
    assert going == list(range(6))


def test_judging_on_processes_gives_the_same_scores(recording):
    worlds = {
        regime: World.load(toy_scenario(bps=bps), "test", recording)
        for regime, bps in (("slow", 3e4), ("fast", 1e6))
    }
    made = lambda: {  # noqa: E731 (each launcher gets controllers that nobody used before)
        "rule": lambda own: AdaptiveRule(own, RuleSettings(keep=1 / 3, longest=5)),
        "random": lambda own: Random(own, 3),
    }
    one, other = (
        judge_all(made(), worlds, 6, 1, lambda line: None, launcher)
        for launcher in (SERIAL, Processes(2))
    )
    assert list(one) == list(other) == ["rule", "random"]
    for name, regimes in one.items():
        assert list(regimes) == list(other[name]) == ["slow", "fast", "all"]
        for regime, scores in regimes.items():
            for field in Scores.__slots__:
                mine, theirs = getattr(scores, field), getattr(other[name][regime], field)
                np.testing.assert_array_equal(mine, theirs)


def test_a_job_that_died_goes_on_to_the_same_end(tiny, tmp_path):
    whole = played(SERIAL, tiny, tmp_path / "whole")
    cut = tmp_path / "cut"
    first = list(run_jobs(SERIAL, jobs_of(tiny, cut), cut, lambda name, number, value: number == 2))
    assert [(done.complete, len(done.values)) for done in first] == [(False, 2)] * 3
    (cut / "job_002" / "config.yaml").unlink()  # As if it had died before it had one.
    assert_same(played(SERIAL, tiny, cut), whole)


def test_a_machine_that_does_not_share_the_folder_sends_it_back(tiny, tmp_path):
    (job,) = jobs_of(tiny, tmp_path / "here", 1)
    elsewhere = Job(
        job.name, job.overrides, job.config, judged=False, token="unseen",
        worker_dir=str(tmp_path / "there"),
    )  # fmt: skip

    class Away:
        """Runs a job as a machine does that sees no token."""

        answering = SERIAL.answering

        def each(self, work, shared, items):
            for place, _ in enumerate(items):
                yield place, run_job(shared, elsewhere)

    (done,) = run_jobs(Away(), [job], tmp_path / "here")
    there, here = tmp_path / "there" / job.name, tmp_path / "here" / job.name
    assert done.files
    names = {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert {"metrics.jsonl", "checkpoint.pkl", "policy/network.npz"} < names
    for name in names - {"run.lock"}:
        assert (here / name).read_bytes() == (there / name).read_bytes()


def test_a_dead_process_is_said():
    with pytest.raises(WorkLost, match="a process died while it worked"):
        list(Processes(1).each(_kill_itself, None, [0]))


def _kill_itself(_, item):
    os._exit(3)


def write_and_sleep(folder, item):
    (folder / f"{os.getpid()}.pid").touch()
    if item > 0:
        time.sleep(60.0)
        (folder / "slept").touch()


def pids_in(folder, count):
    """Of processes that work there, as soon as there are so many."""
    while len(found := [int(path.stem) for path in folder.glob("*.pid")]) < count:
        time.sleep(0.05)
    return found


def is_alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_whoever_is_interrupted_does_not_wait_for_what_is_in_hand(tmp_path):
    results = Processes(2).each(write_and_sleep, tmp_path, [0, 1])
    assert next(results) == (0, None)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert not (tmp_path / "slept").exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path, number):
    script = "\n".join(
        (
            "from pathlib import Path",
            "from policies.launcher import Processes",
            "from tests.policies.test_launcher import write_and_sleep",
            "if __name__ == '__main__':",
            f"    list(Processes(2).each(write_and_sleep, Path({str(tmp_path)!r}), [1, 2]))",
        )
    )
    (tmp_path / "script.py").write_text(script)
    root = Path(__file__).parents[2]
    starter = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], env=os.environ | {"PYTHONPATH": str(root)}
    )
    pids = pids_in(tmp_path, 2)
    starter.send_signal(number)
    assert starter.wait() == -number
    waits = 0
    while any(map(is_alive, pids)):
        assert (waits := waits + 1) < 300
        time.sleep(0.1)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "slurm"}, {"workers": 2}, {"kind": "ray", "cpus": 0}, {"kind": "ray", "retries": -1}],
    ids=str,
)
def test_impossible_launchers_are_refused(wrong):
    with pytest.raises(InvalidSetting, match="launcher"):
        LauncherSettings(**wrong)


@pytest.mark.bench
def test_a_run_ends_right_though_a_node_dies_in_the_middle(tiny, tmp_path):
    pytest.importorskip("ray", reason=NO_RAY)
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    doomed, killed, seen = cluster.add_node(**size), [], []

    def kill_once(name, number, value):
        seen.append((name, number))
        if not killed and len(set(seen)) > len({number for _, number in seen}):
            killed.append(name)  # Two jobs are under way: one on each node.
            cluster.remove_node(doomed, allow_graceful=False)
        return False

    settings = LauncherSettings("ray", workers=2, address=cluster.address)
    try:
        with open_launcher(settings) as launcher:
            found = played(launcher, tiny, tmp_path / "ray", kill_once)
    finally:
        cluster.shutdown()
    assert killed
    assert len(seen) > len(set(seen)), "no job began anew"
    assert_same(found, played(SERIAL, tiny, tmp_path / "serial"))
