"""The accounting of rounds once more, as a plain loop over one session without arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covspec_core.links.table import LinkTable
from covspec_core.rounds import CHANCES
from covspec_core.source import Ahead, Drafted, Facts, Outcome, Requests

HEADER_BYTES, ID_BYTES, FLOAT_BYTES = 12, 4, 4


class ScriptedSource:
    """Answers at random, and remembers what it answered in the last round."""

    def __init__(self, seed, size, limit=25):
        self.rng, self.size, self.limit = np.random.default_rng(seed), size, limit
        self.began, self.prefilled = [], []

    def begin(self, rows, keys):
        image_bytes = self.rng.integers(100, 3000, len(rows))
        self.began.append((rows.copy(), image_bytes))
        return Requests(image_bytes, np.full(len(rows), self.limit), np.zeros((len(rows), 4)))

    def prefill(self, rows, keep):
        self.prefilled += rows.tolist()

    def draft(self, place, length, sure, stops):
        self.margins = self.rng.random(self.size)
        unsure = (self.margins < sure) * np.maximum(length, 1)
        return Drafted(length, unsure, np.zeros_like(length))

    def finish(self, place, move):
        length, local, burst = move.length, move.local, move.burst
        left = self.limit - place.position
        accepted = np.where(local, 0, self.rng.integers(0, length + 1))
        # Often the whole block stands, so that branches matter.
        accepted = np.where(~local & (self.rng.random(self.size) < 0.5), length, accepted)
        rejected = ~local & (accepted < length)
        ends = self.rng.random(self.size) < 0.1
        emitted = np.where(local, length, accepted + 1 - (ends & ~rejected))
        emitted = np.where(burst > 0, np.maximum(burst - ends, 1), emitted)
        emitted = np.minimum(np.maximum(emitted, 1), left)
        zeros = np.zeros(self.size)
        self.outcome = Outcome(
            accepted, 0 * accepted, rejected, self.rng.random(self.size) < 0.5, emitted,
            (emitted >= left) | ends, 0 * accepted,
            Facts(zeros, zeros, zeros, zeros),
        )  # fmt: skip
        return self.outcome

    def branch(self, place, outcome, move, width, steps):
        length = move.length
        stands = (outcome.accepted == length) & (outcome.emitted > length) & (length > 0)
        self.hit = stands & (steps > 0) & (self.rng.random(self.size) < 0.7)
        return self.hit

    def look(self, place, awake):
        zeros = np.zeros(self.size)
        return Ahead(zeros, zeros, np.zeros((self.size, len(CHANCES))))


@dataclass
class Ledger:
    """One session in plain Python: a clock and counters, no arrays, none of the engine's sums."""

    scenario: object
    table: LinkTable
    row: int
    offset_s: float
    device_factor: float
    edge_factor: float
    now_s: float = 0.0

    def sent_at(self, rates_bps, start_s, n_bytes):
        """Walk from slot to slot until the last bit has left."""
        slot_s, time_s, bits = self.table.slot_s, start_s + self.offset_s, 8.0 * n_bytes
        slot = int(time_s / slot_s)
        while bits > 0:
            rate_bps = rates_bps[self.row][slot % self.table.slots]
            border_s = (slot + 1) * slot_s
            if bits <= rate_bps * (border_s - time_s):
                return time_s + bits / rate_bps - self.offset_s
            bits -= rate_bps * (border_s - time_s)
            time_s, slot = border_s, slot + 1
        return time_s - self.offset_s

    def delay_s(self, start_s):
        slot = int((start_s + self.offset_s) / self.table.slot_s) % self.table.slots
        return self.table.rtt_s[self.row][slot] / 2

    def begin_request(self, image_bytes):
        profile, start_s = self.scenario.profile, self.now_s
        left_s = self.sent_at(self.table.up_bps, start_s, image_bytes)
        arrived_s = left_s + self.delay_s(start_s)
        self.upload_s = left_s - start_s
        self.reading_s = profile.device_prefill_s * self.device_factor
        self.edge_s = arrived_s + profile.edge_prefill_s * self.edge_factor
        self.device_s = start_s + profile.device_prefill_s * self.device_factor
        self.tokens = self.ready = self.unchecked = self.lag = 0
        self.keep, self.streaming, self.awake = None, False, False

    def up_bytes(self, length):
        """A block; a device that redraws repeats the token behind the last verdict, if any."""
        kind = self.scenario.protocol.name
        repeated = kind in ("decoupled", "progressive") and self.tokens > self.unchecked
        per_token = {"full": self.scenario.profile.vocab_size, "coupled": 0}.get(kind, 1)
        ids = self.unchecked + length + repeated
        return HEADER_BYTES + ID_BYTES * ids + FLOAT_BYTES * length * per_token

    def down_bytes(self, rejected):
        """A first verdict."""
        refusal = {
            "decoupled": FLOAT_BYTES * self.scenario.profile.vocab_size,
            "progressive": 2 * (ID_BYTES + FLOAT_BYTES),
            "lazy": 0,
        }
        own = refusal.get(self.scenario.protocol.name, ID_BYTES) if rejected else ID_BYTES
        return HEADER_BYTES + own

    def second_bytes(self, rejected, tail):
        """Up and down after a verdict that leaves the token open."""
        law_bytes = FLOAT_BYTES * self.scenario.profile.vocab_size
        if rejected and self.scenario.protocol.name == "lazy":
            return HEADER_BYTES + law_bytes, HEADER_BYTES + ID_BYTES
        if rejected and tail and self.scenario.protocol.name == "progressive":
            return HEADER_BYTES, HEADER_BYTES + law_bytes - 2 * FLOAT_BYTES
        return 0, 0

    def second_trip(self, start_s, up, down):
        """When its answer is there, and how long the radio was on."""
        if not up:
            return start_s, 0.0
        left_s = self.sent_at(self.table.up_bps, start_s, up)
        there_s = left_s + self.delay_s(start_s)
        gone_s = self.sent_at(self.table.down_bps, there_s, down)
        return gone_s + self.delay_s(there_s), left_s - start_s + gone_s - there_s

    def reads_along(self, alone, received_s):
        """Draft steps that look ahead from what the edge wrote alone."""
        return int(self.scenario.reads_along and alone and self.device_s <= received_s)

    def with_start(self, computed_s, radio_s):
        """The first round bears the upload, the first that drafts the reading."""
        radio_s, self.upload_s = radio_s + self.upload_s, 0.0
        if computed_s > 0:
            computed_s, self.reading_s = computed_s + self.reading_s, 0.0
        return computed_s, radio_s

    def play(self, action, limit, margin, outcome, hit, tail):
        """Account one round; names and meanings as in ``RoundResult``."""
        profile = self.scenario.profile
        if self.keep is None:
            self.keep = action.keep
        left, start_s = limit - self.tokens, self.now_s
        length = min(action.draft_length, left)
        alone = length == 0
        local = not alone and margin >= action.gate_threshold
        local = local and self.unchecked + length <= self.scenario.max_skipped
        step_s = profile.draft_step_s + profile.head_s + profile.draft_keep_s * self.keep
        step_s *= self.device_factor
        drafts = range(self.ready, max(length, int(self.awake)))
        if drafts:
            start_s = max(start_s, self.device_s)
        sent_s, steps = start_s, 0
        for _ in drafts:
            sent_s += step_s
        if length > self.ready:
            sent_s += self.lag * profile.catch_up_s * self.device_factor
        times = [sent_s] * 5
        up = down = charged = 0
        radio_s = ahead_s = 0.0
        token_s = profile.edge_step_s * self.edge_factor
        if not local:
            quiet = alone and (self.streaming or self.tokens == 0)
            if not quiet:
                up = self.up_bytes(length)
            left_s = self.sent_at(self.table.up_bps, sent_s, up)
            arrived_s = left_s + self.delay_s(sent_s)
            verify_s = self.edge_s if quiet else max(arrived_s, self.edge_s)
            work_s = profile.edge_catch_up_s * self.unchecked
            if alone:
                work_s += profile.edge_step_s * outcome["emitted"]
                waited = HEADER_BYTES + ID_BYTES
                down, charged = waited * outcome["emitted"], outcome["emitted"]
            else:
                work_s += profile.edge_step_s * (1 + profile.verify_slope * length)
                down = waited = self.down_bytes(outcome["rejected"])
                bonus = not outcome["rejected"] and outcome["emitted"] > outcome["accepted"]
                charged = length + bonus
            verified_s = verify_s + work_s * self.edge_factor
            gone_s = self.sent_at(self.table.down_bps, verified_s, waited)
            received_s = max(gone_s + self.delay_s(verified_s), sent_s)
            radio_s = left_s - sent_s + gone_s - verified_s
            times = [sent_s, arrived_s, verify_s, verified_s, received_s]
            if not alone and action.branch_width > 0:
                ahead_step_s = step_s * (1 + profile.branch_slope * (action.branch_width - 1))
                free_s = sent_s + step_s + ahead_step_s
                while free_s <= received_s and steps < self.scenario.draft_lengths[-1]:
                    steps, free_s = steps + 1, free_s + ahead_step_s
                ahead_s = step_s + ahead_step_s * steps
            self.edge_s = verified_s
            more = self.second_bytes(outcome["rejected"], tail)
            times[-1], more_s = self.second_trip(received_s, *more)
            ahead_s += step_s * self.reads_along(alone, received_s)
            radio_s, up, down = radio_s + more_s, up + more[0], down + more[1]
        names = ("sent_s", "arrived_s", "verify_s", "verified_s", "received_s")
        computed_s, radio_s = self.with_start(sent_s - start_s + ahead_s, radio_s)
        row = dict(zip(names, times, strict=True)) | outcome | {
            "started_s": start_s,
            "first_s": times[-1] - alone * (outcome["emitted"] - 1) * token_s,
            "drafted": length,
            "skipped": outcome["emitted"] if local else 0,
            "burst": outcome["emitted"] if alone else 0,
            "hit": hit,
            "branch_steps": steps,
            "bytes_up": up,
            "bytes_down": down,
            "charged": charged,
            "energy_j": profile.device_w * computed_s + profile.radio_w * radio_s,
        }  # fmt: skip
        self.now_s = times[-1]
        self.tokens += outcome["emitted"]
        self.ready = steps if hit else 0
        self.unchecked = self.unchecked + outcome["emitted"] if local else 0
        self.lag = self.lag + outcome["emitted"] if alone else 0
        self.streaming, self.awake = alone, not alone
        return row
