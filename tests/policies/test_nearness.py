"""Replays and live models side by side: what is estimated, and that a learned gain agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from covspec_core.engine import Engine
from covspec_core.errors import InvalidSetting
from env.play import World
from env.presets import named_scenario
from env.rewards import RewardWeights
from policies import nearness
from policies.algorithms.settings import PPOSettings
from policies.console import composed
from policies.league import RULES
from policies.nearness import Played, faster, gains, played, rules
from policies.rules import RuleSettings, edge_only
from policies.settings import read_run
from policies.training import Trainer
from policies.tuning import tune

QUICK = PPOSettings(
    kind="ppo", total_steps=300_000, num_envs=256, rollout_steps=32, batch_size=1024, hidden=(64,),
    learning_rate=3e-3, threads=1, imitation_rounds=0, validate_every=4,
)  # fmt: skip


def drawn(seed, sessions=30):
    return Played(*np.random.default_rng(seed).uniform(1.0, 2.0, (2, sessions)))


def test_every_rule_whose_nearness_is_measured_plays_a_replay(scenario, recording):
    world = World.load(scenario, "train", recording)
    for controller in rules(scenario).values():
        assert 0.2 < played(world, world.replay(1), controller, 0) < 20


def test_speed_is_that_over_the_edge_alone_with_the_same_answer(scenario, recording):
    world = World.load(replace(scenario, requests=1), "train", recording)
    assert played(world, world.replay(1), edge_only(world.scenario), 0) == pytest.approx(1)
    for seed in range(5):
        engine = Engine(world.scenario, world.links, world.replay(1))
        engine.begin(seed)
        sessions = engine.sessions
        _, tokens = engine.source.peek(sessions.place.key)
        alone_s = engine.edge_only_s(int(sessions.records["image_bytes"][0]), int(tokens[0]))
        assert alone_s == sessions.edge_only_s(np.arange(1))[0]


def test_figures_are_those_of_mean_speeds():
    ours, rule = drawn(0), drawn(1)
    found = faster(ours)
    assert found.percent == pytest.approx(100 * (ours.live.mean() / ours.replayed.mean() - 1))
    assert found.low < found.percent < found.high
    gain = gains(ours, rule)
    expected = 100 * (ours.live.mean() / rule.live.mean() - 1)
    assert gain["live"].percent == pytest.approx(expected)
    difference = gain["live"].percent - gain["replayed"].percent
    assert gain["difference"].percent == pytest.approx(difference)


def test_what_is_the_same_live_and_replayed_differs_by_nothing_at_all():
    ours, rule = (Played(own.live, own.live) for own in (drawn(0), drawn(1)))
    assert faster(ours) == (0.0, 0.0, 0.0)
    gain = gains(ours, rule)
    assert gain["difference"] == (0.0, 0.0, 0.0)
    assert gain["live"] == gain["replayed"]
    assert gain["live"].low < gain["live"].high


def test_the_rule_is_tuned_as_in_the_run_of_the_controller(tmp_path):
    budget = ["tuning.trials=2", "tuning.sessions=4", "tuning.final_sessions=8"]
    config = composed("train", ["scenario=paper", *budget, "seed=3"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    settings = read_run(config)
    worlds = [World.load(settings.scenario, "train", settings.model.recorded(), 3)]
    found, _ = tune(worlds, RULES["rule"], settings.tuning, 3)
    assert nearness.tuned_rule(tmp_path / "policy") == found


def test_a_controller_outside_of_a_run_is_refused(tmp_path):
    with pytest.raises(InvalidSetting, match="must be the policy of a run, there is no"):
        nearness.tuned_rule(tmp_path / "policy")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder of a controller that learned on the embedded pair's recording."""
    scenario = named_scenario("paper")
    worlds = [[World.load(scenario, split)] for split in ("train", "validation")]
    trainer = Trainer(QUICK, *worlds, RewardWeights(time=20.0), 0, 64)
    trainer.run(lambda row: None)
    folder = tmp_path_factory.mktemp("learned")
    trainer.controller().save(folder)
    return folder


@pytest.mark.bench
@pytest.mark.parametrize("protocol_name", nearness.PROTOCOLS)
def test_what_a_learned_controller_gains_on_live_models_agrees_with_the_replay(
    learned, protocol_name
):
    """Bit by bit under shared noise without stops; within the intervals where texts are others."""
    codec = nearness.load_controller(learned).codec
    world = nearness.world_of(["paper"], protocol_name, codec)
    pair = nearness.embedded_pair(world)
    make = nearness.learned_and_rule(learned, RuleSettings())
    found = {
        name: nearness.compare(world, pair, controller, 300, 0)
        for name, controller in make(world.scenario).items()
    }
    gain = gains(found["learned"], found["tuned_rule"])
    if protocol_name == "coupled":
        rule = found["tuned_rule"]
        np.testing.assert_allclose(rule.live, rule.replayed, rtol=1e-9)
        assert abs(gain["difference"].percent) < 1.0
        return
    for estimate in (*map(faster, found.values()), gain["difference"]):
        assert estimate.low <= 0 <= estimate.high
