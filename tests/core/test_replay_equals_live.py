"""The central promise: a replay of any actions equals the live models, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.scenario import KEEP_CONTROLS
from tests.core.conftest import LEVELS, make_recording, make_scenario
from tests.core.twins import EVERYTHING, assert_same_round, engines, random_action


@pytest.mark.parametrize("keep_control", KEEP_CONTROLS)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("seed", range(12))
def test_random_actions_give_the_same_rounds_live_and_replayed(
    pair, requests, temperature, seed, keep_control
):
    recording = make_recording(pair, requests, temperature)
    scenario = make_scenario("coupled", keep_control=keep_control)
    live, replay = engines(scenario, pair, requests, recording, temperature)
    rng = np.random.default_rng(seed)
    statuses = live.begin(seed), replay.begin(seed)
    over, rounds = False, 0
    while not over:
        np.testing.assert_array_equal(statuses[0].values, statuses[1].values)
        action = random_action(rng, scenario)
        results = live.round(action), replay.round(action)
        assert_same_round(*results, EVERYTHING)
        over, rounds = bool(results[0].session_done[0]), rounds + 1
        if not over:
            statuses = live.status(), replay.status()
    assert rounds >= scenario.requests


@pytest.mark.parametrize("keep_control", KEEP_CONTROLS)
@pytest.mark.parametrize("seed", range(12))
def test_the_text_is_the_targets_own_whatever_the_actions(
    pair, requests, recording, seed, keep_control
):
    scenario = make_scenario("coupled", requests=1, keep_control=keep_control)
    live, _ = engines(scenario, pair, requests, recording, 1.0)
    live.begin(seed)
    rng, over = np.random.default_rng(seed), False
    while not over:
        over = bool(live.round(random_action(rng, scenario)).session_done[0])
    recorded = [t.tolist() for t in np.split(recording.tokens, np.cumsum(recording.length)[:-1])]
    assert live.source.text in recorded


def test_levels_differ_in_acceptance(recording):
    means = recording.overlap.astype(float).mean(1)
    assert means[0] < means[-1]
    assert len(means) == len(LEVELS)
