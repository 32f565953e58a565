"""What a device foresees where its draft stands, and of the tokens that it draws there."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.acceptance import DRAWN, AcceptanceHead, Array, features_of, token_features
from covspec_core.rounds import CHANCES, Floats


class Forecast:
    """Margins, entropies and what the head says behind some texts; nothing is read unasked.

    Args:
        head: Without one every chance is 0.
        hidden: Draft's last hidden states, shape ``[n, hidden]``.
        signal: Laws from which confidence is read, shape ``[n, vocab]``.
        keep: Share of visual tokens that the draft sees.
    """

    def __init__(
        self,
        head: AcceptanceHead | None,
        hidden: NDArray[np.float32],
        signal: ver.Law,
        keep: float,
    ) -> None:
        self._head, self._hidden, self._signal, self._keep = head, hidden, signal, float(keep)

    @cached_property
    def margin(self) -> Floats:
        """Margins of the laws, shape ``[n]``."""
        return ver.margin(self._signal)

    @cached_property
    def entropy(self) -> Floats:
        """Entropies of the laws, nats, shape ``[n]``."""
        return ver.entropy(self._signal)

    @cached_property
    def features(self) -> Array:
        """What a head reads of the texts, shape ``[n, F]``."""
        return features_of(self._hidden, self.entropy, self.margin, self._keep)

    @property
    def chances(self) -> NDArray[np.uint8]:
        """That the next tokens stand, in steps of ``1 / GRID``, shape ``[n, len(CHANCES)]``."""
        if self._head is None:
            return np.zeros((len(self._hidden), len(CHANCES)), dtype=np.uint8)
        return self._head.chances(self.features)

    def of_drawn(self, tokens: NDArray[np.integer]) -> NDArray[np.uint8]:
        """What the head says of tokens drawn there, likewise, shape ``[n, len(DRAWN)]``."""
        if self._head is None:
            return np.zeros((len(self._hidden), len(DRAWN)), dtype=np.uint8)
        return self._head.of_drawn(self.features, token_features(self._signal, tokens))
