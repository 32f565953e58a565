"""Where lean contexts keep keys and values: cells written in place, shared until one writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import torch
from torch import Tensor

if TYPE_CHECKING:
    from covspec_core.models.lean import LeanDecoder
    from covspec_core.models.lean_context import BranchContext, LeanContext

SPARE_TOKENS: Final = 64
"""Least room of a cache beyond what it was made for; a quarter of that if it is more."""


class Store:
    """Keys and values of one text, ``[layers, 2, key heads, cells, size]``; several may read it.

    A reader that wants to write where another one still reads takes a copy first. Usually nobody
    does: a branch that was chosen goes on in the store of the context that it came from.

    Attributes:
        cells: All of it.
        layers: Keys and values of every layer, as views.
        array: The same memory for compiled steps, where the decoder has them.
        readers: Contexts that use it.
    """

    def __init__(self, decoder: LeanDecoder, cells: int) -> None:
        self.cells = empty(decoder, (), with_spare(cells))
        self.layers = [(keys, values) for keys, values in self.cells]
        self.array = None if decoder.steps is None else self.cells.numpy()
        self.readers: WeakSet[LeanContext | BranchContext] = WeakSet()

    def writable(self, by: LeanContext, start: int, end: int) -> Store:
        """A store whose cells from ``start`` to ``end`` are the reader's own."""
        shared = len(self.readers) > 1 and any(
            reader.length > start for reader in self.readers if reader is not by
        )
        return self._copied(by, start, end) if shared or end > self.cells.shape[3] else self

    @torch.inference_mode()
    def _copied(self, by: LeanContext, start: int, end: int) -> Store:
        store = Store(by.decoder, end)
        store.cells[:, :, :, :start] = self.cells[:, :, :, :start]
        return store


def with_spare(cells: int) -> int:
    """Cells of a cache made for so many, where the model has as many positions."""
    return cells + max(cells // 4, SPARE_TOKENS)


def empty(decoder: LeanDecoder, rows: tuple[int, ...], cells: int) -> Tensor:
    """Cells for keys and values, ``[layers, 2, *rows, key heads, cells, size]``."""
    heads, room = decoder.heads, min(cells, decoder.max_tokens)
    shape = (len(decoder.layers), 2, *rows, heads.keys, room, heads.size)
    return torch.empty(shape, dtype=decoder.head.dtype, device=decoder.device)
