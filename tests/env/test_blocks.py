"""Blocks drafted token by token are the engine's, live and replayed, and give no refusal away."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from covspec_core.records import SESSION
from covspec_core.replay import ASTRAY
from covspec_core.rounds import RoundResult
from covspec_core.source import Place
from env.actions import GIVE_UP, GO_ON, SEND
from env.codec import Codec
from env.play import World
from env.tokens import Blocks
from tests.core.conftest import LIMIT, make_pair, make_recording, make_requests, make_scenario
from tests.core.twins import engines

LONGEST = 10


@pytest.fixture(scope="module")
def toys():
    pair, requests = make_pair(), make_requests(6)
    return pair, requests, make_recording(pair, requests, 1.0)


def drafted(engine, rng):
    """Draft a block at random; its observations, and the actions of the round that plays it."""
    scenario = engine.scenario
    blocks = Blocks(engine.sessions, Codec.of(scenario).at("token"))
    one, shown, done = np.array([0]), [], np.array([])
    wanted, last = int(rng.integers(0, LONGEST + 1)), int(rng.choice([SEND, GIVE_UP]))
    keep, width = rng.integers([len(scenario.keep_levels), len(scenario.branch_widths)])
    while not done.size:
        shown.append(blocks.observe(one)[0])
        choice = GO_ON if blocks.length[0] < wanted else last
        done = blocks.step(one, np.array([[choice, keep, width]]))
    return np.array(shown), blocks.actions(one)


@pytest.mark.parametrize("seed", range(8))
def test_rounds_and_facts_are_equal_live_and_replayed_as_far_as_tokens_stand(toys, seed):
    pair, requests, recording = toys
    live, replay = engines(make_scenario("coupled"), pair, requests, recording, 1.0)
    live.begin(seed)
    replay.begin(seed)
    over, seen, strayed = False, 0, 0
    while not over:
        (facts, actions), (told, same) = (
            drafted(engine, np.random.default_rng(seen)) for engine in (live, replay)
        )
        assert actions[0] == same[0]
        stood = replay.source.stands(replay.sessions.place.key, LIMIT)[0]
        stood = stood[int(replay.sessions.place.position[0]) :]
        # What is shown with n tokens in hand was told before the last of them.
        exact = 1 + min([len(facts), 1 + int(np.argmin([*stood, False]))])
        np.testing.assert_array_equal(facts[:exact], told[:exact])
        strayed += len(facts) > exact
        results = live.play(actions), replay.play(same)
        for field in fields(RoundResult):
            one, other = (getattr(result, field.name) for result in results)
            np.testing.assert_array_equal(one, other, err_msg=f"{field.name} in round {seen}")
        over, seen = bool(results[0].session_done[0]), seen + 1
    assert seen > 2
    assert strayed > 0


def told_behind(world, astray, sessions=64, ahead=4):
    """Margins of a source at every place of blocks, the recorded ones, and which tokens stand."""
    source, rows = world.replay(sessions), np.arange(sessions)
    source.astray = astray
    keys = np.arange(sessions, dtype=np.uint64) * np.uint64(7919)
    source.begin(rows, keys)
    source.prefill(rows, np.full(sessions, world.scenario.keep_levels[0]))

    place = Place(np.zeros(sessions, SESSION))
    place.key = keys
    margins = [source.within(place, rows, np.full(sessions, n)).ahead.margin for n in range(ahead)]
    true = [source.tokens["margin"][source.texts["base"] + n] for n in range(ahead)]
    return np.array(margins), np.array(true), source.stands(keys, ahead).T


@pytest.mark.parametrize("astray", ASTRAY)
def test_the_true_text_is_read_behind_a_refused_token_only_if_asked_for(
    scenario, recording, astray
):
    told, true, stands = told_behind(World.load(scenario, "train", recording), astray)
    before = np.vstack([np.ones_like(stands[:1]), np.logical_and.accumulate(stands[:-1])])
    np.testing.assert_array_equal(told[before], true[before])
    behind = ~before
    assert behind.sum() > 20
    same = told[behind] == true[behind]
    assert same.all() if astray == "recorded" else same.mean() < 0.5
