"""Replays and live models side by side: what is estimated, and that a learned gain agrees."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from covspec_core.errors import InvalidSetting
from env.play import World
from env.presets import named_scenario
from env.rewards import RewardWeights
from policies import nearness
from policies.algorithms.settings import PPOSettings
from policies.console import composed
from policies.league import RULES
from policies.nearness import Played, gains, longer, played, rules
from policies.rules import RuleSettings
from policies.settings import read_run
from policies.training import Trainer
from policies.tuning import tune

QUICK = PPOSettings(
    kind="ppo", total_steps=300_000, num_envs=256, rollout_steps=32, batch_size=1024, hidden=(64,),
    learning_rate=3e-3, threads=1, imitation_rounds=0, validate_every=4,
)  # fmt: skip


def drawn(seed, sessions=30):
    rng = np.random.default_rng(seed)
    return Played(*rng.uniform(1.0, 2.0, (2, sessions)), *rng.integers(10, 20, (2, sessions)))


def test_every_rule_whose_nearness_is_measured_plays_a_replay(scenario, recording):
    world = World.load(scenario, "train", recording)
    for controller in rules(scenario).values():
        seconds, tokens = played(world, world.replay(1), controller, 0)
        assert seconds > 0
        assert tokens >= scenario.requests


def test_figures_are_those_of_seconds_a_token_over_all_sessions():
    ours, rule = drawn(0), drawn(1)
    live, replayed = (ours[way].sum() / ours[way + 2].sum() for way in (0, 1))
    found = longer(ours)
    assert found.percent == pytest.approx(100 * (live / replayed - 1))
    assert found.low < found.percent < found.high
    gain = gains(ours, rule)
    expected = 100 * (rule.live_s.sum() / rule.live_tokens.sum() / live - 1)
    assert gain["live"].percent == pytest.approx(expected)
    difference = gain["live"].percent - gain["replayed"].percent
    assert gain["difference"].percent == pytest.approx(difference)


def test_what_is_the_same_live_and_replayed_differs_by_nothing_at_all():
    ours, rule = (
        Played(own.live_s, own.live_s, own.live_tokens, own.live_tokens)
        for own in (drawn(0), drawn(1))
    )
    assert longer(ours) == (0.0, 0.0, 0.0)
    gain = gains(ours, rule)
    assert gain["difference"] == (0.0, 0.0, 0.0)
    assert gain["live"] == gain["replayed"]
    assert gain["live"].low < gain["live"].high


def test_one_session_has_no_interval_and_is_refused():
    with pytest.raises(InvalidSetting, match="sessions must be >= 2, got 1"):
        nearness.main(["--sessions", "1"])


def test_the_rule_is_tuned_as_in_the_run_of_the_controller(tmp_path):
    budget = ["scenario=paper", "tuning.trials=2", "tuning.sessions=4", "seed=3"]
    config = composed("train", budget)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    settings = read_run(config)
    worlds = [World.load(settings.scenario, "train", settings.model.recorded(), 3)]
    assert nearness.tuned_rule(tmp_path / "policy") == tune(worlds, RULES["rule"], 2, 4, 3)[0]


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
    """Bit by bit under shared noise; within the intervals where live models write other texts."""
    codec = nearness.load_controller(learned).codec
    world = nearness.world_of(["paper"], protocol_name, codec)
    pair = nearness.embedded_pair(world)
    make = nearness.learned_and_rule(learned, RuleSettings())
    found = {
        name: nearness.compare(world, pair, controller, 40, 0)
        for name, controller in make(world.scenario).items()
    }
    gain = gains(found["learned"], found["tuned_rule"])
    for estimate in (*map(longer, found.values()), gain["difference"]):
        assert estimate.low <= 0 <= estimate.high
    if protocol_name == "coupled":
        for own in found.values():
            np.testing.assert_allclose(own.live_s, own.replayed_s, rtol=1e-9)
            np.testing.assert_array_equal(own.live_tokens, own.replayed_tokens)
