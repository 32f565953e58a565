"""Gates by token and by uncertainty, stops and giving up: live, replayed and on the wire."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covspec_core.acceptance import DRAWN
from covspec_core.blocks import Sampler
from covspec_core.errors import BrokenMessage, InvalidAction, InvalidSetting
from covspec_core.records import SESSION
from covspec_core.replay import ASTRAY
from covspec_core.rounds import RoundAction, RoundResult
from covspec_core.source import Move, Place, Stops
from covspec_core.verification import agreement, entropy, law, margin
from covspec_core.wire import HEADER, Draft, Terms, protocol, upload_bytes
from tests.core.conftest import make_pair, make_recording, make_requests, make_scenario, toy_head
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
from tests.core.test_replay_equals_live import engines

SURE = 0.6
SEEN = ("accepted", "rejected", "skipped", "emitted", "deviations", "request_done")


def both(pair, seed, gate="block", protocol_name="coupled"):
    requests = make_requests(6)
    recording = make_recording(pair, requests, 1.0)
    scenario = make_scenario(protocol_name, requests=2, max_skipped=5, gate=gate)
    pairs = engines(scenario, pair, requests, recording, 1.0)
    for engine in pairs:
        engine.begin(seed)
    return pairs


def assert_same_round(live, replayed, names):
    for name in names:
        one, other = getattr(live, name), getattr(replayed, name)
        np.testing.assert_array_equal(one, other, err_msg=name)


EVERYTHING = tuple(field.name for field in fields(RoundResult))


@pytest.mark.parametrize("gate", ["token", "uncertainty"])
@pytest.mark.parametrize("seed", range(6))
def test_gated_sessions_replay_as_they_ran_if_the_draft_is_the_target(gate, seed):
    pair = make_small_pair(vocab_size=6, eos_bias=-2.0, same=True)
    live, replay = both(pair, seed, gate)
    rng, over, skipped = np.random.default_rng(seed), False, 0
    while not over:
        threshold = float(rng.choice([0.0, 0.3, 0.5, np.inf]))
        action = RoundAction(0.5, int(rng.integers(0, 5)), int(rng.choice([0, 2])), threshold)
        results = live.round(action), replay.round(action)
        assert_same_round(*results, EVERYTHING)
        assert not results[0].deviations[0]
        skipped, over = skipped + int(results[0].skipped[0]), bool(results[0].session_done[0])
    assert skipped > 0


@pytest.mark.parametrize("gate", ["token", "uncertainty"])
@pytest.mark.parametrize("seed", range(6))
def test_gated_rounds_agree_through_the_first_token_that_the_target_would_not_write(gate, seed):
    live, replay = both(make_pair(), seed, gate)
    rng = np.random.default_rng(seed)
    while True:
        action = RoundAction(1.0, int(rng.integers(0, 4)), 0, float(rng.choice([0.3, 0.6, np.inf])))
        results = live.round(action), replay.round(action)
        wrong = [bool(r.rejected[0] or r.deviations[0]) for r in results]
        assert wrong[0] == wrong[1]
        if wrong[0] or results[0].session_done[0]:
            return
        assert_same_round(*results, EVERYTHING)


def test_a_token_gate_passes_sure_tokens_and_judges_the_others():
    pair = make_small_pair(vocab_size=4, eos_bias=-2.0)
    source = make_source(pair, "decoupled")
    source._gate = "token"
    passed = judged = wrong = 0
    for key in range(60):
        begin(source, key=key, keep=1.0)
        outcome = play_round(source, 4, sure=SURE)
        margins, accepted = margin(source._block.signals).astype(np.float16), outcome.accepted[0]
        assert outcome.unjudged[0] == (margins[:accepted] >= SURE).sum()
        passed, wrong = passed + outcome.unjudged[0], wrong + outcome.deviations[0]
        judged += accepted - outcome.unjudged[0]
        if outcome.rejected[0]:
            assert margins[accepted] < SURE
    assert passed > 10
    assert judged > 10
    assert 0 < wrong < passed


@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled", "full"])
def test_a_token_gate_is_charged_and_sent_by_the_judged_token(protocol_name):
    live, _ = both(make_pair(), 1, "token", protocol_name)
    seen = set()
    for _ in range(12):
        result = live.round(RoundAction(1.0, 4, 0, 0.5)).row(0)
        if result["bytes_up"]:
            judged = result["charged"] - (
                result["emitted"] > result["accepted"] + result["skipped"]
                and not result["rejected"]
            )
            assert judged <= result["drafted"]
            seen.add(judged)
        if result["session_done"]:
            break
    assert len(seen) > 1


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_a_masked_draft_reads_back_as_it_was_sent(mask, skipped):
    judged = np.array(mask, dtype=bool)
    q = np.linspace(0.1, 0.9, int(judged.sum()), dtype=np.float32) if judged.any() else None
    sent = Draft(7, np.arange(skipped), np.arange(len(mask)) + 5, q, judged)
    terms = Terms(protocol("decoupled"), 50)
    data = sent.encode(terms)
    got = Draft.decode(data, terms)
    assert got.judged.tolist() == mask
    assert (got.block.tolist(), got.skipped.tolist()) == (sent.block.tolist(), list(range(skipped)))
    assert (got.q is None) == (q is None)
    assert q is None or got.q.tolist() == q.tolist()
    assert len(data) == upload_bytes(terms.kind, skipped, len(mask), 9, int(judged.sum()))


def test_a_mask_that_names_more_tokens_than_the_block_has_is_refused():
    terms = Terms(protocol("coupled"), 50)
    data = bytearray(Draft(1, np.arange(0), np.arange(3), None, np.ones(3, bool)).encode(terms))
    data[HEADER.size] |= 0b1000
    with pytest.raises(BrokenMessage):
        Draft.decode(bytes(data), terms)


def test_agreement_is_the_chance_of_the_same_token_at_a_random_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 6)
    chances = agreement(np.tile(logits, (6, 1)), np.arange(6))
    assert chances.sum() == pytest.approx(1.0)
    warmths = rng.uniform(0, 2, 4000)
    sampled = np.mean([law(logits, warmth) for warmth in warmths], axis=0)
    np.testing.assert_allclose(chances, sampled, atol=0.02)


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


@pytest.mark.parametrize("name", ["live", "replay"])
def test_giving_up_costs_the_drafts_and_sends_nothing_of_them(name):
    pairs = [
        dict(zip(("live", "replay"), both(make_pair(), 3), strict=True))[name] for _ in range(2)
    ]
    for engine in pairs:
        engine.round(RoundAction(0.5, 2, 0))
    now_s, awake = pairs[0].sessions.now_s[0] * 1.0, pairs[0].sessions.place.awake[0]
    dropped = pairs[0].round(RoundAction(0.5, 3, 2, give_up=True)).row(0)
    alone = pairs[1].round(RoundAction(0.5, 0, 0)).row(0)
    step_s = pairs[0].scenario.profile.draft_s(0.5) * pairs[0].sessions.path.device_factor[0]
    assert awake
    assert dropped["sent_s"] - now_s == pytest.approx(3 * step_s, rel=1e-9)
    assert alone["sent_s"] - now_s == pytest.approx(1 * step_s, rel=1e-9)
    for field in ("drafted", "bytes_up", "bytes_down", "charged", "burst", "emitted"):
        assert dropped[field] == alone[field]


@pytest.mark.parametrize("seed", range(4))
def test_sessions_that_give_up_replay_as_they_ran(seed):
    live, replay = both(make_pair(), seed)
    rng, over = np.random.default_rng(seed), False
    while not over:
        length, gives_up = int(rng.integers(0, 5)), bool(rng.integers(0, 2))
        action = RoundAction(0.5, length, 2, give_up=gives_up)
        np.testing.assert_array_equal(live.status().values, replay.status().values)
        results = live.round(action), replay.round(action)
        assert_same_round(*results, EVERYTHING)
        over = bool(results[0].session_done[0])


def test_an_edge_that_was_stopped_by_drafts_is_asked_again():
    engine = both(make_pair(), 3)[1]
    opening, gives_up = RoundAction(0.5, 0, 0), RoundAction(0.5, 1, 0, give_up=True)
    bursts = [opening, opening, gives_up, opening]
    sent = [engine.round(action).row(0)["bytes_up"] for action in bursts]
    assert sent == [0, 0, HEADER.size, 0]


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


def chances_if_dropped(dice, monkeypatch, protocol_name, ahead, threshold):
    """Law of the first token where a block is given up for a sure law behind ``ahead`` drafts.

    With none it is given up for the law before the first draft, which is there whatever is drawn.
    """
    source, drawn = make_source(make_small_pair(vocab_size=4), protocol_name), {}
    place = Place(np.zeros(1, SESSION))
    place.keep[:] = 0.5

    def draw(self, law, position, purpose=0):
        """One outcome an address and law, as a number that is addressed gives it."""
        address = position, purpose, law.tobytes()
        if address not in drawn:
            drawn[address] = dice.roll(law)
        return drawn[address]

    def play():
        drawn.clear()
        begin(source)
        row = np.array([0])
        told = [source.within(place, row, np.array([n])).ahead.margin[0] for n in range(ahead + 1)]
        play_round(source, 0 if told[-1] > threshold else 1, burst=1)
        return tuple(source.text[:1])

    monkeypatch.setattr(Sampler, "draw", draw)
    return dice.chances(play)


@pytest.mark.parametrize("protocol_name", ["decoupled", "full", "lazy", "progressive"])
def test_giving_up_for_what_was_drafted_costs_independent_draws_the_law(
    dice,
    monkeypatch,
    protocol_name,
):
    expected = target_chances(make_small_pair(vocab_size=4), 1)
    for threshold in (0.5, 0.9):  # the law before the first draft has a margin of 0.78
        got = chances_if_dropped(dice, monkeypatch, protocol_name, 0, threshold)
        assert_equal_chances(got, expected)
    got = chances_if_dropped(dice, monkeypatch, protocol_name, 1, 0.5)
    assert max(abs(got[text] - expected[text]) for text in expected) > 0.05


def test_a_token_gate_does_not_go_with_first_tokens_that_are_judged_apart():
    with pytest.raises(InvalidSetting, match="gate must not be 'token' with pre_verify"):
        make_scenario(gate="token", pre_verify=True)


def test_an_unknown_gate_is_refused():
    with pytest.raises(InvalidSetting, match=r"gate must be one of .* got 'fence'"):
        make_scenario(gate="fence")
