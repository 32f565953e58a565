"""PEARL's parallel rounds: the device goes on while its block is checked."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from covspec_core.rounds import RoundAction, RoundResult
from tests.core.conftest import make_pair, make_recording, make_requests, make_scenario
from tests.core.test_exactness import (
    assert_equal_chances,
    dice,  # noqa: F401
    enumerate_texts,
    make_source,
    target_chances,
)
from tests.core.test_exactness import make_pair as make_small_pair
from tests.core.test_replay_equals_live import engines


def both(seed, **changes):
    pair, requests = make_pair(), make_requests(6)
    recording = make_recording(pair, requests, 1.0)
    scenario = make_scenario("coupled", post_verify=True, **changes)
    pairs = engines(scenario, pair, requests, recording, 1.0)
    for engine in pairs:
        engine.begin(seed)
    return pairs


@pytest.mark.parametrize("protocol_name", ["decoupled", "full"])
@pytest.mark.parametrize("steps", [0, 1])
def test_the_law_is_the_targets_without_bonus_tokens(dice, protocol_name, steps):  # noqa: F811
    source = make_source(make_small_pair(), protocol_name)
    rounds = [{"length": 1, "bonus": False, "steps": steps, "width": 1}] * 2
    got = enumerate_texts(dice, source, rounds, 2)
    assert_equal_chances(got, target_chances(make_small_pair(), 2))


@pytest.mark.parametrize("seed", range(6))
def test_rounds_without_bonus_tokens_replay_as_they_ran(seed):
    live, replay = both(seed)
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
