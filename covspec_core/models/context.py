"""Key-value caches of Hugging Face language models: extend, roll back, branch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers.cache_utils import DynamicCache

from covspec_core.errors import ModelFailure, OutOfMemory
from covspec_core.models.protocol import Ids, Outputs

if TYPE_CHECKING:
    from covspec_core.models.hf import HFModel


@contextmanager
def within_memory(name: str, work: str) -> Iterator[None]:
    """Say which model ran out of memory, and at what.

    Raises:
        OutOfMemory: If torch or the system has no memory left.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):  # what torch says on a CPU
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(f"{name} ran out of memory at {work}") from error


def check_numbers(outputs: Outputs, name: str, first: int) -> Outputs:
    """Outputs whose logits are numbers.

    Args:
        outputs: Leading shape ``[positions]`` or ``[rows, positions]``.
        name: Of the model.
        first: Answer token that the first position foretells, from 1.

    Raises:
        ModelFailure: If a logit is NaN or infinite.
    """
    if not np.isfinite(outputs.logits).all():
        finite = np.isfinite(outputs.logits).all(-1)
        bad = ~finite.reshape(-1, finite.shape[-1]).all(0)
        token = first + int(bad.argmax())
        raise ModelFailure(f"{name} gave NaN or infinite logits for answer token {token}")
    return outputs


def check_positions(end: int, most: int, name: str) -> None:
    """Refuse to read on behind the last position of a model.

    Raises:
        ModelFailure: If ``end`` lies behind it.
    """
    if end > most:
        raise ModelFailure(f"prompt and answer must fit the {most} positions of {name}, got {end}")


class HFContext:
    """One sequence, or several branches of it, in a ``DynamicCache``.

    Args:
        model: Whose cache it is.
        cache: Keys and values of prompt and answer.
        prompt_tokens: Tokens of the unpruned prompt.
        n_tokens: Answer tokens in the cache.
        shift: What the rotary position of an answer token has beyond a plain count of the tokens
            before it; Qwen2.5-VL's ``rope_deltas``.
    """

    def __init__(
        self, model: HFModel, cache: DynamicCache, prompt_tokens: int, n_tokens: int, shift: int = 0
    ) -> None:
        self._model, self._cache = model, cache
        self._prompt_tokens, self._n_tokens, self._shift = prompt_tokens, n_tokens, shift

    @property
    def n_tokens(self) -> int:
        """Answer tokens in the cache."""
        return self._n_tokens

    def extend(self, ids: Ids) -> Outputs:
        """Append answer tokens; see :class:`~covspec_core.models.protocol.Context`.

        Raises:
            ModelFailure: If the model has no positions or no memory left, or gives no numbers.
        """
        model, rows = self._model, torch.from_numpy(np.atleast_2d(ids)).to(self._model.device)
        start, new = self._prompt_tokens + self._n_tokens, rows.shape[1]
        check_positions(start + new, model.max_tokens, model.name)
        first = start + self._shift
        positions = torch.arange(first, first + new, device=rows.device)[None]
        with within_memory(model.name, f"{len(rows)} x {new} tokens behind {start}"):
            outputs = model.forward(model.embed(rows), positions, self._cache)
        check_numbers(outputs, model.name, self._n_tokens + 2)
        self._n_tokens += new
        return outputs if ids.ndim == 2 else outputs.at(0)

    def rollback(self, n_tokens: int) -> None:
        """Drop the last answer tokens until ``n_tokens`` are left."""
        assert 0 <= n_tokens <= self._n_tokens
        self._cache.crop(n_tokens - self._n_tokens)
        self._n_tokens = n_tokens

    def fork(self, branches: int) -> HFContext:
        """A context that continues this one ``branches`` times side by side.

        Raises:
            OutOfMemory: If the branches do not fit; this context stays as it was.
        """
        return self._with_rows(torch.zeros(branches, dtype=torch.long))

    def select(self, branch: int) -> HFContext:
        """The single sequence of one branch."""
        return self._with_rows(torch.tensor([branch]))

    def _with_rows(self, rows: torch.Tensor) -> HFContext:
        # Layers replace their tensors on update, so a shallow copy leaves this context intact.
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        # Indices on the CPU serve tensors on any device, also layers spread over several.
        with within_memory(self._model.name, f"a cache of {len(rows)} branches"):
            cache.batch_select_indices(rows)
        return HFContext(self._model, cache, self._prompt_tokens, self._n_tokens, self._shift)
