"""A device reads along while the edge writes alone: what it foresees then, and what that costs."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from covspec_core.acceptance import GRID
from covspec_core.rounds import CHANCES, Actions, RoundAction, RoundResult
from tests.core.conftest import PROFILE, make_scenario
from tests.core.test_sessions import random_actions, replay_sessions, seeds_of

BURST = Actions.of([RoundAction(0.5, 0, 0)])


def one_session(recording, device_prefill_s=0.0, **changes):
    """A session on even hardware, just begun."""
    profile = replace(PROFILE, edge_prefill_s=0.1, device_prefill_s=device_prefill_s)
    factors = {"device_factor": (1.0, 1.0), "edge_factor": (1.0, 1.0)}
    scenario = make_scenario(profile=profile, edge_burst=2, **factors, **changes)
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(3))
    return sessions


def foreseen(sessions):
    status = sessions.status()
    return [status[f"chance_{n}"][0] for n in CHANCES], status["awake"][0]


def test_behind_a_burst_it_foresees_what_was_recorded_there(recording):
    sessions = one_session(recording)
    chances, awake = foreseen(sessions)
    assert awake == 0
    assert not any(chances)
    sessions.play(BURST)
    source, position = sessions.source, sessions.place.position[0]
    told = recording.chances.reshape(-1, len(CHANCES))[source.texts["base"][0] + position] / GRID
    chances, awake = foreseen(sessions)
    assert awake == 1
    assert position == 2
    np.testing.assert_array_equal(chances, told)


def burst_ends(sessions):
    """When bursts end within an answer, and whether the device then foresees."""
    ends = []
    while not sessions.play(BURST).request_done[0]:
        ends.append((sessions.now_s[0] * 1.0, foreseen(sessions)[1]))
    return ends


def test_it_foresees_nothing_before_it_has_read_the_request(recording):
    times = [end_s for end_s, awake in burst_ends(one_session(recording)) if awake]
    assert len(times) > 2
    ends = burst_ends(one_session(recording, device_prefill_s=times[1]))
    assert [end_s for end_s, _ in ends] == times
    assert [awake for _, awake in ends] == [end_s >= times[1] for end_s in times]


def test_one_that_does_not_read_along_foresees_nothing_behind_a_burst(recording):
    sessions = one_session(recording, reads_along=False)
    sessions.play(BURST)
    assert foreseen(sessions) == ([0.0] * len(CHANCES), 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_reading_along_costs_a_draft_step_a_burst_and_no_second_of_any_round(recording, seed):
    pairs = [
        replay_sessions(recording, make_scenario(requests=1000, reads_along=along), 8)
        for along in (True, False)
    ]
    rng, dearer = np.random.default_rng(seed), 0
    for sessions in pairs:
        sessions.begin(np.arange(8), np.arange(8, dtype=np.uint64) + np.uint64(seed))
    for _ in range(30):
        actions = random_actions(rng, pairs[0].scenario, 8)
        for sessions in pairs:  # who drafts first in a request bears it
            sessions.records["reading_s"] = 0.0
        reads, sleeps = (sessions.play(actions) for sessions in pairs)
        for field in fields(RoundResult):
            if field.name != "energy_j":
                one, other = getattr(reads, field.name), getattr(sleeps, field.name)
                np.testing.assert_array_equal(one, other, err_msg=field.name)
        profile, path = pairs[0].scenario.profile, pairs[0].path
        more_j = reads.energy_j - sleeps.energy_j
        step_j = [profile.draft_s(keep) for keep in pairs[0].place.keep]
        step_j = profile.device_w * np.array(step_j) * path.device_factor
        burst = reads.burst > 0
        assert (more_j[~burst] == 0).all()
        looked = more_j[burst] > 0
        np.testing.assert_allclose(more_j[burst][looked], step_j[burst][looked], rtol=1e-9)
        dearer += looked.sum()
    assert dearer > 20
