"""Status fields that tell scenarios apart: bytes of real messages, costs of the profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.constants import status_constants
from covspec_core.engine import realise_links
from covspec_core.replay import ReplaySource
from covspec_core.rounds import Actions, RoundAction
from covspec_core.sessions import Sessions
from covspec_core.wire import protocol
from tests.core.conftest import PROFILE, make_scenario

HEADER_BYTES, VOCAB = 12, 151_674
LARGE = replace(PROFILE, vocab_size=VOCAB)


@pytest.mark.parametrize(
    ("name", "law_format", "token_bytes", "refusal_bytes"),
    [
        ("coupled", "fp32", 4, HEADER_BYTES + 4),
        ("decoupled", "fp32", 8, HEADER_BYTES + 4 * VOCAB),
        ("decoupled", "fp16", 8, HEADER_BYTES + 2 * VOCAB),
        ("progressive", "fp32", 8, HEADER_BYTES + 16 * 8),
        ("full", "fp32", 4 + 4 * VOCAB, HEADER_BYTES + 4),
        # Its first answer is as long as that of a block that stands.
        ("lazy", "fp32", 8, 3 * HEADER_BYTES + 4 * VOCAB + 4),
    ],
)
def test_bytes_are_those_of_the_protocol(name, law_format, token_bytes, refusal_bytes):
    told = status_constants(make_scenario(profile=LARGE, protocol=protocol(name, law_format)))
    assert (told["token_bytes"], told["refusal_bytes"]) == (token_bytes, refusal_bytes)


def test_costs_are_shares_of_a_step_of_the_edge():
    told = status_constants(make_scenario(profile=PROFILE))
    step_s = told["edge_step_s"]
    assert step_s * (told["draft_cost"] + 0.5 * told["keep_cost"]) == pytest.approx(
        PROFILE.draft_s(0.5)
    )
    assert step_s * (1 + 3 * told["position_cost"]) == pytest.approx(PROFILE.verify_s(4))


def test_the_head_is_told_as_a_part_of_the_draft_step():
    told, charged = (
        status_constants(make_scenario(profile=replace(PROFILE, head_s=s))) for s in (0.0, 0.01)
    )
    assert charged["draft_cost"] - told["draft_cost"] == pytest.approx(0.01 / PROFILE.edge_step_s)
    assert charged["keep_cost"] == told["keep_cost"]


def test_they_stay_through_rounds_requests_and_sessions(recording):
    scenario = make_scenario()
    source = ReplaySource(recording, scenario.protocol, 5)
    sessions = Sessions(scenario, realise_links(scenario, 0), source, 5)
    action = Actions.full(5, RoundAction(1.0, 3, 1))
    sessions.begin(np.arange(5), np.arange(5, dtype=np.uint64))
    begun = 5
    for number in range(100):
        for name, value in status_constants(scenario).items():
            assert (sessions.status()[name] == value).all()
        over = np.flatnonzero(sessions.play(action).session_done)
        sessions.begin(over, np.full(len(over), 9 + number, dtype=np.uint64))
        begun += len(over)
    assert begun > 10
