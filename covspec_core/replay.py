"""Outcomes from a recording: exact for every sequence of actions, thousands of sessions at once.

Exact in law for protocols with independent draws, bit by bit under shared noise. With a gate on
the replay follows the recorded text and counts the unchecked tokens that differ from it. With an
entropy stop it reads the entropies along the recorded text: what is committed is exact, but a block
that leaves the text before its stop may really be shorter or longer than the replay charges.
"""

from __future__ import annotations

import numpy as np

from covspec_core.acceptance import GRID
from covspec_core.errors import BrokenRecording, InvalidAction, InvalidSetting
from covspec_core.randomness import uniform
from covspec_core.recording import Recording
from covspec_core.rounds import CHANCES, Bools, Floats, Ints, Keys
from covspec_core.source import Ahead, Drafted, Facts, Move, Outcome, Place, Requests
from covspec_core.verification import accept_probability
from covspec_core.wire import WireProtocol

_JUDGE, _REST = 1, 4


class ReplaySource:
    """A :class:`~covspec_core.source.Source` over recorded requests.

    Args:
        recording: Requests to draw from.
        kind: Protocol; decides whether acceptance is recorded or drawn.
        size: Number of sessions.
        longest: Longest draft length that will be asked for.
        gate: How a gate's threshold is read, see :data:`covspec_core.scenario.GATES`.

    Raises:
        BrokenRecording: If the recording lacks what the gate or the protocol reads.
        InvalidSetting: If the protocol rounds laws: acceptances are recorded for exact ones.
    """

    def __init__(
        self,
        recording: Recording,
        kind: WireProtocol,
        size: int,
        longest: int,
        gate: str = "block",
    ) -> None:
        _check_laws(recording, kind)
        self._recording, self._gate = recording, gate
        self._shared, self._top = kind.shared_noise, kind.top
        self._keeps = np.asarray(recording.keep_levels)
        self._starts = recording.start
        self._lengths = recording.length.astype(np.int64)
        self._tokens = len(recording.tokens)
        self._ahead = np.arange(longest)
        self._first, self._total = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._base = np.zeros(size, np.int64)
        self._limit = int(recording.meta["limit"])
        self._flatten(recording)

    def _flatten(self, recording: Recording) -> None:
        if self._shared:
            self._accept = (recording.draw == recording.tokens).ravel()
        else:
            # Seen from the emitted token, the two laws change places.
            self._accept = accept_probability(recording.q, recording.p).ravel()
        ranks = recording.rank_shared if self._shared else recording.rank
        self._rank = ranks.ravel()
        self._margin = recording.margin.astype(np.float64).ravel()
        self._entropy = recording.entropy.astype(np.float64).ravel()
        self._confidence = self._margin
        if self._gate == "uncertainty":
            self._confidence = recording.column("agreement").astype(np.float64).ravel()
        if self._top:
            self._settled = recording.column("settled").ravel()
        self._chances = recording.chances.reshape(-1, len(CHANCES))

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
        self._first[rows], self._total[rows] = self._starts[chosen], self._lengths[chosen]
        self._base[rows] = self._first[rows]
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
        self._base[rows] = level * self._tokens + self._first[rows]

    def draft(self, place: Place, length: Ints, sure: Floats, stop: Floats) -> Drafted:
        """Blocks along the recorded text; see :class:`~covspec_core.source.Source`."""
        if np.isfinite(stop).any():
            length = self._stopped(place, length, stop)
        block = np.minimum(length, self._left(place))
        if not np.isfinite(sure).any():
            return Drafted(length, block)
        unsure = self._confidence.take(self._index(place)) < sure[:, None]
        return Drafted(length, (unsure & (self._ahead < block[:, None])).sum(1))

    def _stopped(self, place: Place, length: Ints, stop: Floats) -> Ints:
        block = np.minimum(length, self._left(place))[:, None]
        beyond = self._entropy.take(self._index(place)) > stop[:, None]
        last = beyond & (self._ahead < block)
        return np.where(last.any(1), last.argmax(1) + 1, length)

    def finish(self, place: Place, move: Move) -> Outcome:
        """Judge, commit or pass over blocks; see :class:`~covspec_core.source.Source`."""
        left, index, local = self._left(place), self._index(place), move.local
        block = np.minimum(move.length, left)
        refused = ~self._accepts(place, index) & (self._ahead < block[:, None])
        passed = self._passed(index, move)
        stopping = refused & ~passed
        any_refused = stopping.any(1)
        run = np.where(any_refused, stopping.argmax(1), block)
        standing = passed & (self._ahead < run[:, None])
        emitted = np.where(
            move.alone, move.burst, np.where(local, block, run + (any_refused | move.bonus))
        )
        emitted = np.minimum(emitted, left)
        rejected = any_refused & ~local
        return Outcome(
            accepted=np.where(local, 0, run),
            unjudged=np.where(local, 0, standing.sum(1)),
            rejected=rejected,
            tail=self._tail(place, run, rejected),
            emitted=emitted,
            done=emitted >= left,
            deviations=(refused & np.where(local[:, None], True, standing)).sum(1),
            facts=self._facts(index, np.where(local, block, run + rejected)),
        )

    def _tail(self, place: Place, run: Ints, rejected: Bools) -> Bools:
        """Whether the recorded token was redrawn with the rest of the target's law, ``[B]``."""
        if not self._top:
            return np.zeros(len(run), dtype=bool)
        at = np.minimum(self._base + place.position + run, len(self._settled) - 1)
        settled = uniform(place.key, _REST, place.position + run) < self._settled.take(at)
        return rejected & ~settled

    def _passed(self, index: Ints, move: Move) -> Bools:
        """Tokens of the blocks that need no judgement, ``[B, longest]``, or one ``False``."""
        if not np.isfinite(move.sure).any():
            return np.zeros((1, 1), dtype=bool)
        return self._confidence.take(index) >= move.sure[:, None]

    def _left(self, place: Place) -> Ints:
        return self._total - place.position

    def _index(self, place: Place) -> Ints:
        index: Ints = (self._base + place.position)[:, None] + self._ahead
        return np.minimum(index, len(self._accept) - 1)

    def _accepts(self, place: Place, index: Ints) -> Bools:
        accepts = self._accept.take(index)
        if self._shared:
            return accepts
        position = place.position[:, None] + self._ahead
        return uniform(place.key[:, None], _JUDGE, position) < accepts

    def _facts(self, index: Ints, judged: Ints) -> Facts:
        count = np.maximum(judged, 1)
        seen, last = self._ahead < count[:, None], (count - 1)[:, None]
        margin, entropy = self._margin.take(index), self._entropy.take(index)
        return Facts(
            margin=np.take_along_axis(margin, last, 1)[:, 0],
            margin_mean=(margin * seen).sum(1) / count,
            entropy=np.take_along_axis(entropy, last, 1)[:, 0],
            entropy_mean=(entropy * seen).sum(1) / count,
        )

    def branch(self, place: Place, outcome: Outcome, move: Move, width: Ints, steps: Ints) -> Bools:
        """Whether the recorded bonus token was among the candidates."""
        stands = (outcome.accepted == move.length) & (move.length > 0) & (steps > 0)
        if not move.bonus:
            return stands & ~outcome.done
        bonus = np.minimum(self._base + place.position + move.length, len(self._rank) - 1)
        return stands & (outcome.emitted > move.length) & (self._rank.take(bonus) < width)

    def look(self, place: Place) -> Ahead:
        """What was recorded at the next position of every device that is awake."""
        index = np.minimum(self._base + place.position, len(self._accept) - 1)
        return Ahead(
            margin=np.where(place.awake, self._margin.take(index), 0.0),
            entropy=np.where(place.awake, self._entropy.take(index), 0.0),
            chances=self._chances.take(index, axis=0) * place.awake[:, None] / GRID,
        )


def _check_laws(recording: Recording, kind: WireProtocol) -> None:
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
