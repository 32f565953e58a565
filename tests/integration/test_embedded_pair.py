"""The promises of the engine, kept by the pair that ships: exact text, exact law, exact replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.stats import chisquare

from covspec_core import verification as ver
from covspec_core.engine import Engine, realise_links
from covspec_core.live import LiveSource
from covspec_core.pair.head import HEAD
from covspec_core.pair.requests import recorded_requests
from covspec_core.pairs import load_pair
from covspec_core.recording import load_recording
from covspec_core.replay import ReplaySource
from covspec_core.rounds import RoundAction, RoundResult
from covspec_core.wire import protocol
from env.presets import RECORDING, named_scenario

LIMIT = 160
LOSSLESS = (
    "decoupled", "coupled", "full", "full fp16", "full top_k", "lazy", "lazy top_k", "progressive",
)  # fmt: skip


@pytest.fixture(scope="module")
def recording():
    return load_recording(RECORDING).only("test")


@pytest.fixture(scope="module")
def pair(recording):
    folder = RECORDING.parent / "pair"
    return load_pair(
        str(folder / "draft"),
        str(folder / "target"),
        recording.meta["reduction"],
        str(folder / HEAD),
    )


@pytest.fixture(scope="module")
def ask(recording):
    return recorded_requests(recording)


def random_action(rng, scenario):
    return RoundAction(
        keep=float(rng.choice(scenario.keep_levels)),
        draft_length=int(rng.choice(scenario.draft_lengths)),
        branch_width=int(rng.choice(scenario.branch_widths)),
    )


def text_of(recording, row):
    start = int(recording.start[row])
    return recording.tokens[start : start + int(recording.length[row])].tolist()


def engine_for(pair, protocol_name, request, seed):
    name, *law_format = protocol_name.split()
    scenario = named_scenario("fading", protocol_name=name, requests=1)
    if law_format:
        top = 16 if law_format == ["top_k"] else None
        scenario = replace(scenario, protocol=protocol(name, *law_format, top))
    source = LiveSource(pair, scenario.protocol, 1.0, LIMIT, request)
    engine = Engine(scenario, realise_links(scenario, seed), source)
    engine.begin(seed)
    return engine


def check_text_under_random_actions(pair, recording, ask, rows):
    seen = set()
    rng = np.random.default_rng(0)
    for row in rows:
        engine = engine_for(pair, "coupled", lambda key, row=row: ask(row), 1)
        over = False
        while not over:
            action = random_action(rng, engine.scenario)
            seen.add((action.draft_length, action.branch_width))
            over = bool(engine.round(action).session_done[0])
        assert engine.source.text == text_of(recording, row)
    return seen


def test_coupled_text_is_the_targets_own_whatever_the_actions(pair, recording, ask):
    check_text_under_random_actions(pair, recording, ask, range(8))


@pytest.mark.bench
def test_coupled_text_is_the_targets_own_on_200_requests_and_every_action(pair, recording, ask):
    seen = check_text_under_random_actions(pair, recording, ask, range(200))
    scenario = named_scenario()
    assert len(seen) == len(scenario.draft_lengths) * len(scenario.branch_widths)


@pytest.mark.parametrize("seed", range(2))
def test_live_models_and_recording_give_the_same_rounds(pair, recording, ask, seed):
    scenario = named_scenario("bursty", protocol_name="coupled", requests=2)
    links = realise_links(scenario, seed)
    replay = ReplaySource(recording, scenario.protocol, 1)
    live = LiveSource(pair, scenario.protocol, 1.0, LIMIT, ask)
    engines = [Engine(scenario, links, source) for source in (live, replay)]
    rng, over = np.random.default_rng(seed), False
    for engine in engines:
        engine.begin(seed)
    while not over:
        action = random_action(rng, scenario)
        one, other = (engine.round(action) for engine in engines)
        for field in fields(RoundResult):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
        over = bool(one.session_done[0])


def first_tokens(pair, request, n, protocol_name):
    """First two tokens of ``n`` answers under independent noise."""
    pairs = []
    for key in range(n):
        engine = engine_for(pair, protocol_name, lambda _, key=key: replace(request, key=key), 1)
        while len(engine.source.text) < 2:
            engine.round(RoundAction(keep=1 / 12, draft_length=2, branch_width=1))
        pairs.append(tuple(engine.source.text[:2]))
    return Counter(pairs)


def expected_pairs(pair, request, firsts):
    """Target probabilities of the first two tokens, for some first tokens."""
    context, start = pair.target.prefill(pair.target.prompt(request.image, request.question))
    law = ver.law(start.logits, 1.0)
    expected = {}
    for first in firsts:
        following = ver.law(context.extend(np.array([first])).logits[-1], 1.0)
        context.rollback(0)
        expected |= {(first, t): law[first] * p for t, p in enumerate(following)}
    return expected


def check_law(pair, request, n, protocol_name):
    seen = first_tokens(pair, request, n, protocol_name)
    expected = expected_pairs(pair, request, {first for first, _ in seen})
    # Cells of at least five expected answers; the last one takes all that is rarer.
    common = sorted((two for two in expected if expected[two] * n >= 5), key=expected.get)[1:]
    counts, shares = [seen[two] for two in common], [expected[two] for two in common]
    assert len(common) >= 2
    test = chisquare([*counts, n - sum(counts)], [n * s for s in [*shares, 1 - sum(shares)]])
    assert test.pvalue > 1e-3


@pytest.mark.parametrize("protocol_name", ["decoupled", "full", "progressive"])
def test_the_first_two_tokens_follow_the_targets_law(pair, ask, protocol_name):
    check_law(pair, ask(0), 150, protocol_name)


@pytest.mark.bench
@pytest.mark.parametrize(
    "protocol_name",
    [
        "decoupled",
        "coupled",
        "full",
        "full fp16",
        "full top_k",
        "lazy",
        "lazy top_k",
        "progressive",
    ],
)
def test_the_first_two_tokens_follow_the_targets_law_closely(pair, ask, protocol_name):
    check_law(pair, ask(1), 1500, protocol_name)
