"""Live models and their recording, side by side in the same rounds."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from covspec_core.engine import Engine, realise_links
from covspec_core.live import LiveSource
from covspec_core.replay import ReplaySource
from covspec_core.rounds import RoundAction, RoundResult
from tests.core.conftest import LIMIT, make_recording, make_requests, make_scenario

SEEN = ("accepted", "rejected", "skipped", "emitted", "deviations", "request_done")
EVERYTHING = tuple(field.name for field in fields(RoundResult))


def random_action(rng, scenario):
    return RoundAction(
        keep=float(rng.choice(scenario.keep_levels)),
        draft_length=int(rng.choice(scenario.draft_lengths)),
        branch_width=int(rng.choice(scenario.branch_widths)),
    )


def engines(scenario, pair, requests, recording, temperature):
    links = realise_links(scenario, 5)
    replay = ReplaySource(recording, scenario.protocol, 1, gate=scenario.gate)

    def chosen(key):
        return requests[int(replay.pick(np.array([key], dtype=np.uint64))[0])]

    live = LiveSource(pair, scenario.protocol, temperature, LIMIT, chosen, scenario.gate)
    return Engine(scenario, links, live), Engine(scenario, links, replay)


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
