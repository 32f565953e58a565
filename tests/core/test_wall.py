"""On the wall clock the same tokens come out, and times are read from the clock alone."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from covspec_core.device import Device
from covspec_core.engine import generate
from covspec_core.errors import InvalidAction, InvalidRequest, ModelFailure
from covspec_core.rounds import Actions, RoundAction
from covspec_core.wall import WallEngine
from covspec_core.wire import PROTOCOLS
from tests.core.conftest import LIMIT, make_scenario

ACTIONS = [
    RoundAction(1.0, 4, 0),
    RoundAction(0.5, 1, 2),
    RoundAction(0.0, 0, 0),
    RoundAction(1.0, 6, 0, gate_threshold=0.3),
]


class Played:
    """Random actions, the same ones after every beginning; keeps the statuses that it saw."""

    def begin(self, size):
        self.rng, self.seen = np.random.default_rng(3), []

    def decide(self, status):
        self.seen.append(status)
        length = int(self.rng.integers(0, 7))
        return Actions.of([RoundAction(0.5, length, int(self.rng.integers(0, 3)))])


def wall(pair, controller, protocol_name="coupled", temperature=1.0, **changes):
    scenario = make_scenario(protocol_name, **changes)
    ticks = count()
    return WallEngine(
        scenario, pair, controller, temperature, LIMIT, clock=lambda: float(next(ticks))
    )


def virtual(pair, request, controller, protocol_name="coupled", temperature=1.0):
    scenario = make_scenario(protocol_name)
    return generate(scenario, pair, request, controller, temperature, LIMIT, 0)


class Always:
    def __init__(self, action):
        self.action = action

    def begin(self, size):
        pass

    def decide(self, status):
        return Actions.full(len(status), self.action)


class Listening(Always):
    """Keeps the statuses that it saw."""

    def begin(self, size):
        self.seen = []

    def decide(self, status):
        self.seen.append(status)
        return super().decide(status)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("protocol_name", sorted(PROTOCOLS))
@pytest.mark.parametrize("action", ACTIONS)
def test_the_same_actions_give_the_virtual_clocks_text(
    pair, requests, action, protocol_name, temperature
):
    engine = wall(pair, action, protocol_name, temperature)
    for request in requests[:4]:
        told = virtual(pair, request, Always(action), protocol_name, temperature)
        answer = engine.answer(request)
        assert answer.answer == told.answer
        assert (answer.rounds, answer.accepted) == (told.rounds, told.accepted)


def test_a_device_that_never_drafts_reads_no_prompt(pair, requests, monkeypatch):
    read = []
    own = type(pair.draft).prefill
    monkeypatch.setattr(
        type(pair.draft), "prefill",
        lambda self, prompt, kept=None: read.append(self) or own(self, prompt, kept),
    )  # fmt: skip
    for length, readers in ((0, [pair.target]), (2, [pair.target, pair.draft])):
        read.clear()
        wall(pair, RoundAction(0.5, length, 0)).answer(requests[0])
        assert read == readers


def test_a_controller_and_its_actions_alone_give_the_same_answer(pair, requests):
    for action in ACTIONS:
        fixed, asked = wall(pair, action), wall(pair, Always(action))
        for request in requests[:3]:
            assert fixed.answer(request).ids == asked.answer(request).ids


def test_the_text_is_the_targets_own_whatever_a_controller_does(pair, requests):
    alone, played = wall(pair, RoundAction(1.0, 0, 0)), wall(pair, Played())
    for request in requests:
        assert played.answer(request).ids == alone.answer(request).ids


def test_seconds_are_those_of_the_clock(pair, requests):
    # The clock ticks once a reading: at the start, when both models have read the question, then
    # before drafting, behind it and behind the verdict of every round.
    answer = wall(pair, RoundAction(1.0, 3, 0)).answer(requests[0])
    assert answer.seconds == 1 + 3 * answer.rounds
    assert answer.ttft_s == 4
    assert answer.tokens_per_s == len(answer.ids) / answer.seconds


def test_a_status_holds_measured_speeds_and_no_link(pair, requests):
    controller = Played()
    wall(pair, controller).answer(requests[1])
    first, last = controller.seen[0], controller.seen[-1]
    assert first["device_factor"][0] == first["edge_factor"][0] == 1.0
    assert last["edge_factor"][0] > 1.0  # a tick is longer than what the profile asks
    for status in controller.seen:
        assert status["rtt_s"][0] == 0.0
        assert status["up_bps"][0] == pytest.approx(1e12)
    assert last["tokens"][0] > 0


class Steady:
    """A device that takes exactly the profile's seconds, and whose prompts take a thousand."""

    def __init__(self, step_s, monkeypatch):
        self.now_s, own, start = 0.0, Device._next, Device.start

        def take_step(device, text):
            self.now_s += step_s * (device._behind != len(text))
            return own(device, text)

        def read(device, *told):
            self.now_s += 1000.0
            start(device, *told)

        monkeypatch.setattr(Device, "_next", take_step)
        monkeypatch.setattr(Device, "start", read)


@pytest.mark.parametrize("length", [1, 4])
def test_draft_steps_are_measured_wherever_they_are_taken_and_reading_is_none(
    pair, requests, monkeypatch, length
):
    scenario, controller = make_scenario(), Listening(RoundAction(0.5, length, 0))
    clock = Steady(scenario.profile.draft_s(0.5), monkeypatch)
    WallEngine(scenario, pair, controller, 1.0, LIMIT, clock=lambda: clock.now_s).answer(
        requests[1]
    )
    factors = [float(status["device_factor"][0]) for status in controller.seen]
    # The first token of an answer is drafted from what reading the prompt gave.
    assert 0.75 < min(factors) <= max(factors) <= 1.0 + 1e-9
    assert len(factors) > 3
    assert factors[-1] > 0.9


def test_a_gate_commits_blocks_without_the_target(pair, requests):
    sure = RoundAction(1.0, 4, 0, gate_threshold=0.0)
    open_gate, shut = wall(pair, sure, max_skipped=8), wall(pair, RoundAction(1.0, 4, 0))
    skipping, checking = (engine.answer(requests[2]) for engine in (open_gate, shut))
    assert skipping.accepted < checking.accepted


def test_wrong_limits_and_actions_are_refused(pair, requests):
    with pytest.raises(InvalidRequest, match="at least 1 token"):
        WallEngine(make_scenario(), pair, ACTIONS[0], 1.0, 0)
    with pytest.raises(InvalidAction, match="draft_length must be at most"):
        wall(pair, RoundAction(1.0, 99, 0)).answer(requests[0])


def test_a_model_that_fails_leaves_what_was_written(pair, requests):
    engine = wall(pair, RoundAction(1.0, 2, 0))
    whole = engine.answer(requests[0]).ids
    verify, calls = engine.source.edge.verify, count()

    def failing(*arguments):
        if next(calls) == 2:
            raise ModelFailure("toy gave NaN")
        return verify(*arguments)

    engine.source.edge.verify = failing
    with pytest.raises(ModelFailure, match="toy gave NaN") as caught:
        engine.answer(requests[0])
    written = caught.value.tokens
    assert 2 <= len(written) < len(whole)
    assert written == whole[: len(written)]
