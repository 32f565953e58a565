"""What a device knows: running means over rounds and the link report, for one session."""

from __future__ import annotations

import math

from covspec_core.kernels import links
from covspec_core.kernels.compiled import inner
from covspec_core.status import ACCEPTANCE_START, DOWN_BPS, HIT_RATE_START, NEW_SHARE


@inner
def last_slot_s(s, c, now_s):
    """A moment in the last whole slot: what a modem can have measured by now."""
    return max(s.offset_s + now_s - c.slot_s, 0.0)


@inner
def touch(s, c, table, time_s, pairs):
    """Read so many pairs of slots of a link.

    A number that is needed at once stops the processor until memory has brought it. Numbers that
    are read for many sessions, one after another and before any is used, are brought together.
    """
    _, slot = links.locate(last_slot_s(s, c, time_s), c.slot_s, c.slots)
    place, last, seen = s.row * (c.slots + 1) + slot, len(table) - 1, 0.0
    for ahead in range(pairs):
        seen += table[min(place + 2 * ahead, last), 0]
    return seen


@inner
def rtt_s(s, c, table, time_s):
    """Round trip at a moment of the session's link."""
    return links.value_at(table, links.RTT, s.row, time_s, c.slot_s, c.slots)


@inner
def reported_bps(s, c, table, now_s):
    """Rates up and down that the modem reports."""
    _, slot = links.locate(last_slot_s(s, c, now_s), c.slot_s, c.slots)
    place = s.row * (c.slots + 1) + slot
    return max(table[place, links.UP], DOWN_BPS), max(table[place, links.DOWN], DOWN_BPS)


@inner
def forget(s, c, table):
    """A session starts on a new link."""
    s.acceptance, s.hit_rate = ACCEPTANCE_START, HIT_RATE_START
    s.accepted = s.drafted = s.rejected = 0
    s.margin = s.margin_mean = s.entropy = s.entropy_mean = 0.0
    s.rtt_s = rtt_s(s, c, table, last_slot_s(s, c, 0.0))
    up_bps, down_bps = reported_bps(s, c, table, 0.0)
    s.mean_log_up, s.mean_log_down = math.log(up_bps), math.log(down_bps)


@inner
def learn(s, r, c, table):
    """Take in what a round showed."""
    up_bps, down_bps = reported_bps(s, c, table, r.started_s)
    s.mean_log_up += NEW_SHARE * (math.log(up_bps) - s.mean_log_up)
    s.mean_log_down += NEW_SHARE * (math.log(down_bps) - s.mean_log_down)
    judged = r.accepted + r.rejected
    if judged > 0:
        s.acceptance += NEW_SHARE * (r.accepted / judged - s.acceptance)
    if r.branch_steps > 0:
        s.hit_rate += NEW_SHARE * (r.hit - s.hit_rate)
    s.rtt_s += NEW_SHARE * (rtt_s(s, c, table, last_slot_s(s, c, r.received_s)) - s.rtt_s)
    s.accepted, s.drafted, s.rejected = r.accepted + r.skipped, r.drafted, r.rejected
    if r.drafted > 0:
        s.margin, s.margin_mean = r.margin, r.margin_mean
        s.entropy, s.entropy_mean = r.entropy, r.entropy_mean


@inner
def foresees(s, c):
    """The device has read all tokens: behind a draft of its own, or along with a streaming edge.

    What it foresees then takes the draft step that a block would begin with, and no time of an
    edge that writes on meanwhile.
    """
    return s.awake or (c.reads_along and s.streaming and s.device_ready_s <= s.now_s)


@inner
def read_request(s, c, row):
    """What is known of the request in hand, and how long it will be read."""
    row.device_wait_s = max(s.device_ready_s - s.now_s, 0.0)
    known = 0.0 if row.device_wait_s > 0 else 1.0
    row.prompt_tokens, row.relevance_entropy = s.prompt_tokens, known * s.relevance_entropy
    row.activity_mean, row.cover_rank = known * s.activity_mean, known * s.cover_rank
    row.edge_wait_s = 0.0
    if s.position == 0 and s.edge_ready_s > s.now_s:
        sent_s = 8.0 * s.image_bytes / row.up_bps + 0.5 * s.rtt_s
        row.edge_wait_s = sent_s + c.edge_prefill_s * s.edge_factor


@inner
def read(s, c, table, row):
    """Fill a status; what the source looks ahead to is not known here."""
    row.up_bps, row.down_bps = reported_bps(s, c, table, s.now_s)
    row.up_trend = math.log(row.up_bps) - s.mean_log_up
    row.down_trend = math.log(row.down_bps) - s.mean_log_down
    row.rtt_s, row.device_factor, row.edge_factor = s.rtt_s, s.device_factor, s.edge_factor
    row.acceptance, row.hit_rate = s.acceptance, s.hit_rate
    row.accepted, row.drafted, row.rejected = s.accepted, s.drafted, s.rejected
    row.margin, row.margin_mean = s.margin, s.margin_mean
    row.entropy, row.entropy_mean = s.entropy, s.entropy_mean
    row.ready, row.awake, row.skipped_run = s.ready, foresees(s, c), s.unchecked
    row.tokens, row.fresh, row.keep = s.position, s.position == 0, s.keep
    row.streaming = s.streaming
    read_request(s, c, row)
    row.token_bytes, row.refusal_bytes = c.told_token_bytes, c.told_refusal_bytes
    row.edge_step_s, row.draft_cost = c.told_edge_step_s, c.told_draft_cost
    row.keep_cost, row.position_cost = c.told_keep_cost, c.told_position_cost
