"""Outcomes from a recording: exact for every sequence of actions, thousands of sessions at once.

Exact in law for protocols with independent draws, bit by bit under shared noise. With a gate on
the replay follows the recorded text and counts the unchecked tokens that differ from it. With a
stop what is committed is exact too. Of a token that will be refused the stop reads what the head
says of one such token, drawn when the answer was recorded; behind it nothing is recorded of the
text along which the draft really goes on: the stop reads another one, a *detour*, and a block that
has left the text may really be shorter or longer than the replay charges.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from covspec_core.acceptance import DRAWN, GRID
from covspec_core.errors import BrokenRecording, InvalidAction, InvalidSetting
from covspec_core.kernels import kernel
from covspec_core.recording import Recording
from covspec_core.records import JUDGED, SESSION, TEXT, TOKEN, Records, status_rows
from covspec_core.rounds import CHANCES, STATUS_FIELDS, Bools, Floats, Ints, Keys
from covspec_core.scenario import require_gate
from covspec_core.source import Ahead, Place, Requests, Within
from covspec_core.verification import accept_probability
from covspec_core.wire import WireProtocol

ASTRAY = ("detour", "recorded")
"""Facts of another recorded text, gone on with from a token much like the refused one; or, only to
measure what they give away, those of the true text. (Those of the refused token itself, held, would
tell nearly all: a block that stands shows no token's facts twice.)"""
NEAR = 32
"""A detour begins at most so many places away, among a level's tokens in order of their facts."""


class ReplaySource:
    """Outcomes of recorded requests; the rounds themselves are compiled with their accounts.

    Args:
        recording: Requests to draw from.
        kind: Protocol; decides whether acceptance is recorded or drawn.
        size: Number of sessions.
        gate: How a gate's threshold is read, see :data:`covspec_core.scenario.GATES`.

    Attributes:
        tokens: Recorded tokens of all keep levels, see :data:`covspec_core.records.TOKEN`.
        texts: Where each session reads, see :data:`covspec_core.records.TEXT`.
        astray: What stops and :meth:`within` read behind a token that will be refused, one of
            ``ASTRAY``.

    Raises:
        BrokenRecording: If the recording lacks what the gate or the protocol reads.
        InvalidSetting: If there is no such gate, or the protocol rounds laws: acceptances are
            recorded for exact ones.
    """

    def __init__(
        self, recording: Recording, kind: WireProtocol, size: int, *, gate: str = "block"
    ) -> None:
        require_gate(gate)
        require_laws(recording, kind)
        self._recording = recording
        self._keeps = np.asarray(recording.keep_levels)
        self._starts = recording.start
        self._lengths = recording.length.astype(np.int64)
        self._limit = int(recording.meta["limit"])
        self.texts = np.zeros(size, TEXT)
        self.tokens = _tokens_of(recording, kind, gate)
        self._chances = np.ascontiguousarray(recording.chances.reshape(-1, len(CHANCES)))
        self._judged = np.zeros(1, JUDGED)
        self._judged["top"], self._judged["shared"] = kind.top, kind.shared_noise
        self.astray = ASTRAY[0]

    @property
    def astray(self) -> str:
        """See the class."""
        return ASTRAY[0] if self._judged["strays"][0] else ASTRAY[1]

    @astray.setter
    def astray(self, facts: str) -> None:
        if facts not in ASTRAY:
            raise InvalidSetting(f"astray must be one of {ASTRAY}, got {facts!r}")
        self._judged["strays"] = facts == ASTRAY[0]

    def pick(self, keys: Keys) -> Ints:
        """Recorded requests that these keys stand for."""
        chosen: Ints = (keys % np.uint64(len(self._lengths))).astype(np.int64)
        return chosen

    def peek(self, keys: Keys) -> tuple[Ints, Ints]:
        """Image bytes and answer lengths of the requests under these keys."""
        chosen = self.pick(keys)
        return self._recording.image_bytes[chosen].astype(np.int64), self._lengths[chosen]

    def begin(self, rows: Ints, keys: Keys) -> Requests:
        """Take up recorded requests; see :class:`~covspec_core.source.Source`."""
        chosen = self.pick(keys)
        self.texts["first"][rows] = self.texts["base"][rows] = self._starts[chosen]
        self.texts["total"][rows] = self._lengths[chosen]
        return Requests(
            image_bytes=self._recording.image_bytes[chosen].astype(np.int64),
            limit=np.full(len(rows), self._limit),
            statistics=self._recording.statistics[chosen].astype(np.float64),
        )

    def prefill(self, rows: Ints, keep: Floats) -> None:
        """Choose the recorded keep level."""
        level = np.minimum(np.searchsorted(self._keeps, keep - 1e-6), len(self._keeps) - 1)
        wrong = np.abs(self._keeps[level] - keep) > 1e-6
        if wrong.any():
            levels = ", ".join(f"{k:.4g}" for k in self._keeps)
            raise InvalidAction(f"keep must be a recorded level ({levels}), got {keep[wrong][0]}")
        texts = self.texts
        texts["base"][rows] = level * len(self._recording.tokens) + texts["first"][rows]

    def courses(
        self, sessions: Records, rounds: Records, texts: Records, costs: Records, table: Floats
    ) -> Late:
        """Rounds of some sessions up to their verdicts; see ``covspec_core.kernels.loops``."""
        judged = self._judged
        return kernel().replayed_courses(sessions, rounds, texts, self.tokens, judged, costs, table)

    def settle(
        self,
        sessions: Records,
        rounds: Records,
        texts: Records,
        costs: Records,
        table: Floats,
        requests: int,
    ) -> None:
        """What is left of them."""
        kernel().replayed_settles(sessions, rounds, texts, self.tokens, costs, table, requests)

    def within(self, place: Place, rows: Ints, ahead: Ints) -> Within:
        """What devices know once they have drawn the token so far ahead.

        Behind a token that will be refused a draft goes on along a text of its own, of which
        nothing is recorded; the true text's facts would tell of the refusal. ``astray`` says what
        is shown there. Behind an answer's end there is nothing: its last token's facts are shown.

        Args:
            place: Where each session stands.
            rows: Which sessions, shape ``[k]``.
            ahead: Tokens between, shape ``[k]``.
        """
        at, drawn = np.empty(len(rows), dtype=np.int64), np.empty((len(rows), len(DRAWN)))
        sessions, texts = place.records[rows], self.texts[rows]
        kernel().looked_at(sessions, texts, self.tokens, self._judged, ahead, at, drawn)
        margin, entropy = (self.tokens[n][at].astype(np.float64) for n in ("margin", "entropy"))
        return Within(Ahead(margin, entropy, self._chances[at] / GRID), drawn)

    def read(self, sessions: Records, rows: Ints, costs: Records, table: Floats) -> Floats:
        """Statuses of some sessions, shape ``[k, F]``."""
        values = np.empty((len(rows), len(STATUS_FIELDS)))
        recorded = self.texts, self.tokens, self._chances
        kernel().replayed_statuses(
            sessions, rows, *recorded, costs, table, status_rows(values), values
        )
        return values

    def stands(self, keys: Keys, count: int) -> Bools:
        """Whether each of the first tokens would stand under a request's noise, ``[B, count]``."""
        sessions = np.zeros(len(keys), SESSION)
        sessions["key"] = keys
        stands = np.empty((len(keys), count), dtype=bool)
        kernel().standing(sessions, self.texts, self.tokens, self._judged, stands)
        return stands


Late = tuple[int, float]
"""Place of the first session that waits too long and its seconds, or -1."""


def _tokens_of(recording: Recording, kind: WireProtocol, gate: str) -> Records:
    tokens = np.zeros(recording.q.shape, TOKEN)
    if kind.shared_noise:
        tokens["accept"] = recording.draw == recording.tokens
    else:
        # Seen from the emitted token, the two laws change places.
        tokens["accept"] = accept_probability(recording.q, recording.p)
    tokens["rank"] = recording.rank_shared if kind.shared_noise else recording.rank
    tokens["margin"], tokens["entropy"] = recording.margin, recording.entropy
    tokens["confidence"] = recording.margin
    if gate == "uncertainty":
        tokens["confidence"] = recording.column("agreement")
    tokens["chance"] = recording.chances[..., 0]
    lost = recording.drawn_shared if kind.shared_noise else recording.drawn_refused
    for k, name in enumerate(DRAWN):
        tokens[name], tokens[f"lost_{name}"] = recording.drawn[..., k], lost[..., k]
    if kind.top:
        tokens["settled"] = recording.column("settled")
    ends = np.repeat(recording.start + recording.length, recording.length)
    tokens["left"] = ends - 1 - np.arange(len(ends))
    tokens["detour"] = _detours(recording)
    return tokens.ravel()


@lru_cache(maxsize=4)
def _detours(recording: Recording) -> Ints:
    """For every token another one whose facts are nearly the same, at the same keep level.

    Chosen by its facts alone, so that what follows it follows such facts as often as not behind a
    token that stands.

    Returns:
        Indices over all keep levels, shape ``[L, N]``.
    """
    count, rng = len(recording.tokens), np.random.default_rng(0)
    every = np.arange(count)
    detours = np.empty(recording.q.shape, dtype=np.int64)
    for level, own in enumerate(detours):
        order = np.lexsort((recording.margin[level], recording.chances[level, :, 0]))
        away = rng.integers(1, NEAR + 1, count) * rng.choice([-1, 1], count)
        inside = (every + away >= 0) & (every + away < count)
        own[order] = level * count + order[(every + np.where(inside, away, -away)) % count]
    return detours


def require_laws(recording: Recording, kind: WireProtocol) -> None:
    """Refuse a protocol whose verdicts the recording does not tell.

    Raises:
        InvalidSetting: If its laws are sent inexactly.
        BrokenRecording: If it sends other largest entries than were recorded.
    """
    greedy = recording.meta.get("temperature") == 0  # all formats keep a law of one token
    if not (kind.format.exact or greedy):
        raise InvalidSetting(
            f"law_format must be fp32 in a replay, as acceptances are recorded for exact laws, "
            f"got {kind.format.name!r}; live models take it"
        )
    if kind.top and recording.meta.get("top") != kind.top:
        raise BrokenRecording(
            f"protocol {kind.name}: top must be {recording.meta.get('top')} as in the recording, "
            f"got {kind.top}; record it anew"
        )
