"""Environments side by side are what each of them is alone."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Actions, RoundAction
from env.play import Play, World
from env.rewards import RewardWeights
from env.vector import CoVSpecVectorEnv
from policies.rules import Fixed
from policies.side_by_side import SideBySide, shares
from policies.vec_env import SB3VecEnv
from tests.policies.conftest import make_trainer, toy_scenario

SIZES = (3, 2, 4)
PROTOCOLS = ("coupled", "decoupled", "full")


@pytest.fixture
def parts(recording):
    return lambda: [
        SB3VecEnv(CoVSpecVectorEnv(size, toy_scenario(name), recording=recording), True)
        for size, name in zip(SIZES, PROTOCOLS, strict=True)
    ]


def test_every_part_plays_as_it_would_alone(parts):
    whole, alone = SideBySide(parts()), parts()
    whole.seed(5)
    for part, start in zip(alone, (0, 3, 5), strict=True):
        part.seed(5 + start)
    observations, rng = whole.reset(), np.random.default_rng(0)
    np.testing.assert_array_equal(observations, np.concatenate([p.reset() for p in alone]))
    ends = 0
    for _ in range(80):
        actions = rng.integers(whole.action_space.nvec, size=(sum(SIZES), 3))
        ours = whole.step(actions)
        theirs = [p.step(a) for p, a in zip(alone, np.split(actions, (3, 5)), strict=True)]
        for column in range(3):
            np.testing.assert_array_equal(ours[column], np.concatenate([s[column] for s in theirs]))
        infos = [info for step in theirs for info in step[3]]
        assert [i.get("episode") for i in ours[3]] == [i.get("episode") for i in infos]
        ends += int(ours[2].sum())
    assert ends > len(SIZES)


def test_sessions_of_parts_are_told_apart_by_what_they_observe(parts):
    whole = SideBySide(parts())
    codec = whole.parts[0].env.play.codec
    column = codec.fields.index("token_bytes")
    seen = np.split(whole.reset()[:, column], (3, 5))
    assert len({float(part[0]) for part in seen}) == 3
    assert all((part == part[0]).all() for part in seen)


@pytest.mark.parametrize("rows", [None, [0], [8, 2, 3], 4], ids=str)
def test_attributes_come_from_the_part_of_each_session(parts, rows):
    whole = SideBySide(parts())
    owners = [part.env for part, size in zip(whole.parts, SIZES, strict=True) for _ in range(size)]
    wanted = np.atleast_1d(np.arange(9)[slice(None) if rows is None else rows])
    got = whole.get_attr("play", rows)
    assert all(play is owners[row].play for play, row in zip(got, wanted, strict=True))
    assert whole.env_is_wrapped(object, rows) == [False] * len(wanted)


def test_sessions_have_no_attributes_or_methods_to_set_or_call(parts):
    whole = SideBySide(parts())
    with pytest.raises(NotImplementedError):
        whole.set_attr("play", None)
    with pytest.raises(NotImplementedError):
        whole.env_method("reset")


def test_parts_with_other_choices_are_refused(parts, recording):
    other = toy_scenario(draft_lengths=(0, 1))
    with pytest.raises(InvalidSetting, match="equal spaces"):
        SideBySide([*parts(), SB3VecEnv(CoVSpecVectorEnv(1, other, recording=recording))])


@pytest.mark.parametrize(("total", "number"), [(7, 7), (1024, 7), (10, 3), (5, 1)])
def test_shares_add_up_and_differ_by_one_at_most(total, number):
    parts = shares(total, number)
    assert (sum(parts), len(parts)) == (total, number)
    assert max(parts) - min(parts) <= 1


def test_too_few_sessions_for_a_mix_are_refused():
    with pytest.raises(InvalidSetting, match="num_envs must be >= 4, one for each part, got 3"):
        shares(3, 4)


def test_a_mix_trains_and_goes_on_from_a_checkpoint_as_if_nothing_had_happened(recording, tmp_path):
    scenarios = [toy_scenario(name) for name in PROTOCOLS]

    def rows(trainer, stop):
        played = []
        trainer.run(played.append, lambda: len(played) == stop)
        return [{k: v for k, v in row.items() if "seconds" not in k and "_s" not in k[-2:]}
                for row in played]  # fmt: skip

    whole = make_trainer(scenarios, recording)
    expected = rows(whole, None)
    first = make_trainer(scenarios, recording)
    got = rows(first, 1)
    first.save(tmp_path)
    second = make_trainer(scenarios, recording)
    second.resume(tmp_path)
    got += rows(second, None)
    assert len(expected) > 1
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_array_equal(list(one.values()), list(other.values()))


def test_each_part_of_a_mix_copies_a_teacher_of_its_own(recording):
    scenarios = [toy_scenario(name) for name in PROTOCOLS]
    taught = []

    def teacher(scenario):
        taught.append(scenario.protocol.name)
        return Fixed(RoundAction(1 / 3, 2, 1))

    trainer = make_trainer(
        scenarios, recording, teacher=teacher, imitation_rounds=8, imitation_epochs=30,
        value_rollouts=100, learning_rate=1e-2,
    )  # fmt: skip
    trainer.run(lambda row: None, lambda: True)
    assert taught == list(PROTOCOLS)
    copied = trainer.controller(network=trainer.network())
    for world in (World.load(own, "test", recording) for own in scenarios):
        play = Play(world, world.replay(20), 20, RewardWeights())
        play.begin(np.arange(20))
        wanted = play.codec.index(Actions.full(20, RoundAction(1 / 3, 2, 1)))
        assert (copied.indices(play.observe()) == wanted).all(1).mean() > 0.9
