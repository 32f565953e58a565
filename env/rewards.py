"""What a round is worth, in named terms."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.rounds import Floats, RoundResult

MEGABYTE = 2.0**20


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """Weights of the reward's terms; the return is ``-1 / speedup`` with these defaults.

    Attributes:
        time: Virtual seconds over the session's edge-only seconds.
        megabytes: Per MiB on the air, both ways.
        joules: Per joule of device and radio.
        charged: Per target position on the bill.
        deviations: Per unchecked token that the target would not have written.
    """

    time: float = 1.0
    megabytes: float = 0.0
    joules: float = 0.0
    charged: float = 0.0
    deviations: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise InvalidSetting(f"reward.{field.name} must be finite and >= 0, got {value}")

    def terms(
        self, result: RoundResult, elapsed_s: Floats, edge_only_s: Floats
    ) -> dict[str, Floats]:
        """Reward terms, shape ``[B]``; terms of weight 0 are left out.

        Args:
            result: What the rounds did.
            elapsed_s: Session time that passed, the next request's start included.
            edge_only_s: Seconds in which the edge alone would answer the whole session.
        """
        amounts = {
            "time": lambda: elapsed_s / edge_only_s,
            "megabytes": lambda: (result.bytes_up + result.bytes_down) / MEGABYTE,
            "joules": lambda: result.energy_j,
            "charged": lambda: result.charged.astype(float),
            "deviations": lambda: result.deviations.astype(float),
        }
        weights = ((name, getattr(self, name)) for name in amounts)
        return {name: -weight * amounts[name]() for name, weight in weights if weight > 0}


def total(terms: dict[str, Floats], size: int) -> Floats:
    """Sum of reward terms, shape ``[B]``."""
    return np.sum([*terms.values(), np.zeros(size)], axis=0)
