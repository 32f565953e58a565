"""Training finds known optima, and goes on after an interruption as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from covspec_core.errors import InvalidSetting, RunConflict
from env.play import World
from policies.checkpoints import CHECKPOINT, read_checkpoint
from policies.imitation import demonstrations, imitate
from policies.judging import judge
from policies.rules import AdaptiveRule, RuleSettings
from tests.core.conftest import PROFILE
from tests.policies.conftest import TINY, make_trainer, toy_scenario

LEARNING = replace(
    TINY, total_steps=24576, num_envs=64, batch_size=256, learning_rate=3e-3, validate_every=4
)


def silent(row):
    """A training that nobody watches."""


def share_of_length(controller, world, length):
    """How often a controller chooses a draft length while it plays."""
    chosen = []

    class Watched:
        def begin(self, size):
            controller.begin(size)

        def decide(self, status):
            actions = controller.decide(status)
            chosen.append(actions.draft_length == length)
            return actions

    speedup = judge(world, Watched(), 32, 0).speedup.mean()
    return float(np.mean(chosen)), float(speedup)


def always_accepted(recording):
    """The same answers from a draft that is its target."""
    ones = np.ones_like(recording.q)
    return replace(
        recording,
        q=ones * recording.p,
        draw=(ones * recording.tokens).astype(recording.draw.dtype),
        rank_shared=np.zeros_like(recording.rank_shared),
    )


def test_laws_on_a_slow_link_teach_to_leave_the_device_out(recording):
    heavy = replace(PROFILE, vocab_size=151674)  # Seconds for every rejection.
    scenario = toy_scenario("decoupled", bps=1e6, profile=heavy)
    trainer, rows = make_trainer(scenario, recording, LEARNING), []
    assert trainer.run(rows.append)
    assert rows[0]["train_speedup"] < 0.5
    assert rows[-1]["train_speedup"] > 0.9
    for controller in (trainer.controller(network=trainer.network()), trainer.controller()):
        test = World.load(scenario, "test", recording)
        share, speedup = share_of_length(controller, test, 0)
        assert share > 0.95
        assert speedup == pytest.approx(1.0, abs=0.02)


def test_sure_acceptance_teaches_the_longest_draft(recording):
    scenario = toy_scenario(draft_lengths=(0, 1, 8), branch_widths=(0,))
    sure = always_accepted(recording)
    trainer = make_trainer(scenario, sure, LEARNING)
    assert trainer.run(silent)
    share, speedup = share_of_length(trainer.controller(), World.load(scenario, "test", sure), 8)
    assert share > 0.95
    assert speedup > 1.1


def weights(trainer):
    return {k: v.numpy().copy() for k, v in trainer.model.policy.state_dict().items()}


@pytest.fixture(scope="module")
def teacher():
    return lambda own: AdaptiveRule(own, RuleSettings(gate_threshold=float("inf"), width=2))


@pytest.mark.parametrize("taught", [False, True])
def test_a_resumed_training_ends_bit_equal_to_an_uninterrupted_one(
    recording, tmp_path, teacher, taught
):
    changes = {"teacher": teacher, "imitation_rounds": 8, "value_rollouts": 1} if taught else {}
    whole = make_trainer(toy_scenario(), recording, **changes)
    rows = []
    assert whole.run(rows.append)
    first = make_trainer(toy_scenario(), recording, **changes)
    seen = []
    assert not first.run(seen.append, should_stop=lambda: len(seen) == 2)
    first.save(tmp_path)
    torch.rand(7)
    np.random.random(7)  # noqa: NPY002
    second = make_trainer(toy_scenario(), recording, **changes)
    second.resume(tmp_path)
    assert second.steps == seen[-1]["steps"]
    assert second.run(seen.append)
    assert [row["steps"] for row in seen] == [row["steps"] for row in rows]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(second)[name], value)
    assert second.progress.best == whole.progress.best
    assert len(second.progress.history) == len(rows)
    best = [each.progress.best_network.arrays() for each in (second, whole)]
    for name, value in best[0].items():
        np.testing.assert_array_equal(value, best[1][name])


def test_equal_seeds_train_equally_and_others_do_not(recording):
    trained = []
    for seed in (1, 1, 2):
        trainer = make_trainer(toy_scenario(), recording, seed=seed)
        trainer.run(silent, should_stop=lambda: True)
        assert trainer.steps == TINY.num_envs * TINY.rollout_steps
        trained.append(weights(trainer)["action_net.weight"])
    np.testing.assert_array_equal(trained[0], trained[1])
    assert not np.array_equal(trained[0], trained[2])


@pytest.fixture
def checkpoint(recording, tmp_path):
    trainer = make_trainer(toy_scenario(), recording)
    trainer.run(silent, should_stop=lambda: True)
    trainer.save(tmp_path)
    return tmp_path / CHECKPOINT


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"hidden": (8,)}, {"seed": 9}], ids=str)
def test_a_checkpoint_of_other_settings_is_refused(recording, checkpoint, changes):
    trainer = make_trainer(toy_scenario(), recording, **changes)
    with pytest.raises(RunConflict, match=r"was trained with .*, now asked for"):
        trainer.resume(checkpoint.parent)


def test_a_checkpoint_leaves_the_rollout_out_and_the_training_keeps_it(recording, tmp_path):
    trainer = make_trainer(toy_scenario(), recording)
    trainer.run(silent, should_stop=lambda: True)
    trainer.save(tmp_path)
    assert not hasattr(read_checkpoint(tmp_path)["model"], "rollout_buffer")
    assert trainer.model.rollout_buffer.full
    assert trainer.run(silent)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(recording, checkpoint, share):
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RunConflict, match="is no readable checkpoint"):
        make_trainer(toy_scenario(), recording).resume(checkpoint.parent)


@pytest.mark.parametrize("place", [0, 40, 5000, -9])
def test_a_flipped_byte_in_a_checkpoint_is_found(recording, checkpoint, place):
    damaged = bytearray(checkpoint.read_bytes())
    damaged[place] ^= 0x55
    checkpoint.write_bytes(damaged)
    with pytest.raises(RunConflict, match="checksum is wrong"):
        make_trainer(toy_scenario(), recording).resume(checkpoint.parent)


def test_a_missing_checkpoint_is_refused(recording, tmp_path):
    with pytest.raises(RunConflict, match="is no readable checkpoint"):
        make_trainer(toy_scenario(), recording).resume(tmp_path)


def test_an_interrupted_write_leaves_the_last_checkpoint(recording, checkpoint):
    before = checkpoint.read_bytes()
    checkpoint.with_name(f"{CHECKPOINT}.partial").write_bytes(before[:100])
    trainer = make_trainer(toy_scenario(), recording)
    trainer.resume(checkpoint.parent)
    assert trainer.steps > 0


def test_imitation_copies_a_rule(recording):
    scenario = toy_scenario()
    world = World.load(scenario, "train", recording)
    rule = RuleSettings(gate_threshold=float("inf"), shortest=0, longest=5, keep=1 / 3)
    trainer = make_trainer(scenario, recording, hidden=(64, 64), num_envs=512)
    shown = demonstrations(trainer.model.env, AdaptiveRule(scenario, rule), 96, 0)
    assert imitate(trainer.model, *shown, 24, 5e-3, 0) >= 0.85
    copied = trainer.controller(network=trainer.network())
    assert (copied.indices(shown[0]) == shown[1]).all(1).mean() >= 0.85
    speeds = [judge(world, c, 32, 1).speedup.mean() for c in (AdaptiveRule(scenario, rule), copied)]
    assert speeds[1] == pytest.approx(speeds[0], rel=0.05)


def test_a_copied_policy_waits_for_its_value_network(recording, teacher):
    trainer = make_trainer(
        toy_scenario(), recording, teacher=teacher, imitation_rounds=8, value_rollouts=2
    )
    seen = []
    trainer.run(lambda row: seen.append(weights(trainer)), should_stop=lambda: len(seen) == 3)
    first, second, third = (each["action_net.weight"] for each in seen)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(second, third)
    assert not np.array_equal(seen[0]["value_net.weight"], seen[1]["value_net.weight"])


def test_the_last_network_is_validated_too(recording):
    trainer = make_trainer(toy_scenario(), recording, validate_every=100)
    rows = []
    trainer.run(rows.append)
    assert ["validation_speedup" in row for row in rows] == [True, False, False, True]
    assert trainer.progress.best == max(row.get("validation_worth", 0.0) for row in rows)


def test_trainings_of_all_seeds_are_validated_on_the_same_sessions(recording):
    trainers = [make_trainer(toy_scenario(), recording, seed=seed) for seed in (1, 2)]
    for trainer in trainers:
        trainer.run(silent, should_stop=lambda: True)
    network = trainers[0].network()
    for trainer in trainers:
        trainer.network = lambda: network
    one, other = (trainer._validate()["validation_speedup"] for trainer in trainers)
    assert one == other


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"total_steps": 0}, "total_steps must lie in"),
        ({"batch_size": 1}, "batch_size must lie in"),
        ({"batch_size": 10_000}, r"at most num_envs \* rollout_steps = 512, got 10000"),
        ({"learning_rate": 0.0}, "learning_rate must lie in"),
        ({"gamma": 1.01}, "gamma must lie in"),
        ({"validate_every": 0}, "validate_every must lie in"),
        ({"hidden": (64, 0)}, "hidden must hold units >= 1"),
        ({"entropy": float("nan")}, "entropy must lie in"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(InvalidSetting, match=said):
        replace(TINY, **wrong)
