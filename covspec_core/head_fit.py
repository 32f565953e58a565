"""Fits an acceptance head by proper scores, of examples along answers of a target."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from covspec_core.acceptance import DRAWN, AcceptanceHead, Array, Layers

BATCH = 1024


class Examples(NamedTuple):
    """What a head learns from, at ``M`` texts.

    Attributes:
        features: From :func:`~covspec_core.acceptance.features_of`, ``[M, F]``.
        standing: From :func:`~covspec_core.acceptance.standing`, ``[M, len(CHANCES)]``.
        fresh: A token of the draft's law behind each: its features, ``[M, TOKEN_EXTRAS]``.
        stands: The chance that it stands, ``min(1, p / q)``, ``[M]``.
        emitted: The same of the token that the target wrote, ``[M, TOKEN_EXTRAS]``.
        came: The chance that it came from the draft, ``min(1, q / p)``, ``[M]``; 0 where it ends
            the answer.
        follows: The acceptance of a fresh draft behind it, ``[M]``.
    """

    features: Array
    standing: Array
    fresh: Array
    stands: Array
    emitted: Array
    came: Array
    follows: Array

    @staticmethod
    def joined(parts: list[Examples]) -> Examples:
        """Examples of many answers."""
        return Examples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Course(NamedTuple):
    """How a network is fitted.

    Attributes:
        units: Of the hidden layer.
        epochs: Passes over the data.
        seed: Of weights and order.
    """

    units: int = 32
    epochs: int = 40
    seed: int = 0


def fit_head(examples: Examples, course: Course = Course()) -> AcceptanceHead:  # noqa: B008
    """Fit a head by the proper score of Bernoulli variables (cross-entropy)."""
    return AcceptanceHead(
        fit_ahead(examples.features, examples.standing, course), fit_drawn(examples, course)
    )


def fit_ahead(features: Array, labels: Array, course: Course) -> Layers:
    """The network that looks ahead.

    Args:
        features: Shape ``[M, F]``.
        labels: From :func:`~covspec_core.acceptance.standing`, shape ``[M, len(CHANCES)]``.
        course: How it is fitted.
    """
    targets = torch.from_numpy(labels)

    def loss(odds: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        log_chance = logsigmoid(odds).cumsum(-1)
        other = torch.log(-torch.expm1(log_chance.clamp_max(-1e-6)))
        return -(targets[rows] * log_chance + (1 - targets[rows]) * other).mean()

    return _fit(features, labels.shape[1], loss, course)


def fit_drawn(examples: Examples, course: Course) -> Layers:
    """The network that looks at drawn tokens.

    Whether a token stands is learned from fresh ones. What follows it where it stands is known
    along the target's answer alone, whose token stands for a drafted one that stood as often as
    it came from the draft.
    """
    shown = np.concatenate(
        [
            np.concatenate([examples.features, token], axis=1)
            for token in (examples.fresh, examples.emitted)
        ]
    )
    ones, none = np.ones_like(examples.stands), np.zeros_like(examples.stands)
    both = np.stack([examples.stands, examples.follows], axis=1)
    targets = torch.from_numpy(np.concatenate([both, both]).astype(np.float32))
    weights = torch.from_numpy(
        np.concatenate(
            [np.stack([ones, none], axis=1), np.stack([none, examples.came], axis=1)]
        ).astype(np.float32)
    )

    def loss(odds: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        each = binary_cross_entropy_with_logits(odds, targets[rows], reduction="none")
        return (weights[rows] * each).sum(-1).mean()

    return _fit(shown, len(DRAWN), loss, course)


def _fit(
    features: Array,
    outputs: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    course: Course,
) -> Layers:
    mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    inputs = torch.from_numpy((features - mean) / scale)
    generator = torch.Generator().manual_seed(course.seed)
    sizes = (features.shape[1], course.units, outputs)
    weights = [torch.randn(a, b, generator=generator) / a**0.5 for a, b in pairwise(sizes)]
    biases = [torch.zeros(size) for size in sizes[1:]]
    parameters = [tensor.requires_grad_() for tensor in (*weights, *biases)]
    optimizer = torch.optim.AdamW(parameters, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 6e-3, epochs=course.epochs, steps_per_epoch=-(-len(inputs) // BATCH)
    )
    for _ in range(course.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inner = (inputs[rows] @ weights[0] + biases[0]).relu()
            optimizer.zero_grad()
            torch.autograd.backward(loss(inner @ weights[1] + biases[1], rows))
            optimizer.step()
            schedule.step()
    learned: list[Any] = [tensor.detach().numpy() for tensor in parameters]
    return Layers(mean, scale, learned[0], learned[2], learned[1], learned[3])
