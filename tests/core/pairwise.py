"""Few rows of settings in which every two values of different settings meet."""

from __future__ import annotations

import random
from itertools import combinations, product

import numpy as np


def pairs_of(row):
    """Every two values of a row, with their places."""
    return set(combinations(enumerate(row), 2))


def pairwise(factors, cost, seed=0):
    """Rows that cover all pairs of values, chosen one by one for most new pairs per cost."""
    rows = list(product(*factors))
    random.Random(seed).shuffle(rows)  # of rows that are as good, any is taken
    number = {pair: n for n, pair in enumerate(sorted(set().union(*map(pairs_of, rows)), key=str))}
    covers = np.zeros((len(rows), len(number)), dtype=bool)
    for covered, row in zip(covers, rows, strict=True):
        covered[[number[pair] for pair in pairs_of(row)]] = True
    costs, missing, chosen = np.array([cost(*row) for row in rows]), np.ones(len(number), bool), []
    while missing.any():
        best = int((covers[:, missing].sum(1) / costs).argmax())
        missing &= ~covers[best]
        chosen.append(rows[best])
    return chosen
