"""Trained networks as plain arrays: NumPy is all they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import PolicyMismatch
from env.views import VIEWS

Array = NDArray[np.float32]
Weights = list[tuple[Array, Array]]
ACTIVATIONS = ("tanh", "relu")


@dataclass(frozen=True, eq=False)
class Lstm:
    """A layer of long short-term memory (Hochreiter and Schmidhuber 1997), gates as in torch.

    Attributes:
        weight: Of input and state, shape ``[F + H, 4 * H]``: input, forget, cell, output.
        bias: Shape ``[4 * H]``.
    """

    weight: Array
    bias: Array

    @property
    def units(self) -> int:
        """Units of the state."""
        return self.bias.size // 4

    def step(self, shown: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        """Hidden and cell state after a round, ``[B, H]`` each."""
        hidden, cell = state
        gates = np.concatenate([shown, hidden], axis=1) @ self.weight + self.bias
        enter, forget, new, leave = np.split(gates, 4, axis=1)
        cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(new)
        return _sigmoid(leave) * np.tanh(cell), cell


def _sigmoid(x: Array) -> Array:
    # By tanh, which overflows nowhere.
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1.0))


@dataclass(frozen=True, eq=False)
class Network:
    """A multilayer perceptron, behind a layer with memory if there is one.

    Attributes:
        layers: Weight ``[in, out]`` and bias ``[out]`` of every layer.
        activation: Between the layers, one of ``ACTIVATIONS``.
        lstm: Before them.
        view: What the outputs mean, one of :data:`env.views.VIEWS`: scores of every choice of
            every part, values of every combination of them, or a level of every part before its
            tanh.
        history: Rounds that are shown at once.
        masked: Whether pointless choices are left out.

    Raises:
        PolicyMismatch: If a value is unknown, or weights fit no network or are not finite.
    """

    layers: Weights
    activation: str = "tanh"
    lstm: Lstm | None = None
    view: str = "parts"
    history: int = 1
    masked: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS or self.view not in VIEWS or self.history < 1:
            raise PolicyMismatch(
                f"a network needs an activation of {ACTIVATIONS}, a view of {tuple(VIEWS)} and a "
                f"history >= 1, got {self.activation!r}, {self.view!r} and {self.history!r}"
            )
        if not self.layers:
            raise PolicyMismatch("a network needs a layer, got none")
        if self.masked and self.view != "parts":
            raise PolicyMismatch(f"only actions in parts can be masked, got view {self.view!r}")
        if not all(np.isfinite(part).all() for part in self.arrays().values()):
            raise PolicyMismatch("weights must be finite, got NaN or infinity")

    def require(self, fields: int, outputs: int) -> None:
        """Check the shapes against those of observation and action.

        Raises:
            PolicyMismatch: If they do not fit.
        """
        first = fields * self.history
        if self.lstm is not None:
            units, shape = self.lstm.units, self.lstm.weight.shape
            if shape != (first + units, 4 * units) or self.lstm.bias.size != 4 * units:
                raise PolicyMismatch(
                    f"lstm must have shape {(first + units, 4 * units)}, got {shape}"
                )
            first = units
        hidden = [bias.size for _, bias in self.layers[:-1]]
        wanted = list(zip([first, *hidden], [*hidden, outputs], strict=True))
        shapes = [weight.shape for weight, _ in self.layers]
        if shapes != wanted or any(bias.shape != w.shape[1:] for w, bias in self.layers):
            raise PolicyMismatch(f"layers must have shapes {wanted}, got {shapes}")

    def outputs(self, shown: Array) -> Array:
        """Outputs for the input of the first layer, shape ``[B, outputs]``."""
        for weight, bias in self.layers[:-1]:
            shown = shown @ weight + bias
            shown = np.tanh(shown) if self.activation == "tanh" else np.maximum(shown, 0.0)
        weight, bias = self.layers[-1]
        return shown @ weight + bias

    @property
    def parameters(self) -> int:
        """Numbers that were learned."""
        return sum(part.size for part in self.arrays().values())

    def arrays(self) -> dict[str, Array]:
        """All weights by name, for a file."""
        found: dict[str, Array] = {}
        for i, (weight, bias) in enumerate(self.layers):
            found |= {f"weight_{i}": weight, f"bias_{i}": bias}
        if self.lstm is not None:
            found |= {"lstm_weight": self.lstm.weight, "lstm_bias": self.lstm.bias}
        return found

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, as plain values."""
        return {
            "layers": len(self.layers),
            "activation": self.activation,
            "lstm": self.lstm is not None,
            "view": self.view,
            "history": self.history,
            "masked": self.masked,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any], arrays: Mapping[str, Array]) -> Network:
        """A network as :meth:`to_dict` and :meth:`arrays` gave it.

        Raises:
            PolicyMismatch: If a value is unknown or weights are not finite.
            KeyError: If something is missing.
        """
        count = range(values["layers"])
        return Network(
            [(arrays[f"weight_{i}"], arrays[f"bias_{i}"]) for i in count],
            values["activation"],
            Lstm(arrays["lstm_weight"], arrays["lstm_bias"]) if values["lstm"] else None,
            values["view"],
            values["history"],
            values["masked"],
        )
