"""What a round costs and changes: scalar functions of one session ``s`` and its round ``r``.

Both are records of :mod:`covspec_core.records`, ``c`` is what the scenario charges and ``table``
its links. A round goes through :func:`move`, then the source judges it, then :func:`course`, then
the source drafts ahead, then :func:`settle`.
"""

from __future__ import annotations

import numpy as np

from covspec_core.kernels import links
from covspec_core.kernels.compiled import inner
from covspec_core.profile import HardwareProfile
from covspec_core.wire import sizes

STREAM_BYTES = sizes.STREAM_BYTES
draft_step_s = inner(HardwareProfile.draft_s)
pass_s = inner(HardwareProfile.verify_s)
branch_factor = inner(HardwareProfile.branch_factor)
draft_bytes = inner(sizes.draft_bytes)
verdict_bytes = inner(sizes.verdict_bytes)
asks_again = inner(sizes.asks_again)


@inner
def transfer(s, c, table, way, start_s, payload_bytes):
    """When a message has left, and when it is on the other side."""
    start_s = start_s + s.offset_s
    left_s, rtt_s = links.carry(table, way, s.row, start_s, payload_bytes, c.slot_s, c.slots)
    return left_s - s.offset_s, left_s - s.offset_s + 0.5 * rtt_s


@inner
def reading_s(s, c):
    """Seconds in which the device reads a prompt."""
    return c.device_prefill_s * s.device_factor


@inner
def request_start(s, c, table, now_s, image_bytes):
    """The device can draft, the edge can verify: image upload and both prefills, overlapped.

    Returns:
        When they can, and seconds of the upload.
    """
    left_s, arrived_s = transfer(s, c, table, links.UP, now_s, image_bytes)
    edge_s = arrived_s + c.edge_prefill_s * s.edge_factor
    return now_s + reading_s(s, c), edge_s, left_s - now_s


@inner
def begin_request(s, c, table, image_bytes):
    """Take up a request; the seconds until the edge has read it."""
    start = request_start(s, c, table, s.now_s, image_bytes)
    s.device_ready_s, s.edge_ready_s, s.upload_s = start
    s.reading_s, s.request_s, s.image_bytes = reading_s(s, c), s.now_s, image_bytes
    s.streaming = s.owed = s.awake = False
    s.position = s.ready = s.unchecked = s.lag = 0
    return s.edge_ready_s - s.now_s


@inner
def read_again(s, c):
    """The device forgets what it drafted ahead, and is to read prompt and answer anew."""
    s.reading_s = reading_s(s, c)
    s.device_ready_s = s.now_s + s.reading_s
    s.lag, s.ready, s.awake = s.position, 0, False


@inner
def edge_only_end_s(s, c, table, now_s, image_bytes, tokens):
    """When the edge alone has answered a request."""
    _, edge_s, _ = request_start(s, c, table, now_s, image_bytes)
    end_s = edge_s + c.edge_step_s * s.edge_factor * tokens
    return transfer(s, c, table, links.DOWN, end_s, STREAM_BYTES)[1]


@inner
def move(s, r, c):
    """What a round does, once its block is drafted: a check, a commit, or a burst of the edge."""
    alone = r.asked == 0 or r.give_up
    if alone:
        r.unsent = r.asked
    r.burst_asked = min(c.edge_burst, s.limit - s.position) if alone else 0
    fits = s.unchecked + r.drafted <= c.max_skipped
    r.local = not alone and fits and r.unsure == 0
    r.judged = r.unsure if c.by_token else r.drafted
    if not c.by_token:
        r.sure = np.inf


@inner
def steps_of(s, length):
    """Draft steps until so many tokens are drafted; to look ahead the first was taken unasked."""
    return max(max(length, 1 if s.awake else 0) - s.ready, 0)


@inner
def begun_s(s, length):
    """When a round begins: a device that has to draft has read its request before."""
    return max(s.now_s, s.device_ready_s) if steps_of(s, length) > 0 else s.now_s


@inner
def drafted_s(s, c, length):
    """When so many draft steps are taken."""
    steps = steps_of(s, length)
    missed = s.lag if steps > 0 else 0
    seconds = draft_step_s(c, s.keep) * steps + c.catch_up_s * missed
    return begun_s(s, length) + seconds * s.device_factor


@inner
def edge_work_s(r, c, unchecked, positions):
    """Seconds of a pass over new positions, or of a burst, by the profile."""
    if r.burst_asked > 0:
        return c.edge_catch_up_s * unchecked + c.edge_step_s * r.emitted
    return c.edge_catch_up_s * unchecked + pass_s(c, positions)


@inner
def goes_on(s, r):
    """The edge writes unasked, on or from the start; a device that drafted has stopped it."""
    return r.burst_asked > 0 and (s.streaming or s.position == 0) and r.unsent == 0


@inner
def bytes_up(s, r, c, length, unchecked, owed):
    """Of a call's first message; a device that redraws repeats the token behind a verdict."""
    if goes_on(s, r):
        return 0
    ids = unchecked + (1 if c.repeats and owed else 0)
    return draft_bytes(ids, length, r.judged if c.by_token else length, c.by_token, c.judged_bytes)


@inner
def call(s, r, c, table, sent_s, length, positions, unchecked, owed, edge_ready_s, rejected):
    """Upload, edge work, download, and a second exchange where one is needed.

    A streaming edge does not wait to be asked: it goes on from where its last burst ended, so
    consecutive bursts cost no round trip. A burst that opens an answer was asked for with the
    request, so the edge begins it once it has read that, whether the device has or not.

    Returns:
        Times of arrival, of the pass and of its end, of the first answer and of the last; bytes up
        and down; seconds of the radio.
    """
    alone = r.burst_asked > 0
    up = bytes_up(s, r, c, length, unchecked, owed)
    down = verdict_bytes(rejected, c.refusal_bytes)
    left_s, arrived_s = transfer(s, c, table, links.UP, sent_s, up)
    verify_s = edge_ready_s if goes_on(s, r) else max(arrived_s, edge_ready_s)
    verified_s = verify_s + edge_work_s(r, c, unchecked, positions) * s.edge_factor
    # Of a burst only the message of the last token is waited for.
    waited = STREAM_BYTES if alone else down
    gone_s, received_s = transfer(s, c, table, links.DOWN, verified_s, waited)
    # What a streaming edge sent while the device was busy is already there.
    first_s = last_s = max(received_s, sent_s)
    radio_s = (left_s - sent_s) + (gone_s - verified_s)
    down = STREAM_BYTES * r.emitted if alone else down
    if asks_again(rejected, r.tail, c.asks_always, c.asks_tail):
        left_s, there_s = transfer(s, c, table, links.UP, first_s, c.again_up_bytes)
        gone_s, last_s = transfer(s, c, table, links.DOWN, there_s, c.again_down_bytes)
        radio_s += (left_s - first_s) + (gone_s - there_s)
        up, down = up + c.again_up_bytes, down + c.again_down_bytes
    return arrived_s, verify_s, verified_s, first_s, last_s, up, down, radio_s


@inner
def course(s, r, c, table):
    """Times and bytes of a round."""
    r.started_s = begun_s(s, r.drafted + r.unsent)
    r.sent_s = drafted_s(s, c, r.drafted + r.unsent)
    if r.local:
        r.arrived_s = r.verify_s = r.verified_s = r.received_s = r.sent_s
        r.bytes_up = r.bytes_down = 0
        r.window_s = r.radio_s = 0.0
    elif c.pre_verify and r.drafted > 1:
        _early_course(s, r, c, table)
    else:
        _note(r, 0.0, call(
            s, r, c, table, r.sent_s, r.drafted, r.drafted + 1, s.unchecked, s.owed,
            s.edge_ready_s, r.rejected,
        ))  # fmt: skip
    _ahead(s, r, c)


@inner
def _note(r, busy_s, trip):
    arrived_s, verify_s, verified_s, first_s, last_s, up, down, radio_s = trip
    r.arrived_s, r.verify_s, r.verified_s, r.received_s = arrived_s, verify_s, verified_s, last_s
    r.bytes_up, r.bytes_down, r.radio_s = up, down, radio_s + busy_s
    r.window_s = first_s - r.sent_s


@inner
def refused_early(r, c):
    """A first token that was judged apart from the others is refused."""
    return c.pre_verify and r.drafted > 1 and r.rejected and r.stood == 0


@inner
def _early_course(s, r, c, table):
    """A call for the first token, then, unless it is refused, one for the others of the block."""
    refused = refused_early(r, c)
    head = call(
        s, r, c, table, drafted_s(s, c, 1), 1, 1, s.unchecked, s.owed, s.edge_ready_s, refused
    )
    if refused:
        up, radio_s = 0, 0.0
        if head[4] > r.sent_s:  # the others are on their way before the device knows
            up = bytes_up(s, r, c, r.drafted - 1, 0, False)
            radio_s = transfer(s, c, table, links.UP, r.sent_s, up)[0] - r.sent_s
        r.sent_s = min(head[4], r.sent_s)
        _note(r, radio_s, head)
        r.bytes_up += up
        r.window_s = 0.0
        return
    rest = call(s, r, c, table, r.sent_s, r.drafted - 1, r.drafted, 0, False, head[2], r.rejected)
    _note(r, head[7], rest)
    r.bytes_up += head[5]
    r.bytes_down += head[6]


@inner
def _ahead(s, r, c):
    """Draft steps that fit into the wait for the first answer.

    For branches the first step of the wait reads the block's last token, which names the
    candidates, unless it was taken for its chance; every further one drafts one token on all
    branches. A device that goes on behind its block just drafts.
    """
    if c.post_verify:
        r.width = 1
    if r.local or r.burst_asked > 0:
        r.width = 0
    r.branch_steps = 0
    if r.width > 0:
        step_s = draft_step_s(c, s.keep) * s.device_factor
        if c.post_verify:
            steps = np.floor(r.window_s / step_s)
        else:
            left_s = r.window_s - step_s * (1 - r.unsent)
            steps = np.floor(left_s / (step_s * branch_factor(c, r.width)))
        if steps > 0:
            r.branch_steps = int(min(steps, float(c.longest)))


@inner
def _charged(r, c):
    """Judged drafts and bonus tokens; a redrawn token is free (calibration, reading C)."""
    if r.local:
        return 0
    if r.burst_asked > 0:
        return r.emitted
    judged = 1 if refused_early(r, c) else r.judged
    return judged + (1 if r.emitted > r.stood and not r.rejected else 0)


@inner
def _energy_j(s, r, c):
    """Energy of device and radio; what the session still owed for its start is charged with it.

    A request's first round bears its upload, the first one that drafts its prompt: a device that
    never drafts need not read.
    """
    ahead_s, step_s = 0.0, draft_step_s(c, s.keep) * s.device_factor
    if r.width > 0:
        reading = 0 if c.post_verify else 1 - r.unsent
        ahead_s = step_s * (reading + branch_factor(c, r.width) * r.branch_steps)
    elif r.burst_asked > 0 and c.reads_along and s.device_ready_s <= r.received_s:
        ahead_s = step_s  # what it has read is charged when it drafts next
    computed_s, radio_s = r.sent_s - r.started_s + ahead_s, r.radio_s + s.upload_s
    s.upload_s = 0.0
    if computed_s > 0:
        computed_s += s.reading_s
        s.reading_s = 0.0
    return c.device_w * computed_s + c.radio_w * radio_s


@inner
def settle(s, r, c, requests):
    """What a round shows once all of it is known, and where the session stands behind it."""
    alone = r.burst_asked > 0
    tell_tokens(r)
    r.charged, r.energy_j = _charged(r, c), _energy_j(s, r, c)
    r.first_s = r.received_s
    if alone:  # a burst streams its tokens
        r.first_s -= c.edge_step_s * s.edge_factor * (r.emitted - 1)
    advance(s, r, requests)


@inner
def tell_tokens(r):
    """What became of a round's tokens."""
    r.accepted = 0 if r.local else r.stood - r.unjudged
    r.skipped = r.emitted if r.local else r.unjudged
    r.burst = r.emitted if r.burst_asked > 0 else 0


@inner
def advance(s, r, requests):
    """The session goes on behind a round."""
    alone = r.burst_asked > 0
    s.now_s = r.received_s
    if not r.local:
        s.edge_ready_s = r.verified_s
        s.owed = r.emitted > r.accepted + r.skipped
    s.streaming, s.awake = alone, not alone and not r.request_done
    s.position += r.emitted
    s.ready = r.branch_steps if r.hit else 0
    s.unchecked = s.unchecked + r.emitted if r.local else 0
    # Tokens that the edge wrote alone reach the draft's cache with its next step.
    s.lag = (0 if r.unsent > 0 else s.lag) + r.emitted if alone else 0
    r.session_done = r.request_done and s.request + 1 >= requests
    if r.request_done:
        s.request += 1
