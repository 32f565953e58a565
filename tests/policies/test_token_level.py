"""A controller at token level is trained, kept, judged and deployed like one at round level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from covspec_core.engine import Engine, generate
from covspec_core.errors import InvalidSetting, PolicyMismatch, RunConflict
from covspec_core.randomness import mix
from env.actions import GO_ON
from env.codec import Codec
from env.play import World
from env.rewards import RewardWeights
from env.tokens import TokenPlay
from env.views import FlatView
from policies.console import composed
from policies.decoding import read_decoding
from policies.judging import judge
from policies.learned import TokenController, load_controller
from policies.memory import ObservationSettings
from policies.mixes import read_scenarios
from policies.report import build_report, judge_all
from policies.training_run import EXAMPLE
from tests.core.conftest import make_pair, make_requests
from tests.policies.conftest import TINY, make_trainer, random_network, status_with, toy_scenario
from tests.policies.test_algorithms import tiny

KINDS = ("ppo", "a2c", "maskable_ppo", "recurrent_ppo", "qr_dqn", "tqc")
BLINKERED = ObservationSettings(without=("chance_", "up_trend"), history=3)
SESSIONS = 12


def silent(row):
    """A training that nobody watches."""


def token_trainer(recording, settings=TINY, **changes):
    return make_trainer(toy_scenario(), recording, settings, level="token", **changes)


def weights(trainer):
    return {k: v.numpy().copy() for k, v in trainer.model.policy.state_dict().items()}


def shaken(trainer, seed=1):
    """The trainer's controller with weights far apart, as a young policy hardly distinguishes."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in trainer.model.policy.parameters():
            parameter.normal_(0.0, 0.5) if parameter.ndim > 1 else parameter.zero_()
    return trainer.controller({}, trainer.network())


def seconds_in_the_environment(world, controller, sessions, seed):
    """Session seconds where a controller is asked in lockstep, as it learns."""
    play = TokenPlay(world, world.replay(sessions), sessions, RewardWeights())
    rows = np.arange(sessions)
    seeds = mix(seed, rows)
    play.sessions.begin(rows, seeds)
    controller.begin(sessions)
    columns = [play.codec.fields.index(name) for name in controller.codec.fields]
    found, lengths = np.full(sessions, np.nan), set()
    while np.isnan(found).any():
        masks = play.masks() if controller.network.masked else None
        step = play.step(controller.indices(play.observe()[:, columns], masks))
        lengths |= set(step.result.drafted)
        new = step.done & np.isnan(found)
        found[new] = play.sessions.now_s[new]
        over = np.flatnonzero(step.done)
        if over.size:
            play.sessions.begin(over, seeds[over])
    return found, lengths


@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_learns_and_its_folder_plays_what_the_environment_does(
    recording, tmp_path, kind
):
    trainer = token_trainer(recording, replace(tiny(kind), total_steps=1024), observation=BLINKERED)
    rows = []
    assert trainer.run(rows.append)
    assert rows[-1]["validation_speedup"] > 0
    world, drafted = World.load(toy_scenario(), "test", recording), set()
    for seed in range(8):
        shaken(trainer, seed).save(tmp_path)
        controller = load_controller(tmp_path, Codec.of(toy_scenario()))
        assert isinstance(controller, TokenController)
        expected, lengths = seconds_in_the_environment(world, controller, SESSIONS, 5)
        found = judge(world, controller, SESSIONS, 5)
        # Where two scores are equal but for rounding, batches of other sizes may differ.
        assert np.isclose(found.seconds, expected, rtol=1e-9).mean() > 0.8
        drafted |= lengths
    assert len(drafted) > 2


def test_a_resumed_training_ends_bit_equal_to_an_uninterrupted_one(recording, tmp_path):
    whole = token_trainer(recording)
    assert whole.run(silent)
    first, seen = token_trainer(recording), []
    first.run(seen.append, should_stop=lambda: len(seen) == 2)
    # Within blocks, for some session at least.
    assert first.model.env.env.play.blocks.length.any()
    first.save(tmp_path)
    torch.rand(7)
    np.random.random(7)  # noqa: NPY002
    second = token_trainer(recording)
    second.resume(tmp_path)
    assert second.run(seen.append)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(second)[name], value)
    assert second.progress.best == whole.progress.best
    with pytest.raises(RunConflict, match=r"was trained with .*'token'.*now asked for .*'round'"):
        make_trainer(toy_scenario(), recording).resume(tmp_path)


def test_stable_baselines3_predicts_what_the_exported_controller_does(recording):
    trainer = token_trainer(recording)
    controller = shaken(trainer)
    fields = len(controller.codec.fields)
    observations = np.random.default_rng(0).normal(0, 4, (4000, fields)).astype(np.float32)
    wanted, _ = trainer.model.predict(observations, deterministic=True)
    assert (controller.indices(observations) == wanted).all(1).mean() > 0.999
    assert len(np.unique(wanted, axis=0)) > 20


def test_it_is_judged_beside_controllers_of_the_round_level(recording, scenario):
    codec = Codec.of(scenario)
    controllers = {
        "learned": lambda own: random_network(codec.at("token")),
        "round": lambda own: random_network(codec),
    }
    worlds = {"toy": World.load(scenario, "test", recording)}
    judged = judge_all(controllers, worlds, 8, 0, silent)
    alone = [judged[name]["toy"].edge_only_s for name in controllers]
    np.testing.assert_array_equal(*alone)
    report = build_report(judged, {}, {}, 0)
    assert set(report["comparisons"]) == {"learned_vs_round"}


@pytest.mark.parametrize("kind", ["ppo", "recurrent_ppo"])
@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled"])
def test_it_answers_with_live_models(recording, kind, protocol_name):
    trainer, scenario = token_trainer(recording, tiny(kind)), toy_scenario(protocol_name)
    rule, drafted = random_network(Codec.of(scenario)), set()
    pair, request = make_pair(), make_requests(2)[1]

    def answer(controller):
        return generate(
            scenario, pair, request, controller, 1.0, 40, 3,
            lambda result: drafted.add(int(result.drafted[0])),
        )  # fmt: skip

    for seed in range(8):
        controller = shaken(trainer, seed)
        first = answer(controller)
        assert first.tokens > 4
        # The second answer begins without a memory of the first.
        assert answer(controller) == first
        if protocol_name == "coupled":
            assert first.answer == generate(scenario, pair, request, rule, 1.0, 40, 3).answer
    assert len(drafted) > 1


def test_an_engine_asks_either_level(recording):
    world = World.load(toy_scenario(), "test", recording)
    for level in ("round", "token"):
        engine = Engine(world.scenario, world.links, world.replay(1))
        engine.begin(3)
        controller = random_network(Codec.of(world.scenario).at(level))
        controller.begin(1)
        assert engine.play(engine.decision(controller)).emitted[0] > 0


def test_a_flat_view_leaves_out_widths_where_nothing_is_sent():
    codec = Codec((0.0, 1.0), (0, 4), (0, 1, 2)).at("token")
    view = FlatView(codec)
    assert view.outputs == 2 + 2 * 3 + 2
    going = view.indices(np.arange(view.outputs))
    assert (going[going[:, 0] == GO_ON, 2] == 0).all()


def test_it_decodes_on_the_virtual_clock_alone(tmp_path):
    words = [f"controller={tmp_path}", f"image={EXAMPLE}", "question=what is this?"]
    scenario, _ = read_scenarios(composed("decode", words))
    random_network(Codec.of(scenario).at("token")).save(tmp_path)
    assert isinstance(read_decoding(composed("decode", words)).controller, TokenController)
    with pytest.raises(InvalidSetting, match="clock must be virtual for a controller at token"):
        read_decoding(composed("decode", [*words, "clock=wall"]))


def test_what_does_not_go_together_is_refused(recording, tmp_path):
    with pytest.raises(InvalidSetting, match=r"imitation_rounds must be 0 at token level.*got 8"):
        token_trainer(recording, imitation_rounds=8)
    gated = toy_scenario(gate_threshold=0.5, gate_levels=(0.3, 0.5))
    with pytest.raises(InvalidSetting, match="gate_levels must be empty at token level"):
        make_trainer(gated, recording, level="token")
    controller = random_network(Codec.of(toy_scenario()).at("token"))
    with pytest.raises(InvalidSetting, match="must be asked while blocks are drafted"):
        controller.decide(status_with(1))
    controller.save(tmp_path)
    with pytest.raises(PolicyMismatch, match="was trained for keep_levels="):
        load_controller(tmp_path, Codec.of(toy_scenario(keep_levels=(0.0, 1.0))))
    with pytest.raises(PolicyMismatch, match=r"codec needs a level of .*, got 'word'"):
        replace(controller.codec, level="word")
