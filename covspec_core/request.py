"""What live rounds are about: a request, the pair that answers it, and what is read of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.acceptance import AcceptanceHead
from covspec_core.errors import InvalidRequest, InvalidSetting
from covspec_core.models.protocol import Prompt, VisionLanguageModel
from covspec_core.reduction import Merging, VisualStates, activity


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One image and question.

    Attributes:
        image: Pillow image.
        image_bytes: Bytes in which image and question travel.
        question: Text.
        key: Noise key that decides every draw.
        tokens: Length of the recorded answer, if there is one.
    """

    image: Any
    image_bytes: int
    question: str
    key: int
    tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Draft and target with one vocabulary, and how the device ranks visual tokens.

    Attributes:
        draft: The small model on the device.
        target: The large one on the edge.
        order: Ranks visual tokens; every share kept is a prefix.
        head: Foresees the acceptance; without one every chance is said to be 0.
        merging: Merges dropped visual tokens into some of the kept; without it they are gone.
    """

    draft: VisionLanguageModel
    target: VisionLanguageModel
    order: Callable[[VisualStates], NDArray[np.int64]]
    head: AcceptanceHead | None = None
    merging: Merging | None = None

    def __post_init__(self) -> None:
        if self.draft.vocab_size != self.target.vocab_size:
            raise InvalidSetting(
                "draft and target must share one vocabulary, got "
                f"{self.draft.vocab_size} and {self.target.vocab_size} entries"
            )
        if self.head is not None and self.head.hidden_size != self.draft.hidden_size:
            raise InvalidSetting(
                f"the acceptance head must read {self.draft.hidden_size} hidden entries, "
                f"got {self.head.hidden_size}"
            )

    def seen(
        self, prompt: Prompt, states: VisualStates, order: NDArray[np.int64], keep: float
    ) -> tuple[Prompt, NDArray[np.int64]]:
        """What the draft reads at a share: its prompt, and which visual tokens of it."""
        if self.merging is None:
            return prompt, kept_tokens(order, keep)
        merged = self.merging(states, order, round(keep * len(order)))
        return prompt.merged(merged), merged.kept


def kept_tokens(order: NDArray[np.int64], keep: float) -> NDArray[np.int64]:
    """The visual tokens that a share keeps, in image order."""
    kept: NDArray[np.int64] = np.sort(order[: round(keep * len(order))])
    return kept


class Prompts:
    """A request as both models read it, and how its visual tokens rank.

    Args:
        pair: The models.
        request: Image and question.
        limit: Most answer tokens.

    Attributes:
        draft: Prompt of the small model.
        target: Prompt of the large one.

    Raises:
        InvalidRequest: If no prompt can be made of the request, or its answer has no room.
    """

    def __init__(self, pair: Pair, request: Request, limit: int) -> None:
        self._pair = pair
        self.draft = pair.draft.prompt(request.image, request.question)
        self.target = pair.target.prompt(request.image, request.question)
        for model, prompt in ((pair.draft, self.draft), (pair.target, self.target)):
            _check_room(model, prompt, limit)

    @cached_property
    def ranked(self) -> tuple[VisualStates, NDArray[np.int64]]:
        """What visual tokens are ranked by, and their order; read once, when asked.

        Every share kept is a prefix of the order, unless dropped tokens are merged.
        """
        states = self._pair.draft.visual_states(self.draft)
        return states, self._pair.order(states)

    def seen(self, keep: float) -> tuple[Prompt, NDArray[np.int64] | None]:
        """What the draft reads at a share: its prompt, and which visual tokens of it (or all)."""
        return (self.draft, None) if keep >= 1 else self._pair.seen(self.draft, *self.ranked, keep)

    def statistics(self) -> NDArray[np.float32]:
        """Prefill statistics; see :func:`statistics`."""
        return statistics(self.draft, self.ranked[0])


def _check_room(model: VisionLanguageModel, prompt: Prompt, limit: int) -> None:
    if len(prompt.ids) + limit > model.max_tokens:
        raise InvalidRequest(
            f"a prompt of {len(prompt.ids)} tokens and an answer of up to {limit} must "
            f"fit the {model.max_tokens} positions of the model; lower the limit or ask less"
        )


def statistics(prompt: Prompt, states: VisualStates) -> NDArray[np.float32]:
    """Prefill statistics, in the order of ``covspec_core.source.STATISTICS``."""
    attention = states.relevance / states.relevance.sum()
    energy = np.linalg.svd(states.deep - states.deep.mean(0), compute_uv=False) ** 2
    return np.array(
        [
            len(prompt.ids) - len(prompt.visual),
            -(attention * np.log(np.maximum(attention, 1e-12))).sum(),
            activity(states).mean(),
            energy.sum() ** 2 / max((energy**2).sum(), 1e-12),
        ],
        dtype=np.float32,
    )
