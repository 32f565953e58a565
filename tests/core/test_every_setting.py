"""The text has the target's law at every setting, whatever the draft: exactly, round by round.

Every protocol meets every temperature and truncation, and both meet every vocabulary size, draft
length and branch width. A few rounds are followed through all their outcomes; behind them the
target itself writes on, so that no error in them can hide.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import product
from operator import itemgetter

import numpy as np
import pytest

from covspec_core.blocks import Sampler
from covspec_core.request import Pair
from covspec_core.verification import WHOLE, Truncation
from tests.core.conftest import kind_of
from tests.core.pairwise import pairwise
from tests.core.test_exactness import (
    LOSSLESS,
    QUESTION,
    ROUNDED,
    assert_equal_chances,
    begin,
    make_pair,
    make_source,
    play_round,
)
from tests.core.toys import EOS, ToyModel

KEEP = 0.5
ROUNDING = 1e-6  # scalars and laws travel in single precision
TRUNCATIONS = WHOLE, Truncation(2), Truncation(None, 0.7), Truncation(3, 0.9)
DRAWN, GREEDY = product((0.7, 1.0), TRUNCATIONS), product((0.0,), TRUNCATIONS)
SETTINGS = "name", "vocab_size", "length", "width", "law"
FACTORS = [
    [(*LOSSLESS, *ROUNDED), (2, 3, 4, 5), (0, 1, 2, 3, 4), (0, 1, 2, 3), tuple(laws)]
    for laws in (DRAWN, GREEDY)
]
"""Of rows in which tokens are drawn, and of greedy ones, where all is cheap and little happens."""


def cost(name, vocab_size, length, width, law):
    """What a row of settings costs; it grows slowly with the number of outcomes, at first not."""
    temperature, truncation = law
    most = vocab_size if truncation.whole else truncation.top_k or 2
    choices = 1 if temperature == 0 else min(most, vocab_size)
    branches = 1 + width * (choices - 1) / 2
    if name == "coupled":  # candidates are ranked with noise
        branches = vocab_size**width if choices > 1 else 1
    outcomes = choices ** (max(length, 2) + 2) * (1 + length) * branches
    return max(outcomes, 500) ** 0.3


ROWS = [row for factors in FACTORS for row in pairwise(factors, cost)]


class Apart(ToyModel):
    """A toy that gives one half of the tokens hardly any chance, none in double precision."""

    def __init__(self, *args, half, **kwargs):
        super().__init__(*args, **kwargs)
        self._half = half

    def logits(self, seen, text):
        logits = super().logits(seen, text)
        logits[self._half] -= 1e4
        return logits


def apart_pair(vocab_size):
    middle = vocab_size // 2
    target = Apart(vocab_size, seed=1, eos_bias=-1.0, half=slice(middle, None))
    draft = Apart(vocab_size, seed=2, half=slice(middle))
    return Pair(draft=draft, target=target, order=lambda states: np.arange(draft.n_visual))


def law_behind(model, share, sampler):
    """The law of a model behind a text, from which a sampler draws."""
    seen = QUESTION, round(share * model.n_visual)
    return cache(lambda text: sampler.law(model.logits(seen, list(text))))


def follow(dice, source, length, width):
    """Chances of text, accepted tokens and any refusal, after a block and what it made ready.

    Accepted are those of the block; a refusal may come behind it.
    """
    first = {"length": length, "burst": 1, "width": width, "steps": 1}
    rounds = [first, first | {"length": 1}, *[{"length": 1}] * (length == 0)]

    def play():
        begin(source, keep=KEEP)
        played = []
        for controls in rounds:
            played.append(play_round(source, **controls))
            if played[-1].done[0]:
                break
        refused = any(outcome.rejected[0] for outcome in played)
        return tuple(source.text), int(played[0].accepted[0]), refused

    return dice.chances(play)


def marginal(chances, which):
    """Chance of one part of each result."""
    total = defaultdict(float)
    for result, chance in chances.items():
        total[which(result)] += chance
    return dict(total)


def written_on(ended, target):
    """Chances of texts, and those by the target alone; behind what ``ended`` the target writes on.

    Texts are as long as what was reached tells them apart.
    """
    through = defaultdict(float)
    for text, chance in ended.items():
        for n in range(len(text) + 1):
            through[text[:n]] += chance
    got, expected, added = {(): 1.0}, {(): 1.0}, {(): ended.get((), 0.0)}
    for text in sorted(through, key=len):
        if text[-1:] == (EOS,):
            continue
        del got[text]
        before = expected.pop(text)
        for token, chance in enumerate(target(text)):
            longer = (*text, token)
            expected[longer] = before * chance
            got[longer] = through.get(longer, 0.0) + added[text] * chance
            added[longer] = ended.get(longer, 0.0) + added[text] * chance
    return got, expected


def standing(kind, p, q):
    """Chance that a fresh token is each of the vocabulary and stands."""
    if not kind.shared_noise:
        return np.minimum(p, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        worse = np.array([np.maximum(p / p[x], q / q[x]).sum() for x in range(len(p))])
        return np.where((p > 0) & (q > 0), 1 / worse, 0.0)


def accepted_chances(kind, target, draft, length):
    """Chance of each number of accepted tokens of a block, by a plain sum over its texts."""
    chances, stand = np.zeros(length + 1), {(): 1.0}
    for n in range(length):
        longer = {}
        for text, chance in stand.items():
            both = chance * standing(kind, target(text), draft(text))
            chances[n] += chance - both.sum()
            longer |= {(*text, token): mass for token, mass in enumerate(both) if mass}
        chances[n + 1] += sum(mass for text, mass in longer.items() if text[-1] == EOS)
        stand = {text: mass for text, mass in longer.items() if text[-1] != EOS}
    chances[length] += sum(stand.values())
    return {n: chance for n, chance in enumerate(chances)}


def pair_of(draft, vocab_size):
    if draft == "apart":
        return apart_pair(vocab_size)
    return make_pair(vocab_size=vocab_size, same=draft == "equal")


@pytest.mark.parametrize("draft", ["near", "equal", "apart"])
@pytest.mark.parametrize(SETTINGS, ROWS)
def test_the_text_is_the_targets_and_as_much_is_accepted_as_can_be(
    dice, draft, name, vocab_size, length, width, law
):
    pair, kind = pair_of(draft, vocab_size), kind_of(name)
    chances = follow(dice, make_source(pair, name, law[0], truncation=law[1]), length, width)
    sampler = Sampler(0, law[0], False, law[1])
    target = law_behind(pair.target, 1, sampler)
    own = law_behind(pair.draft, KEEP, replace(sampler, format=kind.format))
    texts, accepted, refused = (marginal(chances, itemgetter(which)) for which in range(3))
    assert_equal_chances(*written_on(texts, target))
    assert_equal_chances(accepted, accepted_chances(kind, target, own, length))
    if name in LOSSLESS:
        assert draft != "equal" or refused.get(True, 0) < ROUNDING
        assert draft != "apart" or set(accepted) == {0}
