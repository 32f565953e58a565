"""Exact chances: every random decision of the real device and edge is followed to all its ends.

Random numbers keep their addresses: a number that decides twice says the second time what the
first has left open, as the real one would.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from itertools import pairwise

import numpy as np

from covspec_core import verification as ver

TINY = 1e-12


class Dice:
    """Follows random decisions through all their outcomes, each with its probability."""

    def roll(self, chances):
        """The outcome of one decision on the way in hand, never one without a chance."""
        if self._depth == len(self._ways):
            self._ways.append([i for i, chance in enumerate(chances) if chance > TINY])
        outcome = self._ways[self._depth][0]
        self._depth += 1
        self._chance *= chances[outcome]
        return outcome

    def chances(self, play):
        """Chance of each result of ``play``, which must decide everything by these dice."""
        self._ways, chances = [], defaultdict(float)
        while True:
            self._depth, self._chance, self._numbers = 0, 1.0, {}
            chances[play()] += self._chance
            while self._ways and len(self._ways[-1]) == 1:
                self._ways.pop()
            if not self._ways:
                return dict(chances)
            del self._ways[-1][0]

    def number(self, *address):
        """The uniform number at an address."""
        return self._numbers.setdefault(address, Number(self))

    def noise(self, key, position, size):
        """The Gumbel noise at an address."""
        return self._numbers.setdefault((key, position), Noise(self, size))

    def replace_numbers(self, monkeypatch):
        """Let these dice decide whatever device and edge leave to chance."""
        real, asked = ver.draw, []

        def draw(law, _):
            edges = np.cumsum(law)
            return real(law, asked.pop().inside(edges[:-1] / edges[-1]))

        monkeypatch.setattr("covspec_core.blocks.gumbel", self.noise)
        monkeypatch.setattr("covspec_core.edge.uniform", self.number)
        monkeypatch.setattr(
            "covspec_core.blocks.uniform",
            lambda *address: asked.append(self.number(*address)) or np.nan,
        )
        monkeypatch.setattr(ver, "draw", draw)


class Number:
    """A uniform number in [0, 1) of which nothing is known but an interval."""

    def __init__(self, dice):
        self._dice, self._low, self._high = dice, 0.0, 1.0

    def inside(self, borders):
        """The middle of the interval that is left once it is told where borders divide it."""
        low, high = self._low, self._high
        edges = [low, *(min(max(float(border), low), high) for border in borders), high]
        parts = [(b - a) / (high - low) for a, b in pairwise(edges)]
        part = self._dice.roll(parts)
        self._low, self._high = edges[part : part + 2]
        return (self._low + self._high) / 2

    def __lt__(self, ratio):
        return self.inside([ratio]) < ratio


class Noise:
    """Gumbel noise at a position, of which nothing is known but which tokens it drew.

    ``argmax(log p + noise)`` is the first of exponential times ``E_i`` over weights ``p_i``. Times
    over their sum are uniform on the simplex, so chances are volumes in it.
    """

    __array_ufunc__ = None  # an array that is added to it leaves the sum to it

    def __init__(self, dice, size):
        self._dice, self._size, self._told = dice, size, {}

    def __radd__(self, logs):
        return Scores(self, tuple(np.exp(logs).tolist()))

    def first(self, weights, among):
        """The token that comes first among some."""
        question = weights, among
        if question not in self._told:
            told = tuple((*known, token) for known, token in self._told.items())
            volumes = [volume(self._size, (*told, (*question, token))) for token in among]
            whole = sum(volumes)
            self._told[question] = among[self._dice.roll([part / whole for part in volumes])]
        return self._told[question]


class Scores:
    """Stands in for logarithms of a law with noise on them; ranks tokens in descending order."""

    def __init__(self, noise, weights):
        self._noise, self._weights = noise, weights

    def argmax(self):
        return self[:1][0]

    def __neg__(self):
        return self

    def argsort(self, **_):
        return self

    def __getitem__(self, part):
        left = [token for token, weight in enumerate(self._weights) if weight > 0]
        ranked = []
        while len(left) > 0 and len(ranked) < part.stop:
            ranked.append(self._noise.first(self._weights, tuple(left)))
            left.remove(ranked[-1])
        return np.array(ranked, dtype=np.int64)


@cache
def volume(size, told):
    """Share of the simplex of times in which each told token comes first."""
    return sum(abs(np.linalg.det(simplex)) for simplex in region(size, told))


@cache
def region(size, told):
    """That part as simplices, whose corners are rows."""
    if not told:
        return [np.eye(size)]
    *before, (weights, among, token) = told
    simplices = region(size, tuple(before))
    for other in set(among) - {token}:
        plane = np.zeros(size)
        plane[[other, token]] = weights[token], -weights[other]
        simplices = [part for simplex in simplices for part in above(simplex, plane)]
    return simplices


def above(simplex, plane):
    """What of a simplex lies above a plane through 0, as simplices."""
    heights = simplex @ plane
    low, high = heights.argmin(), heights.argmax()
    if heights[high] <= TINY:
        return []
    if heights[low] >= -TINY:
        return [simplex]
    share = heights[high] / (heights[high] - heights[low])
    parts = []
    for corner in (low, high):
        part = simplex.copy()
        part[corner] = simplex[high] + share * (simplex[low] - simplex[high])
        parts += above(part, plane)
    return parts
