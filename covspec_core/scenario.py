"""Everything around a controller: workload, hardware, link, protocol and the choices it has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from covspec_core.errors import InvalidSetting
from covspec_core.links.channels import Channel
from covspec_core.profile import HardwareProfile
from covspec_core.rounds import GATE_OFF, STOP_OFF
from covspec_core.wire import WireProtocol
from covspec_core.wire.frame import MOST_COUNT

KEEP_CONTROLS = PER_REQUEST, PER_ROUND = ("per_request", "per_round")
GATES = ("block", "token", "uncertainty")
"""What passes unchecked: blocks whose smallest margin reaches the threshold (CoVSpec, read by the
block); such blocks and, in those that are sent, each token whose margin reaches it (read by the
token); blocks whose tokens a draw at another temperature would repeat (U-HLM, on one token)."""
MOST_TOKENS = MOST_COUNT
"""Tokens of one kind that a message's header can count."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one environment emulates.

    Attributes:
        profile: Costs of device and edge.
        link: Channel model from which sessions draw their links.
        protocol: Who sends what.
        keep_levels: Shares of visual tokens a controller may choose, ascending.
        keep_control: When it may, one of ``KEEP_CONTROLS``: before the first round of a request, or
            before every round, where a change costs a new prefill of the draft.
        draft_lengths: Draft lengths it may choose, ascending; 0 is the edge alone.
        branch_widths: Branch widths it may choose, ascending.
        gate: How a gate's threshold is read, one of ``GATES``.
        gate_threshold: Confidence from which a controller without a gate of its own skips checks;
            infinity keeps decoding lossless.
        gate_levels: Confidences among which a learned controller chooses instead, ascending; with
            none it keeps to ``gate_threshold``.
        entropy_levels: Entropies beyond which a token is a block's last, among which a learned
            controller chooses, nats, ascending; with none it has no such stop.
        stop_levels: Chances below which a block ends, likewise, ascending; see
            :class:`~covspec_core.rounds.RoundAction`.
        max_skipped: Tokens that may stand unchecked at most (gate).
        post_verify: A block that stands brings no bonus token: the device goes on behind it while
            it is checked, whatever the branch width (PEARL, arXiv 2408.11850).
        pre_verify: The first token of a longer block is judged while the others are drafted; a gate
            has to be off then, since it reads a whole block.
        edge_burst: Tokens the edge decodes alone when the draft length is 0.
        reads_along: A device that has read the request reads what a streaming edge writes, and so
            foresees what would become of a draft of its own.
        requests: Requests of one session.
        link_rows: Realisations of the link to draw from.
        link_s: Length of each, seconds; it repeats afterwards.
        device_factor: Range of seconds of device work over the profile's, drawn log-uniformly.
        edge_factor: The same for the edge.
        hardware_draw: Which of many independent draws within these ranges; splits of a world have
            one each.
        deadline_s: A round that lasts longer means that the link is dead.
    """

    profile: HardwareProfile
    link: Channel
    protocol: WireProtocol
    keep_levels: tuple[float, ...] = (0.0, 1 / 12, 1 / 6, 1 / 3, 1.0)
    keep_control: str = PER_REQUEST
    draft_lengths: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 8, 10)
    branch_widths: tuple[int, ...] = (0, 1, 2, 4)
    gate: str = "block"
    gate_threshold: float = GATE_OFF
    gate_levels: tuple[float, ...] = ()
    entropy_levels: tuple[float, ...] = ()
    stop_levels: tuple[float, ...] = ()
    max_skipped: int = 16
    post_verify: bool = False
    pre_verify: bool = False
    edge_burst: int = 4
    reads_along: bool = True
    requests: int = 4
    link_rows: int = 128
    link_s: float = 120.0
    device_factor: tuple[float, float] = (0.8, 1.25)
    edge_factor: tuple[float, float] = (0.8, 1.25)
    hardware_draw: int = 0
    deadline_s: float = 120.0

    def __post_init__(self) -> None:
        _ascending("keep_levels", self.keep_levels, 0.0, 1.0)
        _ascending("draft_lengths", self.draft_lengths, 0, MOST_TOKENS)
        _ascending("branch_widths", self.branch_widths, 0, 64)
        _ascending("device_factor", self.device_factor, 1e-3, 1e3)
        _ascending("edge_factor", self.edge_factor, 1e-3, 1e3)
        self._check_kinds()
        if not self.gate_threshold >= 0:
            raise InvalidSetting(f"gate_threshold must be >= 0, got {self.gate_threshold}")
        self._check_optional_parts()
        if self.pre_verify:
            self._check_pre_verify()
        for name, least in (("max_skipped", 0), ("edge_burst", 1), ("requests", 1)):
            if getattr(self, name) < least:
                raise InvalidSetting(f"{name} must be >= {least}, got {getattr(self, name)}")
        for name in ("link_rows", "link_s", "deadline_s"):
            if not getattr(self, name) > 0:
                raise InvalidSetting(f"{name} must be above 0, got {getattr(self, name)}")
        if self.max_skipped > MOST_TOKENS:
            raise InvalidSetting(f"max_skipped must be <= {MOST_TOKENS}, got {self.max_skipped}")
        if self.draft_lengths[-1] == 0:
            raise InvalidSetting("draft_lengths must hold a length above 0, got only 0")

    def _check_kinds(self) -> None:
        require_gate(self.gate)
        if self.keep_control not in KEEP_CONTROLS:
            raise InvalidSetting(
                f"keep_control must be one of {KEEP_CONTROLS}, got {self.keep_control!r}"
            )

    def _check_pre_verify(self) -> None:
        """A first token that is judged apart leaves no whole block to a gate."""
        if self.gate == "token":
            raise InvalidSetting("gate must not be 'token' with pre_verify=True, got 'token'")
        for name in ("gate_threshold", "gate_levels"):
            value = getattr(self, name)
            if np.isfinite(value).any():
                raise InvalidSetting(f"{name} must be inf with pre_verify=True, got {value}")

    def _check_optional_parts(self) -> None:
        for part, most in (("gate", GATE_OFF), ("entropy", STOP_OFF), ("stop", 1.0)):
            levels = getattr(self, f"{part}_levels")
            if levels:
                _ascending(f"{part}_levels", levels, 0.0, most)


def require_gate(gate: str) -> None:
    """Refuse what is none of ``GATES``."""
    if gate not in GATES:
        raise InvalidSetting(f"gate must be one of {GATES}, got {gate!r}")


def _ascending(name: str, values: tuple[float, ...], low: float, high: float) -> None:
    inside = bool(values) and all(low <= v <= high for v in values)
    if not inside or any(a > b for a, b in pairwise(values)):
        raise InvalidSetting(f"{name} must ascend within [{low}, {high}], got {values}")
