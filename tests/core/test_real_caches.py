"""Caches of small real models: after any rounds they say what a fresh reading of the text says."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.images import make_request
from covspec_core.live import LiveSource
from covspec_core.pair.evaluate import cases
from covspec_core.pair.render import render
from covspec_core.pairs import load_pair
from tests.core.conftest import kind_of
from tests.core.drawn_pair import export_pair
from tests.core.test_exactness import LOSSLESS, begin, play_round, random_rounds

CASE = cases("test", 1)[0]
ANY = 11  # a token of the vocabulary


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    place = export_pair(tmp_path_factory.mktemp("pair"))
    return load_pair(str(place / "draft"), str(place / "target"), "random", None)


def make_source(pair, name, temperature=1.0, limit=40):
    request = make_request(render(CASE.scene), CASE.question.text, 0)
    return LiveSource(pair, kind_of(name), temperature, limit, lambda key: request)


def says_next(context, token):
    """What a cache says behind one more token; it is left as it was."""
    before = context.n_tokens
    logits = context.extend(np.array([token])).logits[-1]
    context.rollback(before)
    return logits


def assert_fresh(model, prompt, kept, context, text):
    """A cache equals one that is computed from scratch."""
    fresh, _ = model.prefill(prompt, kept)
    known = text[: context.n_tokens]
    if known:
        fresh.extend(np.array(known))
    np.testing.assert_allclose(says_next(context, ANY), says_next(fresh, ANY), atol=2e-4)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("seed", range(3))
def test_caches_equal_fresh_ones_after_any_sequence_of_rounds(pair, name, seed):
    source, rng = make_source(pair, name), np.random.default_rng(seed)
    keep = float(rng.choice([0.25, 1.0]))
    begin(source, seed, keep)
    _, order = source.prompts.ranked
    kept = np.sort(order[: round(keep * len(order))])
    for controls in random_rounds(rng):
        local = controls["length"] > 0 and rng.random() < 0.2
        outcome = play_round(source, **controls, local=local)
        if outcome.done[0]:  # a limit cuts the text, not the caches
            break
        device, edge = source.device, source.edge
        ahead = source.text + device.ready.tokens
        assert_fresh(pair.draft, source.prompts.draft, kept, device._context, ahead)
        assert_fresh(pair.target, source.prompts.target, None, edge._context, source.text)


@pytest.mark.parametrize("which", ["draft", "target"])
def test_keeping_everything_is_not_pruning(pair, which):
    model = getattr(pair, which)
    prompt = model.prompt(render(CASE.scene), CASE.question.text)
    whole, first = model.prefill(prompt)
    kept, first_kept = model.prefill(prompt, np.arange(len(prompt.visual)))
    np.testing.assert_array_equal(first.logits, first_kept.logits)
    tokens = np.array([11, 47, 30, 12])
    np.testing.assert_array_equal(whole.extend(tokens).logits, kept.extend(tokens).logits)


def test_a_device_that_keeps_everything_drafts_what_the_whole_model_writes(pair):
    source = make_source(pair, "coupled", temperature=0.0, limit=12)
    begin(source, 0, keep=1.0)
    context, outputs = pair.draft.prefill(source.prompts.draft)
    logits, written = outputs.logits, []
    for _ in range(8):
        written.append(int(logits.argmax()))
        logits = context.extend(np.array(written[-1:])).logits[-1]
    assert source._reader().draft([], 8).tokens == written


@pytest.mark.parametrize("name", LOSSLESS)
def test_an_equal_pair_accepts_everything_on_an_image(pair, name):
    twins = type(pair)(pair.target, pair.target, pair.order)
    source = make_source(twins, name)
    begin(source, 3, keep=1.0)
    for length in (1, 3, 5, 2):
        outcome = play_round(source, length, width=2, steps=2)
        assert not outcome.rejected[0]
        if outcome.done[0]:
            break
        assert outcome.accepted[0] == length
