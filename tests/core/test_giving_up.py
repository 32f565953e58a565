"""Blocks that are drafted and not sent: what they cost, and what they do to the law."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.blocks import Sampler
from covspec_core.records import SESSION
from covspec_core.rounds import RoundAction
from covspec_core.source import Place
from covspec_core.wire import HEADER
from tests.core.conftest import make_pair
from tests.core.test_exactness import (
    assert_equal_chances,
    begin,
    make_source,
    play_round,
    target_chances,
)
from tests.core.test_exactness import make_pair as make_small_pair
from tests.core.twins import EVERYTHING, assert_same_round, both


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
