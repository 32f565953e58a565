"""A decoder layer for a few new positions: what calls of a library cost more than the arithmetic.

Sums are taken in vectors, so they are compiled freely. Arrays are 32 bit floats; matrices are
``[out, in]``.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from covspec_core.kernels.compiled import inner, loop

_inner, _loop = partial(inner, freely=True), partial(loop, freely=True)


@_inner
def _add_product(weight, x, y):
    """Add ``x @ weight.T`` to ``y``, four rows at a time; ``x`` may have columns to spare."""
    n, t = len(y), 0
    while t + 4 <= n:
        for i in range(weight.shape[0]):
            a = b = c = d = np.float32(0)
            for j in range(weight.shape[1]):
                w = weight[i, j]
                a += w * x[t, j]
                b += w * x[t + 1, j]
                c += w * x[t + 2, j]
                d += w * x[t + 3, j]
            y[t, i] += a
            y[t + 1, i] += b
            y[t + 2, i] += c
            y[t + 3, i] += d
        t += 4
    for rest in range(t, n):
        for i in range(weight.shape[0]):
            a = np.float32(0)
            for j in range(weight.shape[1]):
                a += weight[i, j] * x[rest, j]
            y[rest, i] += a


@_inner
def _normalise(x, weight, eps, y):
    """Root mean square norm of every row."""
    for t in range(len(x)):
        square = np.float32(0)
        for j in range(x.shape[1]):
            square += x[t, j] * x[t, j]
        scale = np.float32(1) / np.sqrt(square / np.float32(x.shape[1]) + eps)
        for j in range(x.shape[1]):
            y[t, j] = x[t, j] * scale * weight[j]


@_inner
def _rotate(row, cos, sin):
    """Turn one head, ``[size]``; the sine has its sign."""
    half = len(row) // 2
    for i in range(half):
        low, high = row[i], row[i + half]
        row[i] = low * cos[i] + high * sin[i]
        row[i + half] = high * cos[i + half] + low * sin[i + half]


@_inner
def _attend(query, keys, values, scores, mixed):
    """What a query, ``[size]``, makes of cells, ``[cells, size]``."""
    size, scale = len(query), np.float32(1 / math.sqrt(len(query)))
    most = np.float32(-np.inf)
    for c in range(len(keys)):
        score = np.float32(0)
        for i in range(size):
            score += query[i] * keys[c, i]
        scores[c] = score * scale
        most = max(most, scores[c])
    mass = np.float32(0)
    mixed[:] = 0
    for c in range(len(keys)):
        weight = math.exp(scores[c] - most)
        mass += weight
        for i in range(size):
            mixed[i] += weight * values[c, i]
    for i in range(size):
        mixed[i] /= mass


@_inner
def _attend_all(rows, cos, sin, cells, start, scores, mixed):
    """Write keys and values of new positions into their cells, and let them attend."""
    n_keys, size = cells.shape[1], cells.shape[3]
    queries = mixed.shape[1] // size
    for t in range(len(rows)):
        end = start + t + 1
        for head in range(queries + n_keys):
            _rotate(rows[t, head * size : (head + 1) * size], cos[t], sin[t])
        for head in range(n_keys):
            at = (queries + head) * size
            for i in range(size):
                cells[0, head, end - 1, i] = rows[t, at + i]
                cells[1, head, end - 1, i] = rows[t, at + n_keys * size + i]
        for head in range(queries):
            own, key = slice(head * size, (head + 1) * size), head * n_keys // queries
            keys, values = cells[0, key, :end], cells[1, key, :end]
            _attend(rows[t, own], keys, values, scores, mixed[t, own])


@_loop
def layer(
    x, norm, qkv, bias, out, mlp_norm, gate_up, down, eps, cos, sin, cells, start,
    normed, rows, mixed, gates, scores,
):  # fmt: skip
    """One layer on new positions ``x``, ``[new, hidden]``, in place.

    Behind it come the weights and the norms' epsilon; cosine and signed sine of the positions,
    ``[new, size]``; the cells of keys and values, ``[2, key heads, cells, size]``, and the first
    new one; then room to work in: ``x``'s shape, projections, heads, twice the feed-forward, cells.
    """
    _normalise(x, norm, eps, normed)
    for t in range(len(rows)):
        for i in range(len(bias)):
            rows[t, i] = bias[i]
    _add_product(qkv, normed, rows)
    _attend_all(rows, cos, sin, cells, start, scores, mixed)
    _add_product(out, mixed, x)
    _normalise(x, mlp_norm, eps, normed)
    gates[:] = 0
    _add_product(gate_up, normed, gates)
    width = gates.shape[1] // 2
    for t in range(len(gates)):
        for j in range(width):
            gate = gates[t, j]
            gates[t, j] = gate / (np.float32(1) + math.exp(-gate)) * gates[t, width + j]
    _add_product(down, gates, x)


@_loop
def say(x, norm, eps, head, hidden, logits):
    """Hidden states and logits of a last layer's output."""
    _normalise(x, norm, eps, hidden)
    logits[:] = 0
    _add_product(head, hidden, logits)
