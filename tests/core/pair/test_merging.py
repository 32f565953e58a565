"""Merged visual tokens in live models, in batches and in recordings."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from covspec_core.engine import Engine, realise_links
from covspec_core.errors import InvalidSetting
from covspec_core.live import LiveSource
from covspec_core.models.small import N_VISUAL
from covspec_core.pair import packing
from covspec_core.pair.evaluate import batch_of, cases
from covspec_core.pair.folders import load
from covspec_core.pair.record import read_reduction
from covspec_core.pair.render import render
from covspec_core.pair.requests import jobs
from covspec_core.pairs import load_pair
from covspec_core.recorder import record
from covspec_core.reduction import ReductionSettings
from covspec_core.replay import ReplaySource
from covspec_core.rounds import RoundAction, RoundResult
from tests.core.conftest import make_scenario
from tests.core.drawn_pair import export_pair

CASE = cases("test", 1)[0]
LEVELS, LIMIT = (0.25, 1.0), 8
MERGING = "visionzip+merging"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def pair(folder):
    return load_pair(str(folder / "draft"), str(folder / "target"), MERGING, None)


def seen(pair, keep):
    prompt = pair.draft.prompt(render(CASE.scene), CASE.question.text)
    states = pair.draft.visual_states(prompt)
    return prompt, states, *pair.seen(prompt, states, pair.order(states), keep)


def test_the_draft_reads_mixtures_where_tokens_are_merged_and_nothing_else_changes(pair):
    prompt, states, merged, kept = seen(pair, 0.25)
    changed = np.flatnonzero((merged.features != prompt.features).any(dim=1).numpy())
    assert 0 < len(changed) <= round(10 / 64 * 36)
    assert set(changed) <= set(kept)
    weights = pair.merging(states, pair.order(states), 36).weights
    expected = weights @ prompt.features.numpy()
    np.testing.assert_allclose(merged.features[kept], expected, atol=1e-6)


def test_all_tokens_are_read_as_they_are(pair):
    prompt, _, merged, kept = seen(pair, 1.0)
    np.testing.assert_array_equal(kept, np.arange(N_VISUAL))
    np.testing.assert_array_equal(merged.features, prompt.features)


def test_batches_read_what_the_engine_reads(pair, folder):
    _, states, merged, kept = seen(pair, 0.25)
    found = pair.merging(states, pair.order(states), 36)
    own = packing.Seen(torch.from_numpy(kept)[None], torch.from_numpy(found.weights).float()[None])
    with torch.inference_mode():
        logits = packing.forward(load(folder / "draft"), batch_of([CASE], [[]]), own[:1]).logits
    _, outputs = pair.draft.prefill(merged, kept)
    np.testing.assert_allclose(outputs.logits, logits[0].numpy(), atol=1e-4)


def test_a_recording_with_merging_replays_like_the_live_pair(pair):
    todo = jobs({"train": 3}, 0)
    recording = record(pair, todo, LEVELS, 1.0, LIMIT, {"reduction": MERGING})
    scenario = make_scenario("coupled", keep_levels=LEVELS, requests=2)
    replay = ReplaySource(recording, scenario.protocol, 1)
    requests = [job.request for job in todo]

    def chosen(key):
        return requests[int(replay.pick(np.array([key], dtype=np.uint64))[0])]

    live = LiveSource(pair, scenario.protocol, 1.0, LIMIT, chosen)
    both = [Engine(scenario, realise_links(scenario, 5), source) for source in (live, replay)]
    for engine in both:
        engine.begin(3)
    rng, over = np.random.default_rng(0), False
    while not over:
        keep, length = float(rng.choice(LEVELS)), int(rng.choice(scenario.draft_lengths))
        results = [engine.round(RoundAction(keep, length, 0)) for engine in both]
        for field in fields(RoundResult):
            np.testing.assert_array_equal(*(getattr(result, field.name) for result in results))
        over = bool(results[0].session_done[0])


def test_merging_changes_what_is_recorded_at_few_tokens_and_not_at_all(pair, folder):
    plain = load_pair(str(folder / "draft"), str(folder / "target"), "visionzip", None)
    one, other = (
        record(each, jobs({"train": 1}, 0), LEVELS, 1.0, LIMIT, {}) for each in (pair, plain)
    )
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.q[1], other.q[1])
    assert (one.q[0] != other.q[0]).any()


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["covspec"], ReductionSettings()),
        ([MERGING], ReductionSettings("visionzip", contextual_share=10 / 64)),
        (["covspec", "cover=false", "deep_layer=3"], ReductionSettings(cover=False, deep_layer=3)),
    ],
    ids=str,
)
def test_a_recording_takes_any_settings(words, settings):
    assert read_reduction(words) == settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["covspec", "colour=1"], "colour"),
        (["covspec", "cover=yes"], "a name and field=value"),
        (["covspec", "cover"], "each field=value once"),
        (["covspec", "relevance=-1"], "relevance must be finite"),
        (["best"], "reduction must be one of"),
    ],
    ids=str,
)
def test_settings_that_are_none_are_refused(words, said):
    with pytest.raises(InvalidSetting, match=said):
        read_reduction(words)
