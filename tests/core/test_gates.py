"""Gates by token and by uncertainty: live, replayed and on the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covspec_core.errors import BrokenMessage, InvalidSetting
from covspec_core.rounds import RoundAction
from covspec_core.verification import agreement, law, margin
from covspec_core.wire import HEADER, Draft, Terms, protocol, upload_bytes
from tests.core.conftest import make_pair, make_scenario
from tests.core.test_exactness import begin, make_source, play_round
from tests.core.test_exactness import make_pair as make_small_pair
from tests.core.twins import EVERYTHING, assert_same_round, both

SURE = 0.6


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


def test_a_token_gate_does_not_go_with_first_tokens_that_are_judged_apart():
    with pytest.raises(InvalidSetting, match="gate must not be 'token' with pre_verify"):
        make_scenario(gate="token", pre_verify=True)


def test_an_unknown_gate_is_refused():
    with pytest.raises(InvalidSetting, match=r"gate must be one of .* got 'fence'"):
        make_scenario(gate="fence")
