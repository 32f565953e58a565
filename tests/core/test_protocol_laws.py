"""Every protocol on laws of every shape: the text has the target's law, token by token.

Here the laws are given, not a model's: all that have their mass in halves or thirds, so that
drafts cover their targets, miss them, are equal to them or share one token with them.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from covspec_core.request import Pair
from covspec_core.verification import law, overlap
from covspec_core.wire import PROTOCOLS
from tests.core.conftest import kind_of
from tests.core.test_exactness import (
    LOSSLESS,
    ROUNDED,
    assert_equal_chances,
    begin,
    enumerate_texts,
    make_pair,
    make_source,
    play_round,
    target_chances,
)
from tests.core.toys import ToyModel

NEVER = -1e4  # a logit whose weight is 0 in double precision


def laws_in(parts, vocab_size):
    """All laws whose entries are multiples of ``1 / parts``."""
    counts = product(range(parts + 1), repeat=vocab_size)
    return [np.array(c) / parts for c in counts if sum(c) == parts]


class Given(ToyModel):
    """Says the same law everywhere; no token ends an answer."""

    eos_ids = frozenset()

    def __init__(self, given):
        super().__init__(len(given))
        self._logits = np.where(given > 0, np.log(np.maximum(given, 1e-9)), NEVER)

    def logits(self, seen, text):
        return self._logits.astype(np.float32)


def given_pair(target, draft):
    return Pair(draft=Given(draft), target=Given(target), order=lambda states: np.arange(12))


def texts_of(given, depth):
    """Chance of each text of independent tokens."""
    tokens = product(range(len(given)), repeat=depth)
    return {text: float(np.prod(given[list(text)])) for text in tokens if np.all(given[list(text)])}


@pytest.mark.parametrize("name", LOSSLESS + ROUNDED)
@pytest.mark.parametrize("length", [1, 2])
def test_laws_of_every_shape_come_out_as_the_targets(dice, name, length):
    laws = laws_in(2, 3) if length == 2 else laws_in(3, 3)
    for target, draft in product(laws, repeat=2):
        source = make_source(given_pair(target, draft), name)
        got = enumerate_texts(dice, source, [{"length": length}], depth=length)
        assert_equal_chances(got, texts_of(target, length))


@pytest.mark.parametrize("name", LOSSLESS + ROUNDED)
@pytest.mark.parametrize("vocab_size", [2, 4, 5])
def test_any_small_vocabulary_will_do(dice, name, vocab_size):
    rng = np.random.default_rng(vocab_size)
    for target, draft in rng.dirichlet(np.full(vocab_size, 0.5), size=(12, 2)):
        source = make_source(given_pair(target, draft), name)
        got = enumerate_texts(dice, source, [{"length": 1}], depth=1)
        assert_equal_chances(got, texts_of(target, 1), 1e-5)


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("name", LOSSLESS)
def test_branches_change_no_law(dice, name, width):
    pair = make_pair()
    source = make_source(pair, name)
    rounds = [{"length": 1, "width": width, "steps": 2}, {"length": 2}]
    assert_equal_chances(enumerate_texts(dice, source, rounds, 3), target_chances(pair, 3))


@pytest.mark.parametrize("name", ["decoupled fp16", "decoupled top_k"])
def test_a_rounded_law_on_its_way_down_makes_the_text_follow_the_rounded_target(
    dice,
    name,
):
    kind = kind_of(name)
    assert not kind.lossless
    for target, draft in np.random.default_rng(0).dirichlet(np.full(5, 0.7), size=(8, 2)):
        source = make_source(given_pair(target, draft), name)
        got = enumerate_texts(dice, source, [{"length": 1}], depth=2)
        read = kind.format.rounded(law(source._pair.target.logits(None, []), 1.0))
        assert_equal_chances(got, texts_of(read, 2), 1e-5)
        assert overlap(read, target) < 1 - 1e-6


# The even rest of a law in top_k meets every target.
@pytest.mark.parametrize("name", [*LOSSLESS, "full fp16", "lazy fp16"])
def test_a_draft_apart_from_the_target_is_never_accepted(name):
    target, draft = np.array([0.5, 0.5, 0, 0, 0]), np.array([0, 0, 0.2, 0.3, 0.5])
    source = make_source(given_pair(target, draft), name)
    for key in range(10):
        begin(source, key)
        for length in (1, 2, 3):
            outcome = play_round(source, length)
            assert outcome.rejected[0]
            assert outcome.accepted[0] == 0
            assert source.text[-1] in (0, 1)


@pytest.mark.parametrize("name", [*PROTOCOLS, "full fp32"])
def test_a_draft_equal_to_the_target_is_always_accepted(name):
    given = np.array([0.5, 0.25, 0.125, 0.125])
    source = make_source(given_pair(given, given), name)
    for key in range(10):
        begin(source, key)
        for length in (1, 2, 5):
            outcome = play_round(source, length)
            assert not outcome.rejected[0]
            assert outcome.accepted[0] == length
