"""Short steps of a small lean decoder, compiled: a few new positions, all on one processor.

A layer of a small model is done sooner than a library has called its dozen operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covspec_core.kernels import layer_kernel
from covspec_core.models.protocol import Ids, Outputs

if TYPE_CHECKING:
    from covspec_core.models.lean import LeanDecoder

Array = NDArray[np.float32]

MOST_TOKENS: Final = 16
"""New positions of one step: beyond them a library's products are faster."""
MOST_WEIGHTS: Final = 1 << 20
"""Entries of a layer's largest matrix: beyond them several threads are worth their while."""


def compilable(decoder: LeanDecoder) -> bool:
    """Whether short steps of a decoder can be compiled, and gain by it."""
    small = all(layer.gate_up.numel() <= MOST_WEIGHTS for layer in decoder.layers)
    return small and decoder.device.type == "cpu" and decoder.head.dtype == torch.float32


class Steps:
    """Reads tokens behind a text; see :func:`compilable`.

    Args:
        decoder: Whose weights are read, where they are.
    """

    def __init__(self, decoder: LeanDecoder) -> None:
        self._heads, self._eps = decoder.heads, np.float32(decoder.eps)
        self._cos, self._sin = (table[:, 0].numpy() for table in decoder.tables)
        self._embeddings, self._norm = decoder.embeddings.numpy(), decoder.norm.numpy()
        self._head = decoder.head.numpy()
        self._layers = [_arrays(layer) for layer in decoder.layers]
        self._width = max(len(weights[5]) for weights in self._layers)

    def __call__(self, ids: Ids, cells: Array, start: int, position: int) -> Outputs:
        """What the model says behind tokens.

        Args:
            ids: The tokens, ``[new]``.
            cells: Keys and values of the text, ``[layers, 2, key heads, cells, size]``, to which
                those of the tokens are added.
            start: Cells in use.
            position: Of the first token.
        """
        kernel, x = layer_kernel(), self._embeddings[ids]
        new, hidden = x.shape
        places = slice(position, position + new)
        where = self._eps, self._cos[places], self._sin[places]
        heads = self._heads
        queries, keys = heads.queries * heads.size, heads.keys * heads.size
        room = [_empty(new, n) for n in (hidden, queries + 2 * keys, queries, self._width)]
        scores = np.empty(start + new, dtype=np.float32)
        for weights, own in zip(self._layers, cells, strict=True):
            kernel.layer(x, *weights, *where, own, start, *room, scores)
        logits = _empty(new, len(self._head))
        kernel.say(x, self._norm, self._eps, self._head, room[0], logits)
        return Outputs(logits, room[0])


def _empty(rows: int, columns: int) -> Array:
    return np.empty((rows, columns), dtype=np.float32)


def _arrays(layer: Any) -> tuple[Array, ...]:
    """Weights of a layer as the kernel takes them; a bias of 0 where there is none."""
    bias = torch.zeros(len(layer.qkv)) if layer.qkv_bias is None else layer.qkv_bias
    weights: tuple[Tensor, ...] = (
        layer.norm, layer.qkv, bias, layer.out.t(), layer.mlp_norm, layer.gate_up, layer.down.t()
    )  # fmt: skip
    return tuple(weight.contiguous().numpy() for weight in weights)
