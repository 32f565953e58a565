"""Every algorithm trains, goes on where it was stopped, and is deployed on NumPy alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from covspec_core.engine import generate
from covspec_core.errors import InvalidSetting, PolicyMismatch
from env.codec import Codec
from env.observations import RANGES
from env.play import World
from policies.algorithms.settings import KINDS, PPOSettings, QSettings, SACSettings, read_algorithm
from policies.judging import judge
from policies.learned import load_controller
from policies.memory import ObservationSettings
from policies.networks import Lstm, Network
from tests.core.conftest import make_pair, make_requests
from tests.policies.conftest import make_trainer, toy_scenario

COMMON = {"total_steps": 2048, "num_envs": 32, "rollout_steps": 16, "threads": 1}
REPLAY = {"buffer_rounds": 1024, "learning_starts": 128, "updates": 2}
OWN = {
    "recurrent_ppo": {"lstm_units": 12},
    "dqn": REPLAY | {"target_rounds": 256},
    "qr_dqn": REPLAY | {"target_rounds": 256, "quantiles": 8},
    "sac": REPLAY,
    "tqc": REPLAY | {"quantiles": 8, "dropped": 1},
}
BLINKERED = ObservationSettings(without=("chance_", "up_trend"), history=3)


def tiny(kind):
    batch = {} if kind == "a2c" else {"batch_size": 64}  # a2c takes a rollout whole
    return read_algorithm({"kind": kind, "hidden": [16]} | COMMON | batch | OWN.get(kind, {}))


def trained(recording, kind, rollouts, observation=None):
    trainer = make_trainer(toy_scenario(), recording, tiny(kind), observation=observation)
    rows = []
    trainer.run(rows.append, should_stop=lambda: len(rows) == rollouts)
    return trainer, rows


def sb3_actions(trainer, steps):
    """Observations of the trainer's sessions and SB3's best actions there, round by round."""
    envs, model = trainer.model.env, trainer.model
    shown, state, starts = envs.reset(), None, np.ones(envs.num_envs, dtype=bool)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        whole = envs.env.play.observe()
        masks = envs.env.action_masks()
        if trainer.settings.kind == "maskable_ppo":
            actions, _ = model.predict(shown, deterministic=True, action_masks=masks)
        else:
            actions, state = model.predict(shown, state, starts, deterministic=True)
        yield whole, masks, envs._view.indices(actions)
        # Played at random, so that observations differ.
        played = [envs.action_space.sample() for _ in range(envs.num_envs)]
        if trainer.settings.view == "parts":
            played = rng.integers(envs.action_space.nvec, size=(envs.num_envs, 3))
        shown, _, starts, _ = envs.step(np.stack(played))
        if starts.any():
            return


@pytest.mark.parametrize("observation", [None, BLINKERED], ids=["all", "blinkered"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_controller_acts_as_the_library_does(recording, tmp_path, kind, observation):
    trainer, _ = trained(recording, kind, 3, observation)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.model.policy.parameters():
            # A young policy hardly distinguishes, and a bias makes all sessions alike.
            parameter.normal_(0.0, 0.5) if parameter.ndim > 1 else parameter.zero_()
    trainer.controller(network=trainer.network()).save(tmp_path)
    controller = load_controller(tmp_path, Codec.of(toy_scenario()))
    fields = list(RANGES)
    columns = [fields.index(name) for name in controller.codec.fields]
    controller.begin(32)
    same, rounds, seen = 0.0, 0, set()
    for observations, masks, wanted in sb3_actions(trainer, 12):
        own = masks if controller.network.masked else None
        found = controller.indices(observations[:, columns], own)
        same += (found == wanted).all(1).mean()
        rounds += 1
        seen |= {tuple(row) for row in wanted}
    assert rounds >= 4
    # Where two scores are equal but for rounding, torch and NumPy may differ.
    assert same / rounds > 0.99
    assert len(seen) > 2


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ppo"}))
def test_it_goes_on_as_if_nothing_had_happened(recording, tmp_path, kind):
    whole, rows = trained(recording, kind, 4)
    first, _ = trained(recording, kind, 2)
    first.save(tmp_path)
    torch.rand(7)
    np.random.random(7)  # noqa: NPY002
    second = make_trainer(toy_scenario(), recording, tiny(kind))
    second.resume(tmp_path)
    seen = []
    second.run(seen.append, should_stop=lambda: len(seen) == 2)
    assert second.steps == whole.steps == rows[-1]["steps"]
    ours, theirs = (each.model.policy.state_dict() for each in (second, whole))
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert second.progress.best == whole.progress.best


@pytest.mark.parametrize("kind", KINDS)
def test_training_changes_the_network_and_validates_it(recording, kind):
    settings = replace(tiny(kind), total_steps=1536)
    trainer, rows = make_trainer(toy_scenario(), recording, settings), []
    before = trainer.network().arrays()
    assert trainer.run(rows.append)
    after = trainer.network().arrays()
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    assert "validation_speedup" in rows[0]
    assert "validation_speedup" in rows[-1]
    world = World.load(toy_scenario(), "test", recording)
    assert np.isfinite(judge(world, trainer.controller(), 4, 0).speedup).all()


def test_memory_is_forgotten_where_sessions_begin(recording):
    trainer, _ = trained(recording, "recurrent_ppo", 1)
    controller = trainer.controller(network=trainer.network())
    shown = np.random.default_rng(0).random((5, 32, len(controller.codec.fields))).astype("f4")
    controller.begin(32)
    first = [controller.scores(each) for each in shown]
    again = controller.scores(shown[0])
    assert not np.array_equal(again, first[0])
    controller.begin(32)
    np.testing.assert_array_equal(controller.scores(shown[0]), first[0])


def test_a_sequence_network_of_torch_is_ours():
    torch.manual_seed(0)
    layer = torch.nn.LSTM(5, 7)
    weight = torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], 1).detach().numpy().T
    ours = Lstm(weight, (layer.bias_ih_l0 + layer.bias_hh_l0).detach().numpy())
    shown = 3 * torch.randn(20, 4, 5)
    wanted, _ = layer(shown)
    state = (np.zeros((4, 7), "f4"), np.zeros((4, 7), "f4"))
    for each, theirs in zip(shown.numpy(), wanted.detach().numpy(), strict=True):
        state = ours.step(each, state)
        np.testing.assert_allclose(state[0], theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "reinforce"}, "algorithm.kind must be one of .*, got 'reinforce'"),
        ({}, "algorithm.kind must be one of .*, got None"),
        ({"kind": "ppo", "lstm_units": 8}, "lstm_units must be above 0 for recurrent_ppo"),
        ({"kind": "recurrent_ppo"}, "lstm_units must be above 0 for recurrent_ppo"),
        ({"kind": "dqn", "quantiles": 8}, "quantiles must be above 0 for qr_dqn and 0 otherwise"),
        ({"kind": "tqc"}, "quantiles must be above 0 for tqc"),
        ({"kind": "tqc", "quantiles": 4, "dropped": 4}, "dropped must be below quantiles = 4"),
        ({"kind": "sac", "epochs": 4}, r"got unknown \['epochs'\]"),
        ({"kind": "ppo", "teacher": "me"}, "teacher must be one of .*, got 'me'"),
        (
            {"kind": "recurrent_ppo", "lstm_units": 8, "imitation_rounds": 9},
            "imitation_rounds must be 0 for recurrent_ppo",
        ),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(values, said):
    with pytest.raises(InvalidSetting, match=said):
        read_algorithm(values | {"total_steps": 10**6})


def test_settings_of_a_family_are_of_its_class():
    families = (PPOSettings, QSettings, SACSettings)
    assert [type(tiny(kind)) for kind in ("maskable_ppo", "qr_dqn", "tqc")] == list(families)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"activation": "gelu"}, "'gelu', 'parts' and 1"),
        ({"view": "tree"}, "'tanh', 'tree' and 1"),
        ({"history": 0}, "'parts' and 0"),
        ({"view": "box", "masked": True}, "only actions in parts can be masked"),
    ],
    ids=str,
)
def test_networks_that_cannot_be_are_refused(network, changes, said):
    with pytest.raises(PolicyMismatch, match=said):
        Network(network.network.layers, **changes)


@pytest.mark.parametrize("kind", ["recurrent_ppo", "maskable_ppo", "qr_dqn", "tqc"])
def test_the_deployed_controller_plays_live_models(recording, tmp_path, kind):
    trainer, _ = trained(recording, kind, 1, BLINKERED)
    trainer.controller(network=trainer.network()).save(tmp_path)
    scenario = toy_scenario()
    controller = load_controller(tmp_path, Codec.of(scenario))
    pair, request = make_pair(), make_requests(2)[1]
    answers = [generate(scenario, pair, request, controller, 1.0, 40, 3) for _ in range(2)]
    assert answers[0].tokens > 4
    # The second answer begins without a memory of the first.
    assert answers[0] == answers[1]
