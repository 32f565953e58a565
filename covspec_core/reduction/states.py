"""What a model says about the tokens of one image, and the scores that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidSetting

Array = NDArray[np.floating[Any]]
Order = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class VisualStates:
    """What a model's first layers say about an image's tokens.

    Attributes:
        relevance: Attention of the question's keywords to each token, ``[n_visual]``.
        early: Hidden states after an early layer, ``[n_visual, hidden]``.
        deep: Hidden states after a deeper layer, same shape.
        features: Input vectors of the language model, ``[n_visual, any]``.
        received: Attention that each token receives within the vision encoder, ``[n_visual]``.
        verifier: Attention of the question to each token in the target, ``[n_visual]``.

    Raises:
        InvalidSetting: If the shapes do not fit.
    """

    relevance: Array
    early: Array
    deep: Array
    features: Array | None = None
    received: Array | None = None
    verifier: Array | None = None

    def __post_init__(self) -> None:
        if self.early.shape != self.deep.shape or self.early.shape[:1] != self.relevance.shape:
            shapes = (self.relevance.shape, self.early.shape, self.deep.shape)
            raise InvalidSetting(
                f"relevance, early and deep must be [n], [n, hidden], [n, hidden], got {shapes}"
            )
        for name in ("features", "received", "verifier"):
            values = getattr(self, name)
            if values is not None and values.shape[:1] != self.relevance.shape:
                raise InvalidSetting(
                    f"{name} must have {self.n_visual} rows, one a visual token, "
                    f"got shape {values.shape}"
                )

    @property
    def n_visual(self) -> int:
        """Visual tokens of the image."""
        return len(self.relevance)


def activity(states: VisualStates) -> Array:
    """How much each token changes from layer to layer: ``1 - cos`` in [0, 2], ``[n_visual]``."""
    norms = np.linalg.norm(states.early, axis=1) * np.linalg.norm(states.deep, axis=1)
    return 1.0 - np.einsum("ij,ij->i", states.early, states.deep) / np.maximum(norms, 1e-12)


def standard(values: Array) -> Array:
    """Standard scores; all 0 if the values do not differ."""
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1.0)


def descending(scores: Array) -> Order:
    """Tokens from the highest score to the lowest, equal ones in image order, ``[n_visual]``."""
    return np.argsort(-scores, kind="stable").astype(np.int64)
