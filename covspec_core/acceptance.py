"""The acceptance head: how far the target will follow the draft, foreseen on the device.

Two small networks on the draft's last hidden state, in the spirit of SpecDec++ (arXiv 2405.19715).
One looks ahead: behind a text, before anything is drawn, it foresees for several ``n`` at once the
chance that the next ``n`` drafted tokens all stand. What is foreseen at the committed text does
not depend on how the draft goes on, so a recording replays it exactly, and it tells whether to
draft at all. The other looks at the token that was drawn: the chance that it stands, and that one
more drafted behind it stands too. Asked at every drafted token, both end blocks
(``RoundAction.chance_stop``). :mod:`covspec_core.head_fit` fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
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
EXTRAS = 3
"""Features behind the hidden state: entropy, margin, keep."""
DRAWN = ("stands", "follows")
"""What is said of a drawn token: the chance that it stands, and the chance that one more drafted
behind it stands where it does."""
TOKEN_EXTRAS = 2
"""Features of a drawn token: its log-probability, and by how much the likeliest token's is more."""
LEAST = 1e-9
"""No probability is less when its logarithm is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """One hidden layer of rectified units.

    Attributes:
        mean: Subtracted from the features, ``[F]``.
        scale: Divides them, ``[F]``.
        weight_in: ``[F, units]``.
        bias_in: ``[units]``.
        weight_out: ``[units, K]``.
        bias_out: ``[K]``.
    """

    mean: Array
    scale: Array
    weight_in: Array
    bias_in: Array
    weight_out: Array
    bias_out: Array

    def __post_init__(self) -> None:
        units, wide = len(self.bias_in), len(self.mean)
        shapes = {
            "scale": (wide,),
            "weight_in": (wide, units),
            "weight_out": (units, len(self.bias_out)),
        }
        for name, shape in shapes.items():
            if (got := getattr(self, name).shape) != shape:
                raise InvalidSetting(f"an acceptance head needs {name} of shape {shape}, got {got}")

    def chances(self, features: Array) -> Array:
        """What its outputs say of features ``[..., F]``, in [0, 1], shape ``[..., K]``."""
        inner = np.maximum((features - self.mean) / self.scale @ self.weight_in + self.bias_in, 0)
        odds = np.clip(inner @ self.weight_out + self.bias_out, -30, 30)
        chances: Array = np.reciprocal(1.0 + np.exp(-odds))
        return chances


@dataclass(frozen=True, slots=True, eq=False)
class AcceptanceHead:
    """What foresees the acceptance; features are a hidden state and ``EXTRAS`` numbers.

    Attributes:
        ahead: Says the chance of every further stretch of ``CHANCES``, given the ones before.
        drawn: Reads ``TOKEN_EXTRAS`` features more, of a drawn token; says what ``DRAWN`` names.
    """

    ahead: Layers
    drawn: Layers

    def __post_init__(self) -> None:
        own = len(self.ahead.mean), len(self.ahead.bias_out)
        token = len(self.drawn.mean), len(self.drawn.bias_out)
        if own[1] != len(CHANCES) or token != (own[0] + TOKEN_EXTRAS, len(DRAWN)):
            raise InvalidSetting(
                f"an acceptance head needs {len(CHANCES)} outputs, and {len(DRAWN)} of "
                f"{TOKEN_EXTRAS} features more for drawn tokens, got {own} and {token}"
            )

    @property
    def hidden_size(self) -> int:
        """Entries of the hidden states that it reads."""
        return len(self.ahead.mean) - EXTRAS

    @property
    def n_weights(self) -> int:
        """Numbers that it holds."""
        return sum(array.size for array in self._arrays().values())

    def chances(self, features: Array) -> NDArray[np.uint8]:
        """Chance that the next ``n`` tokens all stand, for every ``n`` of ``CHANCES``.

        Args:
            features: From :func:`features_of`, shape ``[..., F]``.

        Returns:
            In steps of ``1 / GRID``, shape ``[..., len(CHANCES)]``, descending.
        """
        return _on_grid(np.cumprod(self.ahead.chances(features), axis=-1))

    def of_drawn(self, features: Array, token: Array) -> NDArray[np.uint8]:
        """Chances of a drawn token, as ``DRAWN`` names them.

        Args:
            features: From :func:`features_of`, of the text that it was drawn behind, ``[..., F]``.
            token: From :func:`token_features`, shape ``[..., TOKEN_EXTRAS]``.

        Returns:
            In steps of ``1 / GRID``, shape ``[..., len(DRAWN)]``.
        """
        return _on_grid(self.drawn.chances(np.concatenate([features, token], axis=-1)))

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        save_file({name: np.ascontiguousarray(a) for name, a in self._arrays().items()}, path)

    def _arrays(self) -> dict[str, Array]:
        return {
            f"{part.name}.{f.name}": getattr(getattr(self, part.name), f.name)
            for part in fields(self)
            for f in fields(Layers)
        }


def _on_grid(chances: Array) -> NDArray[np.uint8]:
    return np.rint(chances * GRID).astype(np.uint8)


def load_head(path: Path) -> AcceptanceHead:
    """Read a head.

    Raises:
        InvalidSetting: If there is none, or it is none.
    """
    try:
        arrays = load_file(path)
        return AcceptanceHead(*(_layers(arrays, part.name) for part in fields(AcceptanceHead)))
    except (OSError, SafetensorError) as error:
        raise InvalidSetting(f"no acceptance head loads from {path}: {error}") from error
    except KeyError as error:
        raise InvalidSetting(
            f"no acceptance head loads from {path}: it lacks {error}; fit it anew"
        ) from error


def _layers(arrays: Mapping[str, Array], part: str) -> Layers:
    return Layers(*(arrays[f"{part}.{f.name}"] for f in fields(Layers)))


def features_of(
    hidden: Array, entropy: NDArray[np.floating], margin: NDArray[np.floating], keep: float
) -> Array:
    """What a head reads of a text, shape ``[..., F]``.

    Args:
        hidden: Draft's last hidden state behind it, shape ``[..., hidden]``.
        entropy: Of its law there, nats, shape ``[...]``.
        margin: Of its law there, shape ``[...]``.
        keep: Share of visual tokens that it sees.
    """
    extras = np.stack([entropy, margin, np.full_like(entropy, keep)], axis=-1)
    return np.concatenate([hidden, extras], axis=-1).astype(np.float32)


def token_features(law: NDArray[np.floating], tokens: NDArray[np.integer]) -> Array:
    """What a head reads of drawn tokens, shape ``[..., TOKEN_EXTRAS]``.

    Args:
        law: Of the draft where they were drawn, shape ``[..., vocab]``.
        tokens: Their ids, shape ``[...]``.
    """
    own = np.take_along_axis(law, np.asarray(tokens)[..., None], axis=-1)
    both = np.concatenate([own, own / law.max(-1, keepdims=True)], axis=-1)
    return np.log(np.maximum(both, LEAST)).astype(np.float32)


def standing(overlap: NDArray[np.floating], lengths: NDArray[np.integer]) -> NDArray[np.float32]:
    """What a head should foresee: products of the next acceptance probabilities.

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
