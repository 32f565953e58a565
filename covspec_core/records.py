"""Records that hold a session, a round and what they cost, one row a session.

Python reads and writes whole columns, compiled loops (:mod:`covspec_core.kernels`) whole rows.
"""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
from numpy.typing import NDArray

from covspec_core.constants import CONSTANTS, status_constants
from covspec_core.links.table import LinkTable
from covspec_core.profile import HardwareProfile
from covspec_core.rounds import RESULT_FIELDS, STATUS_FIELDS, RoundResult
from covspec_core.scenario import Scenario
from covspec_core.source import STATISTICS, Drafted, Move, Outcome
from covspec_core.wire import sizes

Records = NDArray[np.void]


def _record(floats: str = "", ints: str = "", keys: str = "", bools: str = "") -> np.dtype[np.void]:
    kinds = ((floats, np.float64), (ints, np.int64), (keys, np.uint64), (bools, np.bool_))
    return np.dtype([(name, kind) for names, kind in kinds for name in names.split()], align=True)


SESSION = _record(
    floats="now_s request_s device_ready_s edge_ready_s reading_s upload_s offset_s device_factor "
    "edge_factor keep "
    "acceptance "
    "hit_rate rtt_s margin margin_mean entropy entropy_mean mean_log_up mean_log_down "
    + " ".join(STATISTICS),
    ints="row request limit image_bytes position ready unchecked lag accepted drafted rejected",
    keys="seed key",
    bools="streaming owed awake",
)
"""Where a session stands; :class:`covspec_core.sessions.Sessions` says what the columns mean. No
round was charged yet for the energy of ``reading_s``, seconds in which the device reads a prompt,
and of ``upload_s``, those in which the radio sends an image."""

_TYPES = {"Floats": np.float64, "Ints": np.int64, "Bools": np.bool_}
_ASKED = _record("sure entropy_stop chance_stop", "asked width", "", "give_up")
_MOVE = _record("", "burst_asked judged unsure unsent", "", "local")
_OUTCOME = _record("margin margin_mean entropy entropy_mean", "stood unjudged", "", "tail")
_RESULT = np.dtype([(f.name, _TYPES[str(f.type)]) for f in fields(RoundResult)])
ROUND = np.dtype(
    [
        *(field for part in (_ASKED, _MOVE, _OUTCOME, _RESULT) for field in part.descr if field[0]),
        ("window_s", np.float64),
        ("radio_s", np.float64),
    ],
    align=True,
)
"""A round from what was asked to what it did, the fields of ``RoundResult`` among others:
``asked`` tokens at most, ``stood`` of a checked block, unjudged ones included; ``unsent`` draft
steps beyond the block."""

TEXT = _record(ints="first total base")
"""Where a session reads in a recording: its request's first token and length, and the first token
at its keep level."""

TOKEN = np.dtype(
    [
        ("accept", np.float32), ("margin", np.float32), ("entropy", np.float32),
        ("confidence", np.float32), ("settled", np.float32), ("detour", np.int32),
        ("left", np.uint16), ("rank", np.uint8), ("chance", np.uint8), ("stands", np.uint8),
        ("follows", np.uint8), ("lost_stands", np.uint8), ("lost_follows", np.uint8),
    ],
    align=True,
)  # fmt: skip
"""What was recorded of a token at a keep level, as judging needs it: 32 bytes, half a cache line.
What the head says of it once it is drawn, :data:`covspec_core.acceptance.DRAWN`, stands beside
what it says of a token drawn in its place that is refused. ``left`` tokens follow it in its text;
where a draft that leaves the text here is said to go on, see
:class:`covspec_core.replay.ReplaySource`, is the index ``detour``."""

JUDGED = _record(ints="top", bools="shared strays")
"""How recorded tokens are judged, one row; see :class:`covspec_core.wire.WireProtocol`. A draft
``strays`` if it goes on along a detour behind a token that will be refused."""

STATUS = np.dtype([(name, np.float64) for name in STATUS_FIELDS])
"""A row of :class:`~covspec_core.rounds.Status` by name."""

COSTS = _record(
    floats=" ".join(f.name for f in fields(HardwareProfile) if f.name != "vocab_size")
    + " slot_s deadline_s "
    + " ".join(f"told_{name}" for name in CONSTANTS),
    ints="slots longest widest max_skipped edge_burst judged_bytes refusal_bytes "
    "again_up_bytes again_down_bytes",
    bools="by_token post_verify pre_verify reads_along repeats asks_always asks_tail",
)
"""What a scenario charges, allows and tells controllers, and the grid of its links; one row."""


def profile_costs(profile: HardwareProfile, links: LinkTable) -> Records:
    """What a profile charges on the grid of some links, one row; nothing else is said."""
    costs = np.zeros(1, COSTS)
    for name, value in asdict(profile).items():
        if name != "vocab_size":
            costs[name] = value
    costs["slot_s"], costs["slots"] = links.slot_s, links.slots
    return costs


def costs_of(scenario: Scenario, links: LinkTable) -> Records:
    """What a scenario charges, allows and tells controllers, one row."""
    kind, vocab_size = scenario.protocol, scenario.profile.vocab_size
    again_up, again_down = sizes.again_bytes(kind, vocab_size)
    costs = profile_costs(scenario.profile, links)
    for name, value in (
        ("deadline_s", scenario.deadline_s),
        ("longest", scenario.draft_lengths[-1]),
        ("widest", scenario.branch_widths[-1]),
        ("max_skipped", scenario.max_skipped),
        ("edge_burst", scenario.edge_burst),
        ("judged_bytes", sizes.judged_bytes(kind, vocab_size)),
        ("refusal_bytes", sizes.refusal_bytes(kind, vocab_size)),
        ("again_up_bytes", again_up),
        ("again_down_bytes", again_down),
        ("by_token", scenario.gate == "token"),
        ("post_verify", scenario.post_verify),
        ("pre_verify", scenario.pre_verify),
        ("reads_along", scenario.reads_along),
        ("repeats", kind.device_redraws),
        ("asks_always", kind.law_asked),
        ("asks_tail", kind.top > 0),
    ):
        costs[name] = value
    for name, value in status_constants(scenario).items():
        costs[f"told_{name}"] = value
    return costs


def status_rows(values: NDArray[np.float64]) -> Records:
    """The rows of a status by name, shape ``[B]``: the same numbers as ``values``, ``[B, F]``."""
    return values.view(STATUS)[:, 0]


def result_of(rounds: Records) -> RoundResult:
    """The public part of rounds, as views."""
    return RoundResult(*[rounds[name] for name in RESULT_FIELDS])


def take_drafted(rounds: Records, drafted: Drafted) -> None:
    """Note down blocks before they are sent."""
    rounds["drafted"], rounds["unsure"], rounds["unsent"] = drafted


def move_of(rounds: Records, bonus: bool, early: bool) -> Move:
    """What rounds do, as views."""
    return Move(
        length=rounds["drafted"],
        burst=rounds["burst_asked"],
        local=rounds["local"],
        judged=rounds["judged"],
        sure=rounds["sure"],
        bonus=bonus,
        early=early,
    )


def take_outcome(rounds: Records, outcome: Outcome) -> None:
    """Note down what became of the blocks."""
    rounds["stood"], rounds["request_done"] = outcome.accepted, outcome.done
    for name in ("unjudged", "rejected", "tail", "emitted", "deviations"):
        rounds[name] = getattr(outcome, name)
    for name in ("margin", "margin_mean", "entropy", "entropy_mean"):
        rounds[name] = getattr(outcome.facts, name)
