"""The words of a round: what a controller sees, what it sets, and what came of it.

All of them hold arrays with a leading axis of sessions, ``[B]``; a single engine has ``B = 1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.errors import InvalidAction

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]

GATE_OFF = np.inf
STOP_OFF = np.inf
CHANCE_OFF = 0.0

CHANCES = (1, 2, 3, 4, 5, 6, 8, 10)
"""Numbers of drafted tokens for which the acceptance head foresees whether all stand."""

STATUS_FIELDS: dict[str, str] = {
    "up_bps": "uplink rate that the modem reports for the last whole slot, bit/s",
    "down_bps": "downlink rate, likewise",
    "up_trend": "log of up_bps over its running mean",
    "down_trend": "log of down_bps over its running mean",
    "rtt_s": "running mean of the round trip",
    "device_factor": "seconds of device work over the profile's",
    "edge_factor": "seconds of edge work over the profile's",
    "device_wait_s": "seconds until the device has read the request",
    "edge_wait_s": "before a request's first round, seconds until the edge has read it, at up_bps",
    "acceptance": "running mean of judged tokens that were accepted",
    "accepted": "drafted tokens of the last round that stand, checked or not",
    "drafted": "tokens of the last round's block",
    "rejected": "1 if the last round ended in a rejection",
    "margin": "draft's margin at the last judged position",
    "margin_mean": "mean margin over the judged positions of the last block",
    "entropy": "draft's entropy at the last judged position, nats",
    "entropy_mean": "mean entropy over the judged positions of the last block, nats",
    "hit_rate": "running mean of branch hits",
    "ready": "tokens that a hit branch left ready",
    "awake": "1 if the device has read all tokens and looks ahead: behind a draft of its own, or "
    "along with an edge that decodes alone",
    "next_margin": "margin at the next position; 0 unless awake",
    "next_entropy": "entropy at the next position, nats; 0 unless awake",
    **{
        f"chance_{n}": f"foreseen chance that the next {n} drafted tokens stand; 0 unless awake"
        for n in CHANCES
    },
    "skipped_run": "tokens committed on the device since the last call",
    "tokens": "answer tokens so far",
    "fresh": "1 before the first round of a request",
    "keep": "share of visual tokens the draft sees in this request",
    "streaming": "1 if the edge is decoding alone",
    "prompt_tokens": "tokens of the prompt that are not visual",
    "relevance_entropy": "entropy of the keywords' attention over visual tokens, nats; 0, as the "
    "next two, until the device has read the request",
    "activity_mean": "mean change of a visual token's state over the layers",
    "cover_rank": "participation ratio of the visual states",
    "token_bytes": "bytes up for each drafted token that is judged; the same all session",
    "refusal_bytes": "bytes that a refused token moves at least, up and down; the same all session",
    "edge_step_s": "seconds of a token that the edge decodes alone, by the profile",
    "draft_cost": "a draft step without visual tokens, head included, over edge_step_s, by the "
    "profile",
    "keep_cost": "what all visual tokens add to it over edge_step_s, by the profile",
    "position_cost": "a further position of a target pass over edge_step_s, by the profile",
}
"""What a controller may see, by name: only what the device knows at that moment."""

_COLUMN = {name: i for i, name in enumerate(STATUS_FIELDS)}


@dataclass(frozen=True, slots=True, eq=False)
class Status:
    """What a controller may see before a round.

    Attributes:
        values: One row a session, one column a name of ``STATUS_FIELDS``, shape ``[B, F]``.
    """

    values: Floats

    def __getitem__(self, name: str) -> Floats:
        column: Floats = self.values[:, _COLUMN[name]]
        return column

    def __setitem__(self, name: str, value: Any) -> None:
        self.values[:, _COLUMN[name]] = value

    def __len__(self) -> int:
        return len(self.values)

    @staticmethod
    def blank(size: int) -> Status:
        """All zeros for ``size`` sessions."""
        return Status(np.zeros((size, len(STATUS_FIELDS))))


@dataclass(frozen=True, slots=True)
class RoundAction:
    """Controls for one draft-and-verify round of one session.

    Attributes:
        keep: Share of visual tokens that the draft sees, in [0, 1]; takes effect at the start
            of a request, or whenever it changes if the scenario's ``keep_control`` says so.
        draft_length: Tokens of the block, >= 0; 0 lets the edge decode a burst alone.
        branch_width: Branches drafted ahead during verification, >= 0.
        gate_threshold: Tokens whose confidence reaches it pass the gate unchecked, as the
            scenario's ``gate`` says; infinity turns the gate off.
        entropy_stop: A block ends behind the first token whose law's entropy exceeds it, nats;
            infinity drafts all of ``draft_length``. AdaEDL (arXiv 2410.18351) and SVIP
            (arXiv 2411.18462) are ways to set it.
        chance_stop: Behind its first token a block ends where the chance that its tokens and one
            more all stand falls below it: the product of what the acceptance head says of each
            drawn token (SpecDec++, arXiv 2405.19715), times what it says of the next, behind the
            last token and again when the step is taken that would draw it. In [0, 1]; 0 drafts all.
        give_up: The block is dropped once it is drafted, and the edge decodes a burst alone: the
            drafts cost their seconds, nothing of them is sent. Neither stop counts then. The text
            keeps the target's law if no drafted token had a say in it, or under shared noise;
            with independent draws, who drops blocks for what they hold prefers some tokens.
    """

    keep: float
    draft_length: int
    branch_width: int
    gate_threshold: float = GATE_OFF
    entropy_stop: float = STOP_OFF
    chance_stop: float = CHANCE_OFF
    give_up: bool = False

    def __post_init__(self) -> None:
        Actions.of([self])


_OFF = {"entropy_stop": STOP_OFF, "chance_stop": CHANCE_OFF, "give_up": False}
"""What parts of an action are unless they are given."""


@dataclass(frozen=True, slots=True, eq=False)
class Actions:
    """Controls for one round of every session, shape ``[B]`` each; see :class:`RoundAction`."""

    keep: Floats
    draft_length: Ints
    branch_width: Ints
    gate_threshold: Floats
    entropy_stop: Floats = None  # type: ignore[assignment]  # off unless given
    chance_stop: Floats = None  # type: ignore[assignment]  # off unless given
    give_up: Bools = None  # type: ignore[assignment]  # off unless given

    def __post_init__(self) -> None:
        for name, off in _OFF.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, constant(len(self.keep), off))
        for name in ("draft_length", "branch_width"):
            values = getattr(self, name)
            if not np.issubdtype(values.dtype, np.integer):
                raise InvalidAction(f"{name} must be an integer, got {values.tolist()}")
        _require(self.keep, (self.keep >= 0) & (self.keep <= 1), "keep must lie in [0, 1]")
        _require(self.draft_length, self.draft_length >= 0, "draft_length must be >= 0")
        _require(self.branch_width, self.branch_width >= 0, "branch_width must be >= 0")
        _require(self.gate_threshold, self.gate_threshold >= 0, "gate_threshold must be >= 0")
        _require(self.entropy_stop, self.entropy_stop >= 0, "entropy_stop must be >= 0")
        stop = self.chance_stop
        _require(stop, (stop >= 0) & (stop <= 1), "chance_stop must lie in [0, 1]")

    @staticmethod
    def known(
        keep: Floats,
        draft_length: Ints,
        branch_width: Ints,
        gate_threshold: Floats,
        entropy_stop: Floats | None = None,
        chance_stop: Floats | None = None,
        give_up: Bools | None = None,
    ) -> Actions:
        """Actions of values that were looked at before, as a codec's choices were."""
        actions = object.__new__(Actions)
        for name, values in (
            ("keep", keep),
            ("draft_length", draft_length),
            ("branch_width", branch_width),
            ("gate_threshold", gate_threshold),
            ("entropy_stop", entropy_stop),
            ("chance_stop", chance_stop),
            ("give_up", give_up),
        ):
            given = constant(len(keep), _OFF[name]) if values is None else values
            object.__setattr__(actions, name, given)
        return actions

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, row: int) -> RoundAction:
        return RoundAction(
            float(self.keep[row]),
            int(self.draft_length[row]),
            int(self.branch_width[row]),
            float(self.gate_threshold[row]),
            float(self.entropy_stop[row]),
            float(self.chance_stop[row]),
            bool(self.give_up[row]),
        )

    @staticmethod
    def of(actions: Iterable[RoundAction]) -> Actions:
        """Stack single actions."""
        rows = [[getattr(a, f.name) for f in fields(RoundAction)] for a in actions]
        keep, length, width, *others = (np.array(column) for column in zip(*rows, strict=True))
        *thresholds, give_up = others
        gate, entropy, chance = (column.astype(float) for column in thresholds)
        return Actions(keep.astype(float), length, width, gate, entropy, chance, give_up)

    @staticmethod
    def full(size: int, action: RoundAction) -> Actions:
        """The same action for ``size`` sessions."""
        return Actions.of([action] * size)


@lru_cache(maxsize=16, typed=True)
def constant(size: int, value: float) -> Floats:
    """The same number for ``size`` sessions, read-only."""
    values = np.full(size, value)
    values.flags.writeable = False
    return values


def _require(values: NDArray[Any], valid: Bools, rule: str) -> None:
    if not valid.all():
        raise InvalidAction(f"{rule}, got {values[~valid][0]}")


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """What a round did, shape ``[B]`` each. Times count from the session's start.

    Attributes:
        started_s: The device begins to draft, having read the request, or lets the edge write.
        sent_s: The block is drafted; a transfer may begin.
        arrived_s: The edge has the message (equal to ``sent_s`` if nothing was sent).
        verify_s: The edge begins its pass.
        verified_s: The edge has its verdict.
        received_s: The device has it; the round ends and the next one can begin.
        first_s: The device has the round's first token; a burst streams its tokens.
        drafted: Tokens of the block, ready ones included.
        accepted: Drafted tokens that stand after a check of their own.
        rejected: The check ended in a rejection.
        skipped: Drafted tokens that were committed unchecked.
        burst: Tokens that the edge decoded alone.
        emitted: Tokens committed by this round.
        deviations: Skipped tokens that the target would not have written (0 on the wall clock,
            where nobody looks).
        hit: The bonus token was among the branch candidates.
        branch_steps: Draft steps taken ahead on the branches.
        bytes_up: Encoded bytes sent, images not included.
        bytes_down: Encoded bytes received.
        charged: Target positions on the bill, in edge-only tokens.
        energy_j: Energy of device and radio; a request's first round bears its upload, its first
            one that drafts the reading of its prompt.
        request_done: The answer is complete.
        session_done: It was the last one.
    """

    started_s: Floats
    sent_s: Floats
    arrived_s: Floats
    verify_s: Floats
    verified_s: Floats
    received_s: Floats
    first_s: Floats
    drafted: Ints
    accepted: Ints
    rejected: Bools
    skipped: Ints
    burst: Ints
    emitted: Ints
    deviations: Ints
    hit: Bools
    branch_steps: Ints
    bytes_up: Ints
    bytes_down: Ints
    charged: Ints
    energy_j: Floats
    request_done: Bools
    session_done: Bools

    @property
    def seconds(self) -> Floats:
        """Virtual seconds of the round."""
        return self.received_s - self.started_s

    def row(self, index: int) -> dict[str, float | int | bool]:
        """One session's round as plain numbers."""
        return {name: getattr(self, name).item(index) for name in RESULT_FIELDS}


RESULT_FIELDS = tuple(field.name for field in fields(RoundResult))
"""In their order."""
