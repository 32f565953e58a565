"""Merging: what is dropped lives on in a few of the kept tokens (VisionZip, arXiv 2412.04467).

An order only chooses among tokens as they are, so that every keep is a prefix of it. Merged tokens
are means and change with every keep count; they are worked out for one count at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.reduction.states import Array, Order, VisualStates

CONTEXTUAL_SHARE: Final = 10 / 64
"""Of the kept tokens that VisionZip merges others into."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Visual tokens that stay, and what each is made of.

    Attributes:
        kept: The tokens, in image order, ``[keep]``.
        weights: Of all tokens' vectors in each of them, rows sum to 1, ``[keep, n_visual]``.
    """

    kept: Order
    weights: Array


Merging = Callable[[VisualStates, Order, int], Merged]
"""From states, order and keep count."""


def merge(states: VisualStates, order: Order, keep: int, share: float = CONTEXTUAL_SHARE) -> Merged:
    """The first tokens of an order as they are, and contextual ones that stand for the rest.

    Contextual tokens are anchors spread evenly over the rest in image order. Every other dropped
    token joins the anchor that it resembles most, and an anchor with members becomes half itself
    and half their mean. VisionZip compares keys of its encoder and adds without halving, before a
    projector whose normalisation takes the scale out; here the language model's input vectors are
    compared, by their cosine, and mixed behind that projector.

    Args:
        states: With the input vectors of the language model.
        order: The best tokens first, ``[n_visual]``.
        keep: Tokens to keep, contextual ones included.
        share: Of the kept tokens that are contextual, in [0, 1].
    """
    if states.features is None:
        raise InvalidSetting("merging needs input vectors (features), got states without them")
    contextual = round(share * keep)
    dominant, rest = order[: keep - contextual], np.sort(order[keep - contextual :])
    anchors = rest[np.arange(contextual) * len(rest) // max(contextual, 1)]
    weights = np.eye(states.n_visual)
    members = np.setdiff1d(rest, anchors)
    if len(anchors) and len(members):
        weights[anchors] = _mixed(states.features, anchors, members)
    kept = np.sort(np.concatenate([dominant, anchors]))
    return Merged(kept, weights[kept])


def _mixed(features: Array, anchors: Order, members: Order) -> Array:
    """Rows of the anchors, ``[anchors, n_visual]``."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    joined = (unit[members] @ unit[anchors].T).argmax(axis=1)
    counts = np.bincount(joined, minlength=len(anchors))
    rows = np.zeros((len(anchors), len(features)))
    rows[joined, members] = 0.5 / counts[joined]
    rows[np.arange(len(anchors)), anchors] = np.where(counts > 0, 0.5, 1.0)
    return rows
