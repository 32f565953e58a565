"""Orders of visual tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.reduction import REDUCTIONS, VisualStates, activity, covspec, reduction


def states(seed: int = 0, n: int = 144, hidden: int = 24) -> VisualStates:
    rng = np.random.default_rng(seed)
    early, deep = rng.normal(size=(2, n, hidden))
    return VisualStates(relevance=rng.dirichlet(np.ones(n)), early=early, deep=deep)


def order(name: str, given: VisualStates, seed: int = 0) -> np.ndarray:
    return reduction(name)(given, np.random.default_rng(seed))


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("hidden", [4, 24, 300])
def test_every_order_is_a_permutation_so_that_keeps_nest(name, hidden):
    got = order(name, states(hidden=hidden))
    assert got.dtype == np.int64
    assert sorted(got) == list(range(144))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_equal_inputs_and_seeds_give_equal_orders(name):
    np.testing.assert_array_equal(order(name, states()), order(name, states()))


def test_another_seed_changes_the_random_order_only():
    assert (order("random", states(), 0) != order("random", states(), 1)).any()
    np.testing.assert_array_equal(order("covspec", states(), 0), order("covspec", states(), 1))


def test_none_is_the_order_of_the_image():
    np.testing.assert_array_equal(order("none", states()), np.arange(144))


def test_a_copy_of_a_kept_token_comes_late():
    given = states(n=20, hidden=40)
    first = order("covspec", given)[0]
    copy = (first + 7) % 20
    twins = [first, copy]
    relevance, early, deep = given.relevance.copy(), given.early.copy(), given.deep.copy()
    relevance[twins], early[twins], deep[twins] = relevance[first], early[first], deep[first]
    got = order("covspec", VisualStates(relevance, early, deep)).tolist()
    assert min(map(got.index, twins)) == 0
    assert max(map(got.index, twins)) >= 18


def test_the_first_tokens_span_what_all_tokens_span():
    rng = np.random.default_rng(3)
    kinds = rng.normal(size=(4, 16))
    deep = kinds[np.arange(40) % 4]
    given = VisualStates(np.ones(40), deep, deep)
    kept = order("covspec", given)[:3]  # centring takes one dimension
    assert len(set(kept % 4)) == 3


def test_of_equally_unlike_tokens_the_relevant_ones_come_first():
    relevance = np.zeros(12)
    relevance[[2, 7, 9]] = 1.0
    given = VisualStates(relevance, np.eye(12), np.eye(12))
    assert set(order("covspec", given)[:3]) == {2, 7, 9}


def test_activity_is_the_angle_between_the_layers():
    early = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    deep = np.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    np.testing.assert_allclose(activity(VisualStates(np.ones(3), early, deep)), [0.0, 1.0, 2.0])


def test_constant_signals_still_give_an_order():
    given = VisualStates(np.ones(6), np.zeros((6, 4)), np.zeros((6, 4)))
    assert sorted(covspec(given, np.random.default_rng(0))) == list(range(6))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InvalidSetting, match=r"covspec, random, none.*'best'"):
        reduction("best")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InvalidSetting, match="relevance, early and deep"):
        replace(states(), relevance=np.ones(3))
