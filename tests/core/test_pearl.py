"""PEARL's parallel rounds: the device goes on while its block is checked."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from covspec_core.errors import InvalidAction, InvalidSetting
from covspec_core.rounds import RoundAction, RoundResult
from covspec_core.wire import HEADER, ID_BYTES
from tests.core.conftest import make_pair, make_recording, make_requests, make_scenario
from tests.core.ledger import FLOAT_BYTES
from tests.core.test_exactness import (
    LOSSLESS,
    assert_equal_chances,
    enumerate_texts,
    make_source,
    target_chances,
)
from tests.core.test_exactness import make_pair as make_small_pair
from tests.core.twins import engines

BEFORE_ONLY = {"pre_verify": True, "post_verify": False}


def both(seed, **changes):
    pair, requests = make_pair(), make_requests(6)
    recording = make_recording(pair, requests, 1.0)
    scenario = make_scenario(**({"protocol_name": "coupled", "post_verify": True} | changes))
    pairs = engines(scenario, pair, requests, recording, 1.0)
    for engine in pairs:
        engine.begin(seed)
    return pairs


@pytest.mark.parametrize("protocol_name", LOSSLESS)
@pytest.mark.parametrize("steps", [0, 1])
def test_the_law_is_the_targets_without_bonus_tokens(dice, protocol_name, steps):
    source = make_source(make_small_pair(), protocol_name)
    rounds = [{"length": 1, "bonus": False, "steps": steps, "width": 1}] * 3
    got = enumerate_texts(dice, source, rounds, 3)
    assert_equal_chances(got, target_chances(make_small_pair(), 3))


@pytest.mark.parametrize("changes", [{}, {"pre_verify": True}, BEFORE_ONLY], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_parallel_rounds_replay_as_they_ran(seed, changes):
    live, replay = both(seed, **changes)
    rng, over, hits = np.random.default_rng(seed), False, 0
    while not over:
        np.testing.assert_array_equal(live.status().values, replay.status().values)
        action = RoundAction(1.0, int(rng.integers(0, 4)), int(rng.integers(0, 3)))
        results = live.round(action), replay.round(action)
        for field in fields(RoundResult):
            one, other = (getattr(result, field.name) for result in results)
            np.testing.assert_array_equal(one, other, err_msg=field.name)
        hits, over = hits + int(results[0].hit[0]), bool(results[0].session_done[0])
    assert hits > 0


def test_a_block_that_stands_brings_its_own_tokens_and_the_next_one_is_ready():
    live, _ = both(2)
    standing = 0
    for _ in range(30):
        result = live.round(RoundAction(1.0, 2, 0)).row(0)
        if result["accepted"] == 2 and not result["request_done"]:
            standing += 1
            assert (result["emitted"], result["hit"]) == (2, True)
            assert live.status()["ready"][0] == result["branch_steps"] > 0
        if result["session_done"]:
            break
    assert standing > 3


@pytest.mark.parametrize("protocol_name", LOSSLESS)
def test_the_law_is_the_targets_if_the_first_token_is_judged_early(dice, protocol_name):
    source = make_source(make_small_pair(), protocol_name)
    got = enumerate_texts(dice, source, [{"length": 2, "early": True}, {"length": 1}], 2)
    assert_equal_chances(got, target_chances(make_small_pair(), 2))


def first_rounds(early):
    """First rounds of many sessions by what became of the block, drafted over a slow link."""
    live, _ = both(0, protocol_name="decoupled", post_verify=False, pre_verify=early)
    rounds = []
    for seed in range(40):
        live.begin(seed)
        rounds.append(live.round(RoundAction(1.0, 4, 0)).row(0))
    return rounds


def test_an_early_refusal_ends_the_round_before_the_block_is_drafted_and_costs_one_position():
    seen = set()
    for plain, early in zip(first_rounds(False), first_rounds(True), strict=True):
        assert early["emitted"] == plain["emitted"]
        refused = plain["rejected"] and plain["accepted"] == 0
        seen.add(refused)
        if refused:
            assert early["received_s"] < plain["received_s"]
            assert early["charged"] == 1
            # The others were sent if the block was drafted before the refusal was known.
            on_their_way = early["sent_s"] < early["received_s"]
            more = HEADER.size if on_their_way else -3 * (ID_BYTES + FLOAT_BYTES)
            assert early["bytes_up"] == plain["bytes_up"] + more
            seen.add(("sent", on_their_way))
        else:
            assert early["charged"] == plain["charged"]
            # The second message has a header of its own, and so has its verdict.
            assert early["bytes_up"] == plain["bytes_up"] + HEADER.size
            assert early["bytes_down"] == plain["bytes_down"] + HEADER.size + ID_BYTES
    assert {True, False} <= seen
    assert ("sent", True) in seen


@pytest.mark.parametrize("name", ["gate_threshold", "gate_levels"])
def test_a_scenario_with_a_gate_that_cannot_be_read_is_refused(name):
    value = {"gate_threshold": 0.5, "gate_levels": (0.5, np.inf)}[name]
    with pytest.raises(InvalidSetting, match=f"{name} must be inf with pre_verify=True, got"):
        make_scenario(pre_verify=True, **{name: value})


def test_a_gate_cannot_be_read_before_the_block_is_drafted():
    live, _ = both(0, pre_verify=True)
    with pytest.raises(InvalidAction, match="gate_threshold must be inf with pre_verify"):
        live.round(RoundAction(1.0, 2, 0, 0.5))
