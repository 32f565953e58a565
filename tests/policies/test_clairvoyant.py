"""The search on links that change: exact where it says so, playable, and beaten by no rule."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.links.channels import GilbertElliottLink
from covspec_core.randomness import mix
from env.play import World
from policies.clairvoyant import outcome_search
from policies.judging import judge
from policies.known import frozen
from policies.oracles import law_oracle, outcome_oracle
from tests.policies.brute import drawn_recording, least_seconds
from tests.policies.conftest import toy_scenario
from tests.policies.test_oracles import rivals_of, small_world

BURSTY = GilbertElliottLink(
    good_bps=1e6, bad_bps=4e3, mean_good_s=0.5, mean_bad_s=0.3, slot_s=0.05, rtt_s=(0.02, 0.05)
)
"""Changes within a round; a message of the toy takes 0.2 s on the bad link."""


def bursty_world(recording, protocol_name):
    return World.load(toy_scenario(protocol_name, link=BURSTY), "train", recording)


@pytest.mark.parametrize("seed", range(6))
def test_without_branches_it_is_the_best_of_all_sequences_of_actions(seed):
    world = small_world(drawn_recording(seed, [4, 3]), "decoupled", link=BURSTY, branch_widths=(0,))
    best = [least_seconds(world, key, 4) for key in mix(seed, np.arange(3))]
    np.testing.assert_allclose(outcome_search(world, 3, seed).seconds, best, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_with_branches_it_is_never_better_than_possible_and_rarely_worse(seed):
    world = small_world(drawn_recording(seed, [4, 3]), "decoupled", link=BURSTY)
    best = np.array([least_seconds(world, key, 4) for key in mix(seed, np.arange(3))])
    found = outcome_search(world, 3, seed).seconds
    assert (found >= best - 1e-9).all()
    assert (found <= 1.02 * best).all()


@pytest.mark.parametrize("protocol_name", ["decoupled", "coupled"])
def test_on_links_that_do_not_change_it_is_the_outcome_oracle(recording, protocol_name):
    world = World.load(toy_scenario(protocol_name), "train", recording)
    pair = outcome_search(world, 6, 2), outcome_oracle(world, 6, 2)
    np.testing.assert_allclose(pair[0].seconds, pair[1].seconds, rtol=1e-12)
    np.testing.assert_array_equal(pair[0].edge_only_s, pair[1].edge_only_s)


@pytest.mark.parametrize("protocol_name", ["decoupled", "coupled"])
def test_played_on_the_changing_link_the_plan_costs_what_it_promises(recording, protocol_name):
    world = bursty_world(recording, protocol_name)
    oracle = outcome_search(world, 8, 4)
    scores = judge(world, oracle, 8, 4)
    np.testing.assert_array_equal(scores.seconds, oracle.seconds)
    np.testing.assert_array_equal(scores.edge_only_s, oracle.edge_only_s)


def test_no_rule_beats_the_search_in_any_session(recording):
    world = bursty_world(recording, "decoupled")
    least = outcome_search(world, 8, 0).seconds
    for rival in rivals_of(world.scenario):
        assert (judge(world, rival, 8, 0).seconds >= least).all()


def test_a_plan_for_frozen_links_plays_on_links_that_change(recording):
    world = bursty_world(recording, "decoupled")
    still = frozen(world)
    assert still.links.slots == 1
    np.testing.assert_allclose(still.links.up_bps[:, 0], world.links.up_bps.mean(1))
    seconds = judge(world, law_oracle(still, 16, 0), 16, 0).seconds
    assert (seconds >= outcome_search(world, 16, 0).seconds).all()
    assert seconds.mean() < min(
        judge(world, rival, 16, 0).seconds.mean() for rival in rivals_of(world.scenario)
    )
