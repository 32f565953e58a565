"""Speculation must not show: whatever the draft does, the text has the target's law.

Laws are checked twice: exactly, by following every random decision of the real device and edge
through all its outcomes, and by chi-square over many noise keys with the real noise.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from covspec_core.blocks import Sampler
from covspec_core.device import Device
from covspec_core.edge import Edge
from covspec_core.exchange import Exchange
from covspec_core.live import LiveSource
from covspec_core.models.protocol import Prompt
from covspec_core.randomness import DRAW, uniform
from covspec_core.request import Pair, Request
from covspec_core.source import Move, Stops
from covspec_core.verification import WHOLE, law
from covspec_core.wire import PROTOCOLS, Terms
from tests.core.conftest import kind_of
from tests.core.toys import EOS, ToyModel

INDEPENDENT = ["decoupled", "full", "lazy", "progressive"]
LOSSLESS = [*INDEPENDENT, "coupled"]
ROUNDED = ["full fp16", "full top_k", "lazy fp16", "lazy top_k"]
"""Protocols with laws that lose something on their way up, though the text does not."""
LEVELS = (0.0, 0.5, 1.0)
QUESTION = "which?"
UNLIKELY = 1e-4


class Remembering(ToyModel):
    """A toy that works every law out once."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._known = {}

    def logits(self, seen, text):
        key = (*seen, *text)
        if key not in self._known:
            self._known[key] = super().logits(seen, text)
        return self._known[key]


def make_pair(blur=0.6, vocab_size=3, eos_bias=-1.0, same=False):
    target = Remembering(vocab_size, seed=1, eos_bias=eos_bias)
    draft = target if same else Remembering(vocab_size, seed=2, blur=blur, base=target)
    return Pair(
        draft=draft,
        target=target,
        order=lambda states: np.arange(draft.n_visual),
    )


def make_source(
    pair, protocol_name, temperature=1.0, limit=40, question=QUESTION, truncation=WHOLE
):
    """Live models whose noise key is the key they are begun with."""
    return LiveSource(
        pair,
        kind_of(protocol_name),
        temperature,
        limit,
        lambda key: Request(None, 100, question, key),
        truncation=truncation,
    )


def begin(source, key=0, keep=0.5):
    source.begin(np.array([0]), np.array([key], dtype=np.uint64))
    source.prefill(np.array([0]), np.array([keep]))


def play_round(
    source, length, burst=4, local=False, width=0, steps=0, sure=np.inf, stop=np.inf, bonus=True,
    early=False,
):  # fmt: skip
    """One round without the clock; ``length`` 0 lets the edge write ``burst`` tokens."""
    ints = [np.array([n]) for n in (length, burst if length == 0 else 0, width, steps)]
    sure = np.array([sure])
    drafted = source.draft(None, ints[0], sure, Stops(np.array([stop]), np.zeros(1)))
    move = Move(drafted.length, ints[1], np.array([local]), drafted.unsure, sure, bonus, early)
    outcome = source.finish(None, move)
    if not outcome.done[0] and not local:
        source.branch(None, outcome, move, ints[2], ints[3])
    return outcome


def target_chances(pair, depth, temperature=1.0, question=QUESTION, truncation=WHOLE):
    """Chance of each text of the target, cut after ``depth`` tokens."""
    seen = (pair.target.prompt(None, question).features, pair.target.n_visual)
    chances = {(): 1.0}
    for _ in range(depth):
        longer = {}
        for text, chance in chances.items():
            if text and text[-1] == EOS:
                longer[text] = chance
                continue
            step = law(pair.target.logits(seen, list(text)), temperature, truncation)
            longer |= {(*text, token): chance * p for token, p in enumerate(step) if p}
        chances = longer
    return chances


def assert_equal_chances(got, expected, tolerance=1e-6):
    """Equal up to the single precision in which laws travel."""
    keys = sorted(set(got) | set(expected))
    assert sum(got.values()) == pytest.approx(1, abs=tolerance)
    np.testing.assert_allclose(
        [got.get(key, 0.0) for key in keys],
        [expected.get(key, 0.0) for key in keys],
        atol=tolerance,
        err_msg=str(keys),
    )


def cut(chances, depth):
    """Chances of the first tokens only."""
    first = defaultdict(float)
    for text, chance in chances.items():
        first[text[:depth]] += chance
    return dict(first)


def enumerate_texts(dice, source, rounds, depth=2, keep=0.5):
    """Exact law of the first ``depth`` tokens; ``rounds`` are played in turn until they are out."""

    def play():
        begin(source, keep=keep)
        for number in range(depth):
            if play_round(source, **rounds[min(number, len(rounds) - 1)]).done[0]:
                break
            if len(source.text) >= depth:
                break
        return tuple(source.text[:depth])

    return dice.chances(play)


@pytest.mark.parametrize("protocol_name", LOSSLESS + ROUNDED)
@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_the_law_of_the_first_tokens_is_the_targets(dice, protocol_name, length, keep):
    pair = make_pair(vocab_size=4)
    source = make_source(pair, protocol_name)
    # A long block first, then single tokens: discarded drafts would only repeat the same law.
    got = enumerate_texts(dice, source, [{"length": length}, {"length": 1}], keep=keep)
    expected = target_chances(pair, 2)
    assert_equal_chances(cut(got, 1), cut(expected, 1))
    assert_equal_chances(got, expected)
    if length < 3:
        longer = enumerate_texts(dice, source, [{"length": length}, {"length": 1}], 3, keep)
        assert_equal_chances(longer, target_chances(pair, 3))


@pytest.mark.parametrize("protocol_name", LOSSLESS)
def test_the_law_is_the_targets_when_rounds_and_bursts_take_turns(dice, protocol_name):
    pair = make_pair()
    source = make_source(pair, protocol_name)
    rounds = [{"length": 1}, {"length": 0, "burst": 1}, {"length": 1}]
    assert_equal_chances(enumerate_texts(dice, source, rounds, 3), target_chances(pair, 3))
    rounds = [{"length": 0, "burst": 1}, {"length": 2}]
    assert_equal_chances(enumerate_texts(dice, source, rounds, 2), target_chances(pair, 2))


def test_a_biased_judge_would_be_noticed(dice, monkeypatch):
    pair = make_pair()
    monkeypatch.setattr("covspec_core.verification.residual", lambda target, draft: target)
    got = enumerate_texts(dice, make_source(pair, "decoupled"), [{"length": 1}], 1)
    expected = target_chances(pair, 1)
    assert max(abs(got[text] - expected[text]) for text in expected) > 0.01


def sampled_texts(pair, protocol_name, lengths, n, depth):
    source = make_source(pair, protocol_name)
    texts = Counter()
    for key in range(n):
        begin(source, key)
        for length in lengths:
            if play_round(source, length, width=2, steps=2).done[0] or len(source.text) >= depth:
                break
        texts[tuple(source.text[:depth])] += 1
    return texts


@pytest.mark.parametrize("protocol_name", LOSSLESS)
@pytest.mark.parametrize("lengths", [(3, 2, 1), (1, 0), (2, 2, 2)])
def test_texts_over_many_noise_keys_follow_the_target(protocol_name, lengths):
    pair = make_pair(vocab_size=4)
    n, depth = 1500, 3
    counts = sampled_texts(pair, protocol_name, lengths, n, depth)
    expected = target_chances(pair, depth)
    assert set(counts) <= set(expected)
    # Texts that are too rare for the test are thrown together.
    common = [text for text, chance in expected.items() if chance * n >= 5]
    observed = [counts[text] for text in common]
    predicted = [n * expected[text] for text in common]
    observed.append(n - sum(observed))
    predicted.append(n - sum(predicted))
    assert len(common) > 8
    assert stats.chisquare(observed, predicted).pvalue > UNLIKELY


@pytest.mark.parametrize("protocol_name", INDEPENDENT)
@pytest.mark.parametrize("key", range(6))
def test_no_number_decides_two_things(monkeypatch, protocol_name, key):
    # A number that judged a draft says something about itself; to redraw with it would be unfair.
    drawn, judged = Counter(), Counter()

    def counted(counter):
        return lambda *address: counter.update([address]) or uniform(*address)

    monkeypatch.setattr("covspec_core.blocks.uniform", counted(drawn))
    monkeypatch.setattr("covspec_core.edge.uniform", counted(judged))
    source = make_source(make_pair(vocab_size=5, eos_bias=-2.5), protocol_name)
    rejected = 0
    for outcome in play_answer(source, key, random_rounds(np.random.default_rng(key)), keep=0.0):
        rejected += int(outcome.rejected[0])
    final = Counter({at: n for at, n in drawn.items() if at[2] != DRAW})
    # Branches that were dropped are drawn anew from the same number; nothing else is.
    assert set((final + judged).values()) == {1}
    assert not set(judged) & set(drawn)
    assert rejected or len(source.text) < 5


def random_rounds(rng):
    """Rounds without end: lengths, bursts, branches; no unchecked commits."""
    while True:
        yield {
            "length": int(rng.choice([0, 1, 2, 3, 5])),
            "burst": int(rng.integers(1, 4)),
            "width": int(rng.integers(0, 4)),
            "steps": int(rng.integers(0, 4)),
        }


def play_answer(source, key, rounds, keep=0.5):
    """Play until the answer is complete; yields after every round."""
    begin(source, key, keep)
    for controls in rounds:
        outcome = play_round(source, **controls)
        yield outcome
        if outcome.done[0]:
            return


def edge_only_text(pair, key, temperature):
    source = make_source(pair, "coupled", temperature)
    list(play_answer(source, key, iter(lambda: {"length": 0}, None)))
    return source.text


@pytest.mark.parametrize("vocab_size", [3, 6])
@pytest.mark.parametrize("key", range(15))
def test_coupled_writes_what_the_edge_alone_writes_whatever_the_actions(vocab_size, key):
    pair = make_pair(vocab_size=vocab_size, eos_bias=-2.5)
    alone = edge_only_text(pair, key, 1.0)
    source = make_source(pair, "coupled")
    fixed = [[{"length": n, "width": w, "steps": n}] * 40 for n, w in product((1, 2, 5), (0, 2))]
    rng = np.random.default_rng(key)
    for keep in LEVELS:
        for rounds in (*fixed, random_rounds(rng)):
            list(play_answer(source, key, rounds, keep))
            assert source.text == alone


@pytest.mark.parametrize("protocol_name", LOSSLESS)
@pytest.mark.parametrize("key", range(8))
def test_greedy_decoding_writes_the_targets_greedy_text(protocol_name, key):
    question = f"{key}?"
    pair = make_pair(vocab_size=5, eos_bias=-2.5)
    source = make_source(pair, protocol_name, temperature=0.0, question=question)
    list(play_answer(source, key, random_rounds(np.random.default_rng(key))))
    seen = (pair.target.prompt(None, question).features, pair.target.n_visual)
    greedy = []
    while len(greedy) < 40 and EOS not in greedy:
        greedy.append(int(pair.target.logits(seen, greedy).argmax()))
    assert source.text == greedy


@pytest.mark.parametrize("protocol_name", LOSSLESS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("key", range(5))
def test_a_draft_that_is_the_target_is_never_refused(protocol_name, temperature, key):
    pair = make_pair(vocab_size=6, eos_bias=-2.5, same=True)
    source = make_source(pair, protocol_name, temperature)
    lengths = [1, 2, 3, 5] * 20
    rounds = [{"length": n, "width": n % 3, "steps": 2} for n in lengths]
    for length, outcome in zip(lengths, play_answer(source, key, rounds), strict=False):
        assert not outcome.rejected[0]
        if not outcome.done[0]:
            assert outcome.accepted[0] == length
            assert outcome.emitted[0] == length + 1


@pytest.mark.parametrize("protocol_name", LOSSLESS)
@pytest.mark.parametrize("seed", range(12))
def test_caches_hold_exactly_the_committed_text(protocol_name, seed):
    pair = make_pair(vocab_size=5, eos_bias=-2.5)
    source = make_source(pair, protocol_name, limit=400)
    rng = np.random.default_rng(seed)
    total = 0
    for key in (seed, seed + 100, seed + 200):
        total += play_and_check_caches(source, key, rng)
    assert total > 10


def play_and_check_caches(source, key, rng):
    """Play one answer of checked blocks, unchecked ones and bursts; its length."""
    begin(source, key)
    unsent, unread, redrawn = 0, 0, 0
    for controls in random_rounds(rng):
        local = controls["length"] > 0 and rng.random() < 0.3
        outcome = play_round(source, **controls, local=local)
        unsent = unsent + int(outcome.emitted[0]) if local else 0
        edge = source.edge._context.texts
        # The device reads bursts only when it drafts again, and nothing before it first does.
        unread = unread + int(outcome.emitted[0]) if controls["length"] == 0 else 0
        if source._has_read:
            device, committed = (
                source.device._context.texts,
                source.text + source.device.ready.tokens,
            )
            assert device == [committed[: len(device[0])]]
            assert len(device[0]) >= len(source.text) - unread - 2
        assert edge == [source.text[: len(edge[0])]]
        # The edge lacks what it was not told, and the last token, which its next pass reads.
        redrawn = int(source._kind.device_redraws and outcome.rejected[0]) if not local else redrawn
        assert len(edge[0]) >= len(source.text) - unsent - redrawn - 1
        assert source.edge._text == source.text[: len(source.text) - unsent - redrawn]
        if outcome.done[0]:
            return len(source.text)


@pytest.mark.parametrize("vocab_size", [3, 5])
def test_more_branches_than_tokens_are_no_error(vocab_size):
    pair = make_pair(vocab_size=vocab_size, same=True, eos_bias=-9.0)
    source = make_source(pair, "coupled")
    begin(source)
    play_round(source, 2, width=vocab_size + 3, steps=2)
    assert len(source.device.ready) == 2
    play_round(source, 3)
    assert source.text == edge_only_text(pair, 0, 1.0)[: len(source.text)]


def test_every_protocol_is_covered():
    assert set(LOSSLESS) == set(PROTOCOLS)


@pytest.mark.parametrize("protocol_name", LOSSLESS)
def test_device_and_edge_need_nothing_but_messages(protocol_name):
    """Two sides that share a question, a key and bytes write what the engine's source writes."""
    pair = make_pair(vocab_size=5, eos_bias=-2.5)
    source = make_source(pair, protocol_name)
    list(play_answer(source, 3, [{"length": 2}] * 40))
    kind = kind_of(protocol_name)
    device, edge = Device(pair.draft, kind), Edge(pair.target, kind)
    exchange = Exchange(device, edge, Terms(kind, 5))
    sampler = Sampler(3, 1.0, kind.shared_noise)
    prompt: Prompt = pair.draft.prompt(None, QUESTION)
    device.start(prompt, sampler, np.arange(round(0.5 * pair.draft.n_visual)))
    edge.start(pair.target.prompt(None, QUESTION), replace(sampler))
    text: list[int] = []
    while EOS not in text and len(text) < 40:
        block = device.draft(text, 2)
        repeated = text[-1:] if kind.device_redraws else []
        verdict = exchange.verdict(device.message(0, repeated, block))
        standing = block.tokens[: verdict.accepted]
        if EOS not in standing:
            token, _ = exchange.token(block, verdict, len(text))
            standing = [*standing, token]
        device.settle(len(text) + verdict.accepted)
        text += standing
    assert text[:40] == source.text
