"""A controller sees what its settings show, and the last rounds of its own session alone."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from env.observations import RANGES
from env.vector import CoVSpecVectorEnv
from policies.memory import Memory, ObservationSettings
from policies.vec_env import SB3VecEnv
from tests.policies.conftest import toy_scenario


def rounds(rng, count=6, size=3, fields=4):
    return rng.random((count, size, fields)).astype(np.float32)


def test_a_memory_holds_the_last_rounds_oldest_first():
    memory, shown = Memory(3), rounds(np.random.default_rng(0))
    held = [memory.add(each) for each in shown]
    np.testing.assert_array_equal(held[0], np.concatenate([shown[0]] * 3, axis=1))
    for i in range(2, len(shown)):
        np.testing.assert_array_equal(held[i], np.concatenate(shown[i - 2 : i + 1], axis=1))


def test_a_session_that_begins_remembers_nothing_of_the_one_before():
    memory, shown = Memory(2), rounds(np.random.default_rng(1))
    memory.add(shown[0])
    last = memory.ending(1, shown[1][1])
    np.testing.assert_array_equal(last, np.concatenate([shown[0][1], shown[1][1]]))
    held = memory.add(shown[2], np.array([False, True, False]))
    np.testing.assert_array_equal(held[1], np.tile(shown[2][1], 2))
    np.testing.assert_array_equal(held[0], np.concatenate([shown[0][0], shown[2][0]]))


def test_what_was_shown_does_not_change_later():
    memory, shown = Memory(3), rounds(np.random.default_rng(2))
    first = memory.add(shown[0])
    before = first.copy()
    memory.add(shown[1], np.array([True, True, True]))
    np.testing.assert_array_equal(first, before)


def test_fields_are_left_out_by_the_beginnings_of_their_names():
    shown = ObservationSettings(without=("chance_", "ready")).fields
    assert set(RANGES) - set(shown) == {n for n in RANGES if n.startswith("chance_")} | {"ready"}
    assert list(shown) == [name for name in RANGES if name in shown]
    assert ObservationSettings().fields == tuple(RANGES)


@pytest.mark.parametrize("history", [1, 3])
def test_a_batch_shows_the_fields_and_rounds_that_were_asked_for(recording, history):
    settings = ObservationSettings(without=("chance_",), history=history)
    whole, narrow = (
        SB3VecEnv(CoVSpecVectorEnv(4, toy_scenario(), recording=recording), observation=each)
        for each in (None, settings)
    )
    columns = [list(RANGES).index(name) for name in settings.fields]
    for envs in (whole, narrow):
        envs.seed(5)
    past = [[each] * history for each in whole.reset()[:, columns]]
    rng, ends = np.random.default_rng(0), 0
    shown = narrow.reset()
    for _ in range(80):
        np.testing.assert_array_equal(shown, [np.concatenate(each) for each in past])
        actions = rng.integers(whole.action_space.nvec, size=(4, 3))
        every, _, dones, infos = whole.step(actions)
        shown, _, _, own = narrow.step(actions)
        assert narrow.observation_space.contains(shown[0])
        for row, done in enumerate(dones):
            last = infos[row]["terminal_observation"] if done else every[row]
            past[row] = [*past[row][1:], last[columns]]
            if done:
                ends += 1
                wanted = np.concatenate(past[row])
                np.testing.assert_array_equal(own[row]["terminal_observation"], wanted)
                past[row] = [every[row, columns]] * history
    assert ends > 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"without": ["horoscope"]}, "without must hold beginnings of .*, got 'horoscope'"),
        ({"without": [""]}, "without must hold beginnings of"),
        ({"without": sorted(RANGES)}, "without must leave a field"),
        ({"history": 0}, r"history must lie in \[1, 64\], got 0"),
        ({"history": 2.5}, "history must be a value of type int"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(values, said):
    with pytest.raises(InvalidSetting, match=said):
        ObservationSettings.of(values)
