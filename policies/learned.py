"""Learned controllers as folders that run on NumPy alone.

A folder holds ``controller.json`` (format, codec, versions, provenance), ``network.npz``
(weights), ``README.md`` (model card) and ``results.json`` (measured results).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import PolicyMismatch
from covspec_core.rounds import Actions, Status
from env.codec import Codec

FORMAT = 1
DAMAGE = (OSError, KeyError, AttributeError, TypeError, ValueError, EOFError, BadZipFile)
"""What NumPy, zipfile and json raise on files that are no controller; ours is a ValueError."""
Weights = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


class LearnedController:
    """A multilayer perceptron over the codec's observation, one head per action part.

    Args:
        codec: Layout of observation and action.
        layers: Weight ``[in, out]`` and bias ``[out]`` of every layer; tanh between them.
        meta: Provenance, kept in the folder.

    Raises:
        PolicyMismatch: If shapes do not fit the codec.
    """

    def __init__(self, codec: Codec, layers: Weights, meta: dict[str, Any] | None = None) -> None:
        ins = [len(codec.fields), *(bias.size for _, bias in layers[:-1])]
        outs = [*(bias.size for _, bias in layers[:-1]), sum(codec.sizes)]
        shapes = [weight.shape for weight, _ in layers]
        wanted = list(zip(ins, outs, strict=True))
        if shapes != wanted:
            raise PolicyMismatch(f"layers must have shapes {wanted}, got {shapes}")
        if not all(np.isfinite(part).all() for layer in layers for part in layer):
            raise PolicyMismatch("weights must be finite, got NaN or infinity")
        self.codec, self.layers, self.meta = codec, layers, meta or {}
        self.foresees = any(name.startswith("chance_") for name in codec.fields)
        ends = np.cumsum(codec.sizes)
        self._heads = [slice(end - size, end) for end, size in zip(ends, codec.sizes, strict=True)]

    def begin(self, size: int) -> None:
        """Nothing to forget: all memory is in the status."""

    def decide(self, status: Status) -> Actions:
        """The most likely action of every session."""
        return self.codec.decode(self.indices(self.codec.encode(status)))

    def indices(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Most likely action indices for observations ``[B, F]``, shape ``[B, P]``."""
        scores = self.scores(observations)
        return np.stack([scores[:, head].argmax(1) for head in self._heads], axis=1)

    def scores(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unnormalised log-probabilities of every choice, shape ``[B, sum of sizes]``."""
        hidden = observations
        for weight, bias in self.layers[:-1]:
            hidden = np.tanh(hidden @ weight + bias)
        weight, bias = self.layers[-1]
        return hidden @ weight + bias

    def save(self, folder: Path) -> None:
        """Write the folder's network and description; nothing half-written is left behind."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for i, (weight, bias) in enumerate(self.layers):
            arrays |= {f"weight_{i}": weight, f"bias_{i}": bias}
        partial = folder / "network.partial.npz"
        np.savez(partial, **arrays)
        head = {"format": FORMAT, "codec": self.codec.to_dict(), "layers": len(self.layers)}
        text = folder / "controller.partial.json"
        text.write_text(json.dumps(head | {"meta": self.meta}, indent=2))
        partial.replace(folder / "network.npz")
        text.replace(folder / "controller.json")


def load_controller(folder: Path | str, codec: Codec | None = None) -> LearnedController:
    """Load a learned controller; neither Stable-Baselines3 nor torch is imported.

    Args:
        folder: Where :meth:`LearnedController.save` wrote it.
        codec: What it will be used with; must be its own.

    Raises:
        PolicyMismatch: If the folder is no controller, is broken, or was made for another codec.
    """
    folder = Path(folder)
    try:
        head = json.loads((folder / "controller.json").read_text())
        with np.load(folder / "network.npz", allow_pickle=False) as file:
            layers = [(file[f"weight_{i}"], file[f"bias_{i}"]) for i in range(head["layers"])]
        if head["format"] != FORMAT:
            raise PolicyMismatch(f"{folder}: format must be {FORMAT}, got {head['format']}")
        controller = LearnedController(Codec.from_dict(head["codec"]), layers, head["meta"])
    except FileNotFoundError as error:
        missing = error.filename
        raise PolicyMismatch(f"{folder} holds no controller: {missing} is missing") from error
    except DAMAGE as error:
        if isinstance(error, PolicyMismatch):
            raise
        raise PolicyMismatch(f"{folder} holds no readable controller: {error}") from error
    if codec is not None:
        _require_same(folder, controller.codec, codec)
    return controller


def _require_same(folder: Path, own: Codec, wanted: Codec) -> None:
    mine, theirs = own.to_dict(), wanted.to_dict()
    for name, value in mine.items():
        if value != theirs[name]:
            raise PolicyMismatch(
                f"{folder} was trained for {name}={value}, this scenario has {theirs[name]}"
            )
