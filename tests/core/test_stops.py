"""Blocks that end for their entropy or their chance to stand: live, replayed, and in law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.acceptance import DRAWN
from covspec_core.errors import InvalidAction
from covspec_core.records import SESSION
from covspec_core.replay import ASTRAY
from covspec_core.rounds import RoundAction
from covspec_core.source import Move, Place, Stops
from covspec_core.verification import entropy
from tests.core.conftest import make_pair, toy_head
from tests.core.test_exactness import (
    EOS,
    LOSSLESS,
    assert_equal_chances,
    begin,
    enumerate_texts,
    make_source,
    play_round,
    target_chances,
)
from tests.core.test_exactness import make_pair as make_small_pair
from tests.core.twins import EVERYTHING, SEEN, assert_same_round, both


@pytest.mark.parametrize("seed", range(6))
def test_with_an_entropy_stop_the_replay_commits_what_live_models_commit(seed):
    live, replay = both(make_pair(), seed)
    rng, over, shorter = np.random.default_rng(seed), False, 0
    while not over:
        action = RoundAction(0.5, 6, 0, entropy_stop=float(rng.choice([0.5, 1.0, 1.4])))
        results = live.round(action), replay.round(action)
        assert_same_round(*results, SEEN)
        if not results[0].rejected[0] and not results[0].request_done[0]:
            assert_same_round(*results, ("drafted", "bytes_up", "charged"))
        shorter += int(results[0].drafted[0] < 6)
        over = bool(results[0].session_done[0])
    assert shorter > 0


@pytest.mark.parametrize("seed", range(6))
def test_with_stops_of_both_kinds_the_replay_commits_what_live_models_commit(seed):
    live, replay = both(make_pair(), seed)
    rng, over, shorter = np.random.default_rng(seed), False, 0
    while not over:
        action = RoundAction(
            0.5, 6, int(rng.choice([0, 2])), entropy_stop=float(rng.choice([1.2, np.inf])),
            chance_stop=float(rng.choice([0.02, 0.1, 0.3])),
        )  # fmt: skip
        results = live.round(action), replay.round(action)
        assert_same_round(*results, SEEN)
        if results[0].rejected[0] or results[0].request_done[0]:
            # Behind the text the drafts of both differ, and with them seconds and links.
            live.sessions.records["now_s"] = replay.sessions.records["now_s"]
            live.sessions.records["edge_ready_s"] = replay.sessions.records["edge_ready_s"]
        else:
            assert_same_round(*results, ("drafted", "bytes_up", "charged", "branch_steps"))
            assert live.sessions.now_s - replay.sessions.now_s == pytest.approx(0, abs=1e-9)
        shorter += int(results[0].drafted[0] < 6)
        over = bool(results[0].session_done[0])
    assert shorter > 0


def test_a_stop_tells_nothing_of_the_true_text_behind_a_refused_token():
    """Where the facts of a detour and of the true text end a block otherwise, it is refused."""
    differ = 0
    for seed in range(12):
        engines_ = {astray: both(make_pair(), seed)[1] for astray in ASTRAY}
        over = False
        while not over:
            for astray, engine in engines_.items():
                engine.sessions.source.astray = astray
            rounds = [e.round(RoundAction(0.5, 6, 0, chance_stop=0.2)) for e in engines_.values()]
            assert_same_round(*rounds, ("accepted", "rejected", "emitted"))
            if rounds[0].drafted[0] != rounds[1].drafted[0]:
                assert rounds[0].rejected[0]
                assert min(r.drafted[0] for r in rounds) > rounds[0].accepted[0]
                differ += 1
            over = bool(rounds[0].session_done[0])
    assert differ > 0


@pytest.mark.parametrize("chance", [0.05, 0.15, 0.4])
def test_a_block_ends_where_it_and_one_token_more_are_too_doubtful(chance):
    live, ends = both(make_pair(), 3)[0], {"drawn": 0, "before": 0, "whole": 0}
    over = False
    while not over:
        result = live.round(RoundAction(0.5, 6, 0, chance_stop=chance)).row(0)
        source, over = live.sessions.source, result["session_done"]
        block, place, standing = source._block, Place(live.sessions.records), 1.0
        for i, (outputs, token) in enumerate(zip(block.outputs, block.tokens, strict=True)):
            said = source._forecast(outputs, place)
            stands, follows = said.of_drawn(np.array([token]))[0] / 255
            assert i == 0 or standing * said.chances[0, 0] / 255 >= chance
            standing *= stands
            if token in live.sessions.source._pair.draft.eos_ids:
                break
            assert standing * follows >= chance or i == len(block) - 1
        else:
            drawn = len(block) < 6 and not block.unsent
            ends["drawn" if drawn else "before" if block.unsent else "whole"] += 1
            assert not drawn or standing * follows < chance
    assert ends["drawn"] > 0


def said_of_all(engine, **said):
    """Let the head say the same of every recorded token, in steps of ``1 / GRID``."""
    for name, value in said.items():
        for column in (name, f"lost_{name}") if name in DRAWN else (name,):
            engine.sessions.source.tokens[column] = value


@pytest.mark.parametrize(
    ("said", "length", "unsent"),
    [
        # One token stands, the next would with 0.70: a block of one, whose second step was taken.
        ({"stands": 255, "follows": 255, "chance": 178}, 1, 1),
        # 0.71 that two stand, 0.64 that three do: the second one's step tells, nothing is lost.
        ({"stands": 230, "follows": 200, "chance": 255}, 2, 0),
        ({"stands": 230, "follows": 190, "chance": 255}, 1, 0),
        ({"stands": 255, "follows": 255, "chance": 255}, 6, 0),
    ],
)
def test_a_chance_stop_costs_the_steps_that_were_taken(said, length, unsent):
    stopped, asked = (both(make_pair(), 3)[1] for _ in range(2))
    said_of_all(stopped, **said)
    row = stopped.round(RoundAction(0.5, 6, 0, chance_stop=0.7)).row(0)
    other = asked.round(RoundAction(0.5, length, 0)).row(0)
    step_s = stopped.scenario.profile.draft_s(0.5) * stopped.sessions.path.device_factor[0]
    assert row["drafted"] == other["drafted"] == length
    assert row["sent_s"] - other["sent_s"] == pytest.approx(unsent * step_s, abs=1e-9)
    assert row["bytes_up"] == other["bytes_up"]


@pytest.mark.parametrize("shared", [True, False])
def test_a_refused_token_is_foreseen_as_itself_not_as_the_one_that_was_written(shared):
    """What the head says of the token that the draft drew ends a block, or does not."""
    engine = both(make_pair(), 3, protocol_name="coupled" if shared else "decoupled")[1]
    said_of_all(engine, stands=255, follows=255, chance=255)
    engine.sessions.source.tokens["lost_stands"] = 0
    refused, over = 0, False
    while not over:
        row = engine.round(RoundAction(0.5, 6, 0, chance_stop=0.5)).row(0)
        refused, over = refused + row["rejected"], row["session_done"]
        if row["rejected"]:
            assert row["drafted"] == row["accepted"] + 1
    assert refused > 2


def play_with_stop(source, place, length, chance, burst=0):
    """One round of a block that a chance may end, or of a burst; its length and unsent steps."""
    stops = Stops(np.array([np.inf]), np.array([chance]))
    drafted = source.draft(place, np.array([length]), np.array([np.inf]), stops)
    move = Move(
        drafted.length, np.array([burst]), np.array([False]), drafted.unsure, np.array([np.inf])
    )
    return source.finish(place, move), (int(drafted.length[0]), int(drafted.unsent[0]))


def stopping_source(protocol_name):
    """Live models whose head ends blocks for what was drawn, and where it stands."""
    pair = make_small_pair(vocab_size=4)
    pair = replace(pair, head=toy_head(pair.draft.hidden_size, seed=10))
    place = Place(np.zeros(1, SESSION))
    place.keep[:] = 0.5
    return pair, make_source(pair, protocol_name), place


@pytest.mark.parametrize("protocol_name", LOSSLESS)
def test_blocks_that_end_for_what_was_drawn_keep_the_law(dice, protocol_name):
    pair, source, place = stopping_source(protocol_name)
    lengths = set()

    def play():
        begin(source)
        while len(source.text) < 3 and EOS not in source.text:
            lengths.add(play_with_stop(source, place, 3, 0.3)[1])
        return tuple(source.text[:3])

    assert_equal_chances(dice.chances(play), target_chances(pair, 3))
    assert {(1, 1), (2, 0), (3, 0)} <= lengths


@pytest.mark.parametrize("protocol_name", LOSSLESS)
def test_who_sees_how_long_a_refused_block_grew_learns_nothing_of_later_draws(dice, protocol_name):
    """Its length tells of tokens that were dropped; those drawn in their place are others."""
    pair, source, place = stopping_source(protocol_name)
    lengths = set()

    def play():
        begin(source)
        outcome, (length, _) = play_with_stop(source, place, 3, 0.3)
        if len(source.text) == 1 and EOS not in source.text:
            assert outcome.rejected[0]
            lengths.add(length)
            if length == 3:
                play_with_stop(source, place, 1, 0.0)
            else:
                play_with_stop(source, place, 0, 0.0, burst=1)
        return tuple(source.text[:2])

    assert_equal_chances(dice.chances(play), target_chances(pair, 2))
    assert {2, 3} <= lengths


@pytest.mark.parametrize("stop", [-0.1, 1.1, np.nan])
def test_a_chance_stop_that_is_no_chance_is_refused(stop):
    with pytest.raises(InvalidAction, match=r"chance_stop must lie in \[0, 1\], got"):
        RoundAction(0.5, 1, 0, chance_stop=stop)


@pytest.mark.parametrize("stop", [0.0, 1.0, 1.2])
def test_a_block_ends_behind_the_first_law_of_too_much_entropy(stop):
    pair = make_small_pair(vocab_size=5, eos_bias=-6.0)
    source = make_source(pair, "decoupled")
    lengths = set()
    for key in range(40):
        begin(source, key=key)
        play_round(source, 5, stop=stop)
        entropies = entropy(source._block.signals).astype(np.float16)
        assert (entropies[:-1] <= stop).all()
        assert len(entropies) == 5 or entropies[-1] > stop
        lengths.add(len(entropies))
    assert lengths == {1} if stop == 0 else len(lengths) > 1


@pytest.mark.parametrize("protocol_name", LOSSLESS)
def test_an_entropy_stop_leaves_the_law_of_the_text_alone(dice, protocol_name):
    pair = make_small_pair()
    source = make_source(pair, protocol_name)
    got = enumerate_texts(dice, source, [{"length": 2, "stop": 0.9}, {"length": 1}], 3)
    assert_equal_chances(got, target_chances(pair, 3))


@pytest.mark.parametrize("seed", range(4))
def test_a_block_that_its_stop_ends_with_the_answer_replays_as_it_ran(seed):
    live, replay = both(make_small_pair(vocab_size=6, eos_bias=-1.0, same=True), seed)
    over = False
    while not over:
        action = RoundAction(0.5, 6, 0, entropy_stop=0.0)
        results = live.round(action), replay.round(action)
        assert results[0].drafted[0] == 1
        assert_same_round(*results, EVERYTHING)
        over = bool(results[0].session_done[0])
