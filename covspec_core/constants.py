"""What a controller sees of protocol and hardware: the same in every round of a scenario."""

from __future__ import annotations

from covspec_core import wire
from covspec_core.scenario import Scenario

CONSTANTS = (
    "token_bytes", "refusal_bytes", "edge_step_s", "draft_cost", "keep_cost", "position_cost",
)  # fmt: skip
"""Names of these status fields."""


def status_constants(scenario: Scenario) -> dict[str, float]:
    """Status fields that stay as they are: what the device knows of protocol and hardware.

    They tell scenarios apart whose best controls differ, so that one controller can play them all.
    """
    profile, kind = scenario.profile, scenario.protocol
    vocab, step_s = profile.vocab_size, profile.edge_step_s
    up = [wire.upload_bytes(kind, 0, drafted, vocab) for drafted in (1, 2)]
    verdict = [int(wire.download_bytes(kind, refused, vocab)) for refused in (False, True)]
    asked = sum(wire.again_bytes(kind, vocab)) if kind.law_asked else 0
    return {
        "token_bytes": float(up[1] - up[0]),
        "refusal_bytes": float(verdict[1] + asked),
        "edge_step_s": step_s,
        "draft_cost": profile.draft_s(0.0) / step_s,
        "keep_cost": profile.draft_keep_s / step_s,
        "position_cost": profile.verify_slope,
    }
