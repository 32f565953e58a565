"""What the engine asks of a vision-language model, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from covspec_core.reduction import Merged, VisualStates

Ids = NDArray[np.int64]
Logits = NDArray[np.float32]

DECODERS = ("auto", "lean", "library")
"""Who runs a model: the lean code wherever it can, the lean decoder in any case, or the library."""


class Outputs(NamedTuple):
    """What a model says behind one or several texts.

    Attributes:
        logits: Of the next token, shape ``[..., vocab]``.
        hidden: Last hidden state, from which they were read, shape ``[..., hidden]``.
    """

    logits: Logits
    hidden: NDArray[np.float32]

    def at(self, index: int) -> Outputs:
        """One entry of the first axis."""
        return Outputs(self.logits[index], self.hidden[index])


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """One image and question, encoded for one model.

    Attributes:
        ids: Prompt token ids with every visual placeholder in place, shape ``[prompt]``.
        visual: Positions of the visual tokens in ``ids``, shape ``[n_visual]``.
        keywords: Positions of the question's content words, shape ``[n_keywords]``.
        features: The model's own encoding of the image, one row a visual token.
        received: Attention that each visual token receives in the encoder, ``[n_visual]``; only
            from a model that was asked for it.
        guide: The same image and question for the model that guides the reduction, if one does.
        positions: Rotary positions of the tokens, ``[prompt]``, or of all their parts,
            ``[parts, prompt]``; ``None`` from a model that has none.
    """

    ids: Ids
    visual: Ids
    keywords: Ids
    features: Any
    received: NDArray[np.float32] | None = None
    guide: Prompt | None = None
    positions: Ids | None = None

    def merged(self, into: Merged) -> Prompt:
        """The same prompt with dropped visual tokens merged into some of the kept ones."""
        # Imported here: settings and replays read this module, and need no torch.
        import torch

        features = torch.as_tensor(self.features).clone()
        weights = torch.as_tensor(into.weights, dtype=features.dtype, device=features.device)
        features[torch.as_tensor(into.kept, device=features.device)] = weights @ features
        return replace(self, features=features)


class Context(Protocol):
    """Key-value cache of one sequence (or of several branches of it).

    The answer goes on behind the whole prompt however many visual tokens were dropped, and those
    that were kept stay where they were.
    """

    @property
    def n_tokens(self) -> int:
        """Answer tokens in the cache."""

    def extend(self, ids: Ids) -> Outputs:
        """Append answer tokens.

        Args:
            ids: Token ids, shape ``[new]``, or ``[branches, new]`` after :meth:`fork`.

        Returns:
            What the model says after each of them, leading shape ``ids.shape``.
        """

    def rollback(self, n_tokens: int) -> None:
        """Drop the last answer tokens until ``n_tokens`` are left, without recomputation."""

    def fork(self, branches: int) -> Context:
        """A context that continues this one ``branches`` times side by side."""

    def select(self, branch: int) -> Context:
        """The single sequence of one branch of a forked context."""


class VisionLanguageModel(Protocol):
    """A causal model that reads an image and a question."""

    @property
    def vocab_size(self) -> int:
        """Entries of a law."""

    @property
    def hidden_size(self) -> int:
        """Entries of a hidden state."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""

    @property
    def max_tokens(self) -> int:
        """Positions that a prompt and its answer may take together."""

    def prompt(self, image: Any, question: str) -> Prompt:
        """Encode a Pillow image and a question."""

    def prefill(self, prompt: Prompt, kept: Ids | None = None) -> tuple[Context, Outputs]:
        """Read a prompt.

        Args:
            prompt: From :meth:`prompt`.
            kept: Indices of the visual tokens to read (all if ``None``).

        Returns:
            The context, and what the model says about the first answer token.
        """

    def visual_states(self, prompt: Prompt) -> VisualStates:
        """The signals from which visual tokens are ranked."""

    def decode(self, ids: Ids) -> str:
        """Text of answer tokens."""
