"""The acceptance head: how far the target will follow the draft, foreseen before it drafts.

A small network on the draft's last hidden state, in the spirit of SpecDec++ (arXiv 2405.19715).
It differs in looking ahead: behind a text it predicts, for several ``n`` at once, the chance that
the next ``n`` drafted tokens all stand. What is foreseen at the committed text does not depend on
how the draft goes on, so a recording replays it exactly, and it tells whether to draft at all; the
chance of the next token alone, asked again behind every drafted one, ends blocks
(``RoundAction.chance_stop``), and is the better of the two where refusals are dear
(``python evaluate.py controllers=[tuned_threshold,tuned_specdec_pp] judging.split=validation``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import CHANCES

Array = NDArray[np.float32]
GRID = 255
"""Chances are multiples of ``1 / GRID``: a byte in a recording, and the same number live."""
BATCH = 1024
EXTRAS = 3
"""Features behind the hidden state: entropy, margin, keep."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceptanceHead:
    """One hidden layer; ``F`` features are a hidden state and ``EXTRAS`` numbers.

    Attributes:
        mean: Subtracted from the features, ``[F]``.
        scale: Divides them, ``[F]``.
        weight_in: ``[F, units]``.
        bias_in: ``[units]``.
        weight_out: ``[units, len(CHANCES)]``.
        bias_out: ``[len(CHANCES)]``.
    """

    mean: Array
    scale: Array
    weight_in: Array
    bias_in: Array
    weight_out: Array
    bias_out: Array

    def __post_init__(self) -> None:
        shape = (self.weight_in.shape, self.weight_out.shape)
        units = len(self.bias_in)
        if shape != ((len(self.mean), units), (units, len(CHANCES))):
            raise InvalidSetting(f"an acceptance head needs matching layers, got {shape}")

    @property
    def hidden_size(self) -> int:
        """Entries of the hidden states that it reads."""
        return len(self.mean) - EXTRAS

    def steps(self, features: Array) -> Array:
        """Log-odds of every further stretch of ``CHANCES``, given the ones before."""
        inner = np.maximum((features - self.mean) / self.scale @ self.weight_in + self.bias_in, 0)
        odds: Array = inner @ self.weight_out + self.bias_out
        return odds

    def chances(self, features: Array) -> NDArray[np.uint8]:
        """Chance that the next ``n`` tokens all stand, for every ``n`` of ``CHANCES``.

        Args:
            features: From :func:`features_of`, shape ``[..., F]``.

        Returns:
            In steps of ``1 / GRID``, shape ``[..., len(CHANCES)]``, descending.
        """
        steps = 1.0 / (1.0 + np.exp(-np.clip(self.steps(features), -30, 30)))
        return np.rint(np.cumprod(steps, axis=-1) * GRID).astype(np.uint8)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, path)


def load_head(path: Path) -> AcceptanceHead:
    """Read a head.

    Raises:
        InvalidSetting: If there is none, or it is none.
    """
    try:
        return AcceptanceHead(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise InvalidSetting(f"no acceptance head loads from {path}: {error}") from error


def features_of(
    hidden: Array, entropy: NDArray[np.floating], margin: NDArray[np.floating], keep: float
) -> Array:
    """What a head reads, shape ``[..., F]``.

    Args:
        hidden: Draft's last hidden state behind a text, shape ``[..., hidden]``.
        entropy: Of its law there, nats, shape ``[...]``.
        margin: Of its law there, shape ``[...]``.
        keep: Share of visual tokens that it sees.
    """
    extras = np.stack([entropy, margin, np.full_like(entropy, keep)], axis=-1)
    return np.concatenate([hidden, extras], axis=-1).astype(np.float32)


def standing(overlap: NDArray[np.floating], lengths: NDArray[np.integer]) -> NDArray[np.float32]:
    """What a head should say: products of the next acceptance probabilities.

    The label is the acceptance of a *fresh* draft. That of the emitted token would leak whether it
    came from the draft.

    Args:
        overlap: ``sum min(p, q)`` at every position, shape ``[N]``.
        lengths: Answer lengths, adding up to ``N``; nothing stands behind an answer's end.

    Returns:
        Shape ``[N, len(CHANCES)]``.
    """
    n, most = len(overlap), CHANCES[-1]
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(n)
    padded = np.concatenate([overlap.astype(np.float64), np.zeros(most)])
    ahead = np.arange(most)
    window = np.where(ahead < left[:, None], padded[np.arange(n)[:, None] + ahead], 0.0)
    products = np.cumprod(window, axis=1)
    return products[:, np.array(CHANCES) - 1].astype(np.float32)


def fit_head(
    features: Array, labels: Array, units: int = 32, epochs: int = 40, seed: int = 0
) -> AcceptanceHead:
    """Fit a head by the proper score of a Bernoulli variable (cross-entropy).

    Args:
        features: Shape ``[M, F]``.
        labels: From :func:`standing`, shape ``[M, len(CHANCES)]``.
        units: Of the hidden layer.
        epochs: Passes over the data.
        seed: Of weights and order.
    """
    import torch

    mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    inputs, targets = torch.from_numpy((features - mean) / scale), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    sizes = (features.shape[1], units, labels.shape[1])
    weights = [torch.randn(a, b, generator=generator) / a**0.5 for a, b in pairwise(sizes)]
    biases = [torch.zeros(size) for size in sizes[1:]]
    parameters = [tensor.requires_grad_() for tensor in (*weights, *biases)]
    optimizer = torch.optim.AdamW(parameters, 3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 6e-3, epochs=epochs, steps_per_epoch=-(-len(inputs) // BATCH)
    )
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inner = (inputs[rows] @ weights[0] + biases[0]).relu()
            log_chance = torch.nn.functional.logsigmoid(inner @ weights[1] + biases[1]).cumsum(-1)
            other = torch.log(-torch.expm1(log_chance.clamp_max(-1e-6)))
            loss = -(targets[rows] * log_chance + (1 - targets[rows]) * other).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    learned = [tensor.detach().numpy() for tensor in parameters]
    return AcceptanceHead(mean, scale, learned[0], learned[2], learned[1], learned[3])
