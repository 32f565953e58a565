"""A learned controller is a folder that runs anywhere and refuses what does not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidStatus, PolicyMismatch
from covspec_core.provenance import ROOT
from env.codec import Codec
from env.observations import RANGES, VERSION
from policies.learned import LearnedController, load_controller
from policies.networks import Network
from tests.policies.conftest import make_trainer, random_network, status_with, toy_scenario


def some_status(size=400, seed=0):
    rng = np.random.default_rng(seed)
    return status_with(
        size,
        up_bps=10 ** rng.uniform(4, 8, size),
        acceptance=rng.uniform(0, 1, size),
        margin=rng.uniform(0, 1, size),
        entropy=rng.uniform(0, 5, size),
        awake=rng.integers(0, 2, size),
        chance_1=rng.uniform(0, 1, size),
        chance_4=rng.uniform(0, 1, size),
        tokens=rng.integers(0, 150, size),
    )


@pytest.fixture
def folder(network, tmp_path):
    network.save(tmp_path / "policy")
    return tmp_path / "policy"


def rewrite(folder, **changes):
    path = folder / "controller.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def actions_of(controller):
    actions = controller.decide(some_status())
    return np.stack([actions.keep, actions.draft_length, actions.branch_width])


def test_a_saved_controller_acts_as_before(network, folder, scenario):
    loaded = load_controller(folder, Codec.of(scenario))
    expected = actions_of(network)
    np.testing.assert_array_equal(actions_of(loaded), expected)
    assert all(len(np.unique(part)) > 1 for part in expected)
    assert loaded.meta == network.meta
    assert not list(folder.glob("*partial*"))


def test_saving_again_replaces_the_old_one(network, folder):
    other = random_network(network.codec, seed=1)
    other.save(folder)
    np.testing.assert_array_equal(actions_of(load_controller(folder)), actions_of(other))


def test_it_loads_and_decides_without_any_training_library(folder):
    program = (
        "import sys\n"
        "from policies import load_controller\n"
        "from covspec_core.rounds import Status\n"
        "status = Status.blank(2)\n"
        "actions = load_controller(sys.argv[1]).decide(status)\n"
        "assert len(actions) == 2\n"
        "heavy = {'stable_baselines3', 'torch', 'transformers', 'hydra', 'wandb', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_decisions_do_not_depend_on_the_batch(network):
    status = some_status(20)
    whole = network.decide(status)
    for i in range(20):
        alone = network.decide(type(status)(status.values[i : i + 1]))
        assert alone[0] == whole[i]


def test_a_status_that_is_not_finite_is_refused(network):
    with pytest.raises(InvalidStatus, match="rtt_s must be finite"):
        network.decide(status_with(1, rtt_s=np.nan))


def test_stable_baselines3_predicts_what_the_exported_controller_does(recording):
    trainer = make_trainer(toy_scenario(), recording)
    trainer.run(lambda row: None, should_stop=lambda: True)
    controller = trainer.controller(network=trainer.network())
    # Far apart, as a young policy hardly distinguishes.
    observations = np.random.default_rng(0).normal(0, 4, (4000, len(RANGES))).astype(np.float32)
    wanted, _ = trainer.model.predict(observations, deterministic=True)
    found = controller.indices(observations)
    # Where two scores are equal but for rounding, torch and NumPy may differ.
    scores = np.split(controller.scores(observations), np.cumsum(controller.codec.sizes)[:-1], 1)
    for part, ours, theirs in zip(scores, found.T, wanted.T, strict=True):
        rows = np.arange(len(part))
        np.testing.assert_allclose(part[rows, ours], part[rows, theirs], atol=1e-5)
    assert (found == wanted).all(1).mean() > 0.999
    assert len(np.unique(wanted, axis=0)) > 20


@pytest.mark.parametrize("name", ["controller.json", "network.npz"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(PolicyMismatch, match=f"holds no controller: .*{name} is missing"):
        load_controller(folder)


@pytest.mark.parametrize("left", [0, 10, 200, 1000])
@pytest.mark.parametrize("name", ["controller.json", "network.npz"])
def test_a_truncated_file_is_refused(folder, name, left):
    path = folder / name
    path.write_bytes(path.read_bytes()[: min(left, path.stat().st_size // 2)])
    with pytest.raises(PolicyMismatch, match="holds no readable controller"):
        load_controller(folder)


@pytest.mark.parametrize("seed", range(8))
def test_bytes_at_random_are_refused(folder, seed):
    path = folder / ("network.npz" if seed % 2 else "controller.json")
    path.write_bytes(np.random.default_rng(seed).bytes(500))
    with pytest.raises(PolicyMismatch):
        load_controller(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_weights_are_refused(network, value):
    weight, bias = network.network.layers[0]
    broken = np.where(np.arange(weight.size).reshape(weight.shape) == 7, value, weight)
    with pytest.raises(PolicyMismatch, match="weights must be finite"):
        Network([(broken, bias), *network.network.layers[1:]])


def test_a_network_of_another_shape_is_refused(network):
    with pytest.raises(PolicyMismatch, match=r"layers must have shapes \[\(45, "):
        LearnedController(network.codec, Network(network.network.layers[1:]))
    with pytest.raises(PolicyMismatch, match="a network needs a layer"):
        Network([])


@pytest.mark.parametrize(
    "changes",
    [
        {"keep_levels": (0.0, 0.5, 1.0)},
        {"draft_lengths": (0, 1, 2)},
        {"branch_widths": (0, 4)},
        {"fields": ("up_bps",)},
    ],
    ids=str,
)
def test_a_controller_for_other_choices_is_refused(folder, scenario, changes):
    wanted = replace(Codec.of(scenario), **changes)
    with pytest.raises(PolicyMismatch, match=f"was trained for {next(iter(changes))}="):
        load_controller(folder, wanted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 1}, "format must be 2, got 1; train it anew"),
        ({"network": {}}, "holds no readable controller: 'layers'"),
        ({"codec": None}, "holds no readable controller|no codec"),
        ({"codec": {"version": 0}}, "no codec of this version"),
    ],
    ids=str,
)
def test_a_head_of_another_make_is_refused(folder, changes, said):
    rewrite(folder, **changes)
    with pytest.raises(PolicyMismatch, match=said):
        load_controller(folder)


@pytest.mark.parametrize("changes", [{"version": 1}, {"fields": ["up_bps", "horoscope"]}], ids=str)
def test_a_codec_of_another_version_is_refused(folder, changes):
    codec = json.loads((folder / "controller.json").read_text())["codec"]
    rewrite(folder, codec=codec | changes)
    with pytest.raises(PolicyMismatch, match=f"codec needs version {VERSION} and known fields"):
        load_controller(folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(PolicyMismatch, match="holds no controller"):
        load_controller(tmp_path / "nowhere")


@pytest.mark.parametrize(("levels", "foresees"), [((), False), ((0.0,), False), ((0.0, 0.5), True)])
def test_a_controller_that_may_stop_blocks_by_their_chance_needs_the_head(levels, foresees):
    codec = Codec((1.0,), (0, 1), (0,), fields=("tokens",), stop_levels=levels)
    weights = np.zeros((1, sum(codec.sizes)), np.float32)
    network = Network(((weights, np.zeros(weights.shape[1], np.float32)),))
    assert LearnedController(codec, network).foresees == foresees
