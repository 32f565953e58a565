"""Compiled loops of :mod:`env.observations` and :mod:`env.actions`; importing them loads numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from covspec_core.kernels.compiled import inner, loop

LEAST = 1e-12
"""Values below are taken for this one before their logarithm."""


@inner
def plan(
    told: NDArray[np.float64],
    columns: NDArray[np.int64],
    lengths: NDArray[np.int64],
    plans: NDArray[np.float64],
) -> None:
    """Expected speed of rounds over the edge alone, into ``plans``, one for every draft length.

    What :class:`policies.rules.Foresight` makes the most of, upload and waiting counted too: tokens
    that the head foresees, or else the running acceptance, over seconds of profile and link as
    reported. A refusal is timed as a message down, which that of ``lazy`` is not.

    Args:
        told: One row of a status.
        columns: Of :data:`env.observations.PLANNED`.
        lengths: Those of ``CHANCES``.
        plans: To be filled.
    """
    up, down = max(told[columns[0]], LEAST), max(told[columns[1]], LEAST)
    rtt_s, device, edge, wait_s = (
        told[columns[2]], told[columns[3]], told[columns[4]], told[columns[5]]
    )  # fmt: skip
    acceptance, ready, awake, chance = told[columns[6]], told[columns[7]], told[columns[8]], 9
    rest = chance + len(lengths)
    keep, token_bytes, refusal_bytes = (
        told[columns[rest]], told[columns[rest + 1]], told[columns[rest + 2]]
    )  # fmt: skip
    edge_step_s, draft_cost, keep_cost, position_cost = (
        told[columns[rest + 3]], told[columns[rest + 4]], told[columns[rest + 5]],
        told[columns[rest + 6]],
    )  # fmt: skip
    draft_s, edge_s = (draft_cost + keep_cost * keep) * edge_step_s * device, edge_step_s * edge
    always_s, sent_s = wait_s + rtt_s + edge_s, 8.0 * token_bytes / up + edge_s * position_cost
    refused_s = 8.0 * refusal_bytes / down
    tokens, before, stands = 1.0, 0, 1.0
    for k in range(len(lengths)):
        n, last, gap = lengths[k], stands, lengths[k] - before
        stands = told[columns[chance + k]] if awake > 0 else acceptance**n
        # Chances between two that are foreseen lie on a line.
        tokens += gap * last + (stands - last) * (gap + 1) / 2
        before = n
        seconds = always_s + n * sent_s + max(n - ready, 0.0) * draft_s + (1.0 - stands) * refused_s
        plans[k] = tokens * edge_s / max(seconds, LEAST)


@loop
def scale_all(
    values: NDArray[np.float64],
    columns: NDArray[np.int64],
    logs: NDArray[np.bool_],
    shift: NDArray[np.float64],
    scale: NDArray[np.float64],
    planned: NDArray[np.int64],
    unseen: NDArray[np.int64],
    lengths: NDArray[np.int64],
    plans: NDArray[np.float64],
    observations: NDArray[np.float32],
) -> int:
    """Fill observations ``[B, F]``; the first row with a value that is not finite, or -1.

    Columns below 0 are those of ``plans``, counted from their end; a row has none of its own
    without ``planned``, whose columns that are not shown are ``unseen``.
    """
    for b in range(len(values)):
        for column in unseen:
            if not math.isfinite(values[b, column]):
                return b
        if len(planned) > 0:
            plan(values[b], planned, lengths, plans)
        for f in range(len(columns)):
            value = values[b, columns[f]] if columns[f] >= 0 else plans[columns[f]]
            if not math.isfinite(value):
                return b
            if logs[f]:
                # What stays the same.
                if b > 0 and columns[f] >= 0 and value == values[b - 1, columns[f]]:
                    observations[b, f] = observations[b - 1, f]
                    continue
                value = math.log(max(value, LEAST))
            observations[b, f] = min(max((value - shift[f]) * scale[f], 0.0), 1.0)
    return -1


@loop
def choose_all(
    indices: NDArray[np.int64],
    counts: NDArray[np.int64],
    levels: NDArray[np.float64],
    chosen: NDArray[np.float64],
) -> int:
    """Fill values of choices, shape ``[P, B]``; the first row outside of its space, or -1.

    Args:
        indices: Shape ``[B, P]``.
        counts: Choices of each part, shape ``[P]``.
        levels: Their values, shape ``[P, most]``.
        chosen: To be filled.
    """
    for b in range(len(indices)):
        for p in range(len(counts)):
            if not 0 <= indices[b, p] < counts[p]:
                return b
            chosen[p, b] = levels[p, indices[b, p]]
    return -1
