"""Contexts of the lean decoder: a cache written in place, and branches that share its prefix."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from covspec_core.models.context import check_numbers, check_positions, within_memory
from covspec_core.models.lean import LeanDecoder
from covspec_core.models.lean_steps import MOST_TOKENS
from covspec_core.models.lean_store import Store, empty
from covspec_core.models.protocol import Ids, Outputs

BRANCH_TOKENS: Final = 16
"""Cells that the own end of a branch begins with."""


class LeanContext:
    """One sequence.

    Args:
        decoder: The language model.
        store: Its keys and values.
        prompt_tokens: Positions of the prompt, dropped visual tokens included.
        kept_tokens: Cells that the prompt takes.
        n_tokens: Answer tokens in the cache.
    """

    def __init__(
        self,
        decoder: LeanDecoder,
        store: Store,
        prompt_tokens: int,
        kept_tokens: int,
        n_tokens: int = 0,
    ) -> None:
        self.decoder, self.prompt_tokens, self.kept_tokens = decoder, prompt_tokens, kept_tokens
        self.n_tokens = n_tokens
        self._use(store)

    def _use(self, store: Store) -> None:
        self.store = store
        store.readers.add(self)

    @property
    def length(self) -> int:
        """Cells in use."""
        return self.kept_tokens + self.n_tokens

    def extend(self, ids: Ids) -> Outputs:
        """Append answer tokens; see :class:`~covspec_core.models.protocol.Context`.

        Raises:
            ModelFailure: If the model has no positions or no memory left, or gives no numbers.
        """
        decoder, start, new = self.decoder, self.prompt_tokens + self.n_tokens, len(ids)
        check_positions(start + new, decoder.max_tokens, decoder.name)
        with within_memory(decoder.name, f"{new} tokens behind {start}"):
            outputs = self._say(ids, start)
        check_numbers(outputs, decoder.name, self.n_tokens + 2)
        self.n_tokens += new
        return outputs

    def _say(self, ids: Ids, position: int) -> Outputs:
        """What the model says behind tokens that fill the next cells."""
        steps, start, new = self.decoder.steps, self.length, len(ids)
        if steps is None or new > MOST_TOKENS:
            return self._say_at_length(ids, position)
        self._own(start, start + new)
        assert self.store.array is not None
        return steps(ids, self.store.array, start, position)

    @torch.inference_mode()
    def _say_at_length(self, ids: Ids, position: int) -> Outputs:
        decoder = self.decoder
        rotary = decoder.rotary(slice(position, position + len(ids)))
        return decoder.outputs(self._read(decoder.embed(ids), rotary))

    def _read(self, x: Tensor, rotary: tuple[Tensor, Tensor], last: int = 0) -> Tensor:
        """The last layer's output for new inputs ``[new, hidden]``, which fill the next cells.

        With ``last`` only for so many at the end: nobody asks what a model says within a prompt.
        """
        start, end = self.length, self.length + x.shape[0]
        self._own(start, end)
        mask = self.decoder.mask(x.shape[0], end) if start else None
        final = self.decoder.layers[-1]
        for layer, (keys, values) in zip(self.decoder.layers, self.store.layers, strict=True):
            q, k, v = self.decoder.project(layer, x, rotary)
            keys[:, start:end], values[:, start:end] = k.transpose(0, 1), v.transpose(0, 1)
            seen = keys[None, :, :end], values[None, :, :end]
            if layer is final and last:
                x, q = x[-last:], q[-last:]
                attended = _later(q, *seen, self.decoder.mask(last, end))
            else:
                attended = _later(q, *seen, mask) if start else _first(q, *seen)
            x = self.decoder.finish(layer, x, attended)
        return x

    def _own(self, start: int, end: int) -> None:
        store = self.store.writable(self, start, end)
        if store is not self.store:
            self.store.readers.discard(self)
            self._use(store)

    @torch.inference_mode()
    def append(self, cells: Tensor) -> None:
        """Append answer tokens whose keys and values are known, ``[..., new, size]``."""
        start, end = self.length, self.length + cells.shape[3]
        self._own(start, end)
        self.store.cells[:, :, :, start:end] = cells
        self.n_tokens += cells.shape[3]

    def rollback(self, n_tokens: int) -> None:
        """Drop the last answer tokens until ``n_tokens`` are left."""
        assert 0 <= n_tokens <= self.n_tokens
        self.n_tokens = n_tokens

    def fork(self, branches: int) -> BranchContext:
        """A context that continues this one ``branches`` times side by side.

        Raises:
            OutOfMemory: If the branches do not fit; this context stays as it was.
        """
        with within_memory(self.decoder.name, f"a cache of {branches} branches"):
            return BranchContext(self, branches)

    def select(self, branch: int) -> LeanContext:
        """The single sequence, going its own way from here."""
        assert branch == 0
        return LeanContext(
            self.decoder, self.store, self.prompt_tokens, self.kept_tokens, self.n_tokens
        )


@torch.inference_mode()
def prefill(
    decoder: LeanDecoder, embeds: Tensor, positions: Tensor, prompt_tokens: int
) -> tuple[LeanContext, Outputs]:
    """Read a prompt.

    Args:
        decoder: The language model.
        embeds: Input vectors of the tokens that are kept, ``[kept, hidden]``.
        positions: Their positions in the prompt, ``[kept]``.
        prompt_tokens: Positions of the whole prompt.

    Raises:
        ModelFailure: If the model has no memory left or gives no numbers.
    """
    with within_memory(decoder.name, f"a prompt of {len(embeds)} tokens"):
        context = LeanContext(decoder, Store(decoder, len(embeds)), prompt_tokens, 0)
        x = context._read(embeds, decoder.rotary(positions), last=1)
        outputs = decoder.outputs(x[None])
    check_numbers(outputs, decoder.name, 1)
    context.kept_tokens = len(embeds)
    return context, outputs.at(0).at(-1)


class BranchContext:
    """Several continuations of one sequence: they share its cache and keep their own ends.

    Args:
        trunk: The sequence, as it stands now.
        branches: Number of continuations.
    """

    def __init__(self, trunk: LeanContext, branches: int) -> None:
        self.decoder, self.store = trunk.decoder, trunk.store
        self.prompt_tokens, self.kept_tokens = trunk.prompt_tokens, trunk.kept_tokens
        self.branches, self._trunk_tokens, self._own_tokens = branches, trunk.n_tokens, 0
        self._own = empty(self.decoder, (branches,), BRANCH_TOKENS)
        self.store.readers.add(self)

    @property
    def n_tokens(self) -> int:
        """Answer tokens in the cache."""
        return self._trunk_tokens + self._own_tokens

    @property
    def length(self) -> int:
        """Shared cells in use."""
        return self.kept_tokens + self._trunk_tokens

    @torch.inference_mode()
    def extend(self, ids: Ids) -> Outputs:
        """Append answer tokens, ``[branches, new]``; errors as those of a single sequence."""
        decoder, new, start = self.decoder, ids.shape[1], self.prompt_tokens + self.n_tokens
        check_positions(start + new, decoder.max_tokens, decoder.name)
        with within_memory(decoder.name, f"{self.branches} x {new} tokens behind {start}"):
            x = self._read(decoder.embed(ids).flatten(0, 1), start, new)
            outputs = decoder.outputs(x.view(self.branches, new, -1))
        check_numbers(outputs, decoder.name, self.n_tokens + 2)
        self._own_tokens += new
        return outputs

    def _read(self, x: Tensor, start: int, new: int) -> Tensor:
        """The last layer's output for new inputs ``[branches * new, hidden]``."""
        self._make_room(new)
        cos, sin = self.decoder.rotary(slice(start, start + new))
        rotary = cos.repeat(self.branches, 1, 1), sin.repeat(self.branches, 1, 1)
        for index, layer in enumerate(self.decoder.layers):
            x = self.decoder.finish(layer, x, self._attend(index, x, rotary, new))
        return x

    def _make_room(self, new: int) -> None:
        end = self._own_tokens + new
        if end > self._own.shape[4]:
            more = empty(self.decoder, (self.branches,), 2 * end)
            more[..., : self._own_tokens, :] = self._own[..., : self._own_tokens, :]
            self._own = more

    def _attend(self, index: int, x: Tensor, rotary: tuple[Tensor, Tensor], new: int) -> Tensor:
        """Attention of ``[branches * new, hidden]`` to the shared cells and each branch's own."""
        start, end = self._own_tokens, self._own_tokens + new
        q, k, v = (
            part.reshape(self.branches, new, *part.shape[1:]).transpose(1, 2)
            for part in self.decoder.project(self.decoder.layers[index], x, rotary)
        )
        keys, values = self._own[index, :, :, :, :end]
        keys[:, :, start:], values[:, :, start:] = k, v
        shared_keys, shared_values = self.store.cells[index, :, :, : self.length]
        # [keys, branches, new * group, size]: rows of one key head in all branches stand together.
        heads = self.decoder.heads
        q = q.reshape(self.branches, heads.keys, -1, new, heads.size).permute(1, 0, 3, 2, 4)
        q = q.flatten(2, 3) * heads.size**-0.5
        far = (q.flatten(1, 2) @ shared_keys.mT).view(*q.shape[:3], -1)
        near = q @ keys.transpose(0, 1).mT
        mask = self.decoder.mask(new, end)
        near = near if mask is None else near + mask
        weights = torch.cat((far, near), -1).softmax(-1)
        far, near = weights[..., : self.length], weights[..., self.length :]
        mixed = (far.flatten(1, 2) @ shared_values).view_as(q) + near @ values.transpose(0, 1)
        mixed = mixed.view(heads.keys, self.branches, new, -1, heads.size)
        return mixed.permute(1, 2, 0, 3, 4).reshape(len(x), -1)

    def rollback(self, n_tokens: int) -> None:
        """Drop the last answer tokens of every branch until ``n_tokens`` are left."""
        assert 0 <= n_tokens <= self.n_tokens
        self._own_tokens = max(0, n_tokens - self._trunk_tokens)
        self._trunk_tokens = min(n_tokens, self._trunk_tokens)

    def fork(self, branches: int) -> BranchContext:
        """A context that continues the first branch ``branches`` times side by side."""
        return self.select(0).fork(branches)

    def select(self, branch: int) -> LeanContext:
        """The single sequence of one branch."""
        context = LeanContext(
            self.decoder, self.store, self.prompt_tokens, self.kept_tokens, self._trunk_tokens
        )
        context.append(self._own[:, :, branch, :, : self._own_tokens])
        return context


def _first(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Causal attention of a whole prompt: queries ``[n, heads, size]``, keys ``[1, ..., n, size]``.

    Returns:
        Shape ``[n, heads * size]``.
    """
    out = functional.scaled_dot_product_attention(
        q.transpose(0, 1)[None], keys, values, is_causal=True, enable_gqa=True
    )
    return out[0].transpose(0, 1).flatten(1)


def _later(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of the last positions; queries that share a key head are rows of one head."""
    new, n_keys = q.shape[0], keys.shape[1]
    if new == 1:
        rows = q.view(1, n_keys, -1, q.shape[-1])
        return functional.scaled_dot_product_attention(rows, keys, values).view(1, -1)
    rows = q.reshape(new, n_keys, -1, q.shape[-1]).transpose(0, 1).flatten(1, 2)[None]
    out = functional.scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
    return out[0].view(n_keys, new, -1).transpose(0, 1).flatten(1)
