"""What device and edge cost: seconds, watts and price of every kind of work."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from covspec_core.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """Costs of one device-edge pair. Methods take numbers or arrays.

    Attributes:
        edge_step_s: The target decodes one token alone.
        verify_slope: Each further position of one target pass, as a share of ``edge_step_s``.
        draft_step_s: The draft decodes one token without any visual token.
        draft_keep_s: Added to a draft step when all visual tokens are kept; linear between.
        head_s: The acceptance head after every draft step. Its few thousand weights (140,000 behind
            2,048 hidden entries) beside a draft of billions take 31 to 42 microseconds of one
            processor core (``python -m tests.bench``), under 0.2 % of a step. 0 without a head.
        branch_slope: Each further branch of a batched draft step, as a share of the step.
        device_prefill_s: The draft reads image and question and ranks the visual tokens.
        edge_prefill_s: The target reads image and question.
        catch_up_s: The draft reads one token that the edge decoded without it.
        edge_catch_up_s: The target reads one token that the device committed without it.
        device_w: Power of the device while it computes.
        radio_w: Power of the device's radio while a transfer lasts.
        vocab_size: Entries of a law on the wire (of the pair that the profile stands for).
    """

    edge_step_s: float
    verify_slope: float
    draft_step_s: float
    draft_keep_s: float
    head_s: float
    branch_slope: float
    device_prefill_s: float
    edge_prefill_s: float
    catch_up_s: float
    edge_catch_up_s: float
    device_w: float
    radio_w: float
    vocab_size: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise InvalidSetting(f"profile.{field.name} must be finite and >= 0, got {value}")
        for name in ("edge_step_s", "draft_step_s", "vocab_size"):
            if getattr(self, name) == 0:
                raise InvalidSetting(f"profile.{name} must be above 0, got 0")

    def verify_s(self, positions: Any) -> Any:
        """Seconds of one target pass over new positions: ``t_e (1 + slope (m - 1))``."""
        return self.edge_step_s * (1.0 + self.verify_slope * (positions - 1))

    def draft_s(self, keep: Any) -> Any:
        """Seconds of one draft step, head included, with a share ``keep`` of the visual tokens."""
        return self.draft_step_s + self.head_s + self.draft_keep_s * keep

    def branch_factor(self, width: Any) -> Any:
        """Cost of a draft step on ``width`` branches over that of a single one."""
        return 1.0 + self.branch_slope * (width - 1)
