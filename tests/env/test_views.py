"""Other views of the actions reach every action, and nothing beyond."""

from __future__ import annotations

from itertools import product

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from covspec_core.errors import InvalidAction, InvalidSetting
from env.codec import Codec
from env.views import BoxActions, BoxView, FlatActions, FlatView, PartsView

CODEC = Codec((0.0, 0.5, 1.0), (0, 2, 4), (0, 1, 2, 4))


def test_flat_actions_are_all_combinations_but_branches_of_nothing():
    view = FlatView(CODEC)
    found = {tuple(row) for row in view.indices(np.arange(view.outputs))}
    every = set(product(range(3), range(3), range(4)))
    assert every - found == {(k, 0, w) for k in range(3) for w in (1, 2, 3)}
    assert len(found) == view.outputs == view.space.n


def test_without_draft_length_0_no_combination_is_left_out():
    assert FlatView(Codec((0.0, 1.0), (1, 2), (0, 1))).outputs == 8


def test_gates_to_choose_from_are_parts_too():
    codec = Codec((1.0,), (0, 4), (0, 2), gate_levels=(0.3, np.inf))
    assert FlatView(codec).outputs == 2 + 4
    assert BoxView(codec).outputs == 4


def test_more_combinations_than_can_be_ranked_are_refused():
    with pytest.raises(InvalidSetting, match="a flat view takes at most 4096 combinations"):
        FlatView(Codec(tuple(np.linspace(0, 1, 40)), tuple(range(40)), (0, 1, 2)))


def test_levels_share_the_range_of_a_real_number_evenly():
    view = BoxView(CODEC)
    drawn = np.random.default_rng(0).uniform(-1, 1, (60_000, 3))
    for part, size in zip(view.indices(drawn).T, CODEC.sizes, strict=True):
        np.testing.assert_allclose(np.bincount(part) / len(part), 1 / size, atol=0.01)


def test_real_numbers_rise_with_their_levels_from_end_to_end():
    view = BoxView(CODEC)
    np.testing.assert_array_equal(view.indices(np.full((1, 3), -1.0)), [[0, 0, 0]])
    np.testing.assert_array_equal(view.indices(np.ones((1, 3))), [[2, 2, 3]])
    rising = view.indices(np.linspace(-1, 1, 99)[:, None].repeat(3, 1))
    assert (np.diff(rising, axis=0) >= 0).all()


def test_parts_are_what_the_environment_takes():
    view = PartsView(CODEC)
    assert view.space == CODEC.action_space
    np.testing.assert_array_equal(view.indices(np.array([[2, 0, 1]])), [[2, 0, 1]])


@pytest.mark.parametrize("action", [[-1], [30], [0.5], [[1]]], ids=str)
def test_flat_actions_beyond_their_space_are_refused(action):
    with pytest.raises(InvalidAction, match=r"must lie in Discrete\(30\)|must lie in Discrete"):
        FlatView(CODEC).indices(np.array(action))


@pytest.mark.parametrize("action", [[[0, 0, 1.01]], [[np.nan, 0, 0]], [[0, 0]]], ids=str)
def test_real_numbers_beyond_their_range_are_refused(action):
    with pytest.raises(InvalidAction, match="must lie in"):
        BoxView(CODEC).indices(np.array(action))


@pytest.mark.parametrize("wrapper", [FlatActions, BoxActions])
def test_a_wrapped_environment_passes_the_checker_and_is_made_anew_from_its_spec(wrapper):
    env = wrapper(gymnasium.make("env:CoVSpec-v0"))
    check_env(env.unwrapped, skip_render_check=True)
    again = gymnasium.make(env.spec)
    assert again.action_space == env.action_space
    assert isinstance(again, wrapper)
    rounds = []
    for each in (env, again):
        each.action_space.seed(0)
        first, _ = each.reset(seed=3)
        rounds.append([first, *(each.step(each.action_space.sample())[0] for _ in range(5))])
    np.testing.assert_array_equal(rounds[0], rounds[1])


def test_within_a_request_masks_leave_the_keep_level_at_hand():
    env = gymnasium.make("env:CoVSpec-v0").unwrapped
    env.reset(seed=0)
    assert env.action_masks().all()
    levels = len(env.play.codec.keep_levels)
    for _ in range(20):
        fresh = env.play.sessions.status()["fresh"][0]
        masks = env.action_masks()
        assert masks[levels:].all()
        assert masks[:levels].sum() == (levels if fresh else 1)
        if not fresh:
            assert masks[2]
        if env.step(np.array([2, 3, 1, 0]))[2]:
            break


def test_what_a_mask_leaves_out_changes_nothing():
    kept, other = (gymnasium.make("env:CoVSpec-v0").unwrapped for _ in range(2))
    for env in (kept, other):
        env.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        masks = kept.action_masks()[: len(kept.play.codec.keep_levels)]
        length, width = rng.integers((9, 4))
        keep = rng.choice(np.flatnonzero(masks))
        anything = keep if masks.all() else rng.integers(masks.size)
        ours, theirs = (
            env.step([own, length, width, 0]) for env, own in ((kept, keep), (other, anything))
        )
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
        if ours[2]:
            break
