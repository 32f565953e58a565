"""Loops over sessions: what Python calls. Arrays have a leading axis of sessions.

Those that can find a link too slow return the first session that waits too long and its seconds,
or -1; a loop over rounds has then changed no session.
"""

from __future__ import annotations

import numpy as np

from covspec_core.acceptance import GRID
from covspec_core.kernels import replay as rec
from covspec_core.kernels import rounds as rnd
from covspec_core.kernels import status as stat
from covspec_core.kernels.compiled import loop
from covspec_core.rounds import CHANCES, STATUS_FIELDS

ROW, OFFSET, FACTORS, REQUEST = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4)
"""What a session's seed is mixed with for each of its draws."""
AHEAD = 5
"""Pairs of slots that a round mostly lasts."""
BLOCK = 64
"""Sessions whose links and texts are read ahead together."""
CHANCE = list(STATUS_FIELDS).index(f"chance_{CHANCES[0]}")
"""Column of the first chance that the acceptance head foresees."""


@loop
def ask(sessions, rounds, costs, requests):
    """Cut blocks to what the requests have left; whether all lies within the scenario."""
    c, fits = costs[0], True
    for b in range(len(rounds)):
        s, r = sessions[b], rounds[b]
        fits &= (r.asked <= c.longest) & (r.width <= c.widest) & (s.request < requests)
        r.asked = min(r.asked, s.limit - s.position)
    return fits


@loop
def moves(sessions, rounds, costs):
    """What rounds do, once their blocks are drafted."""
    for b in range(len(rounds)):
        rnd.move(sessions[b], rounds[b], costs[0])


@loop
def courses(sessions, rounds, costs, table):
    """Times and bytes of judged rounds."""
    for b in range(len(rounds)):
        s, r = sessions[b], rounds[b]
        rnd.course(s, r, costs[0], table)
        if r.received_s - r.started_s > costs[0].deadline_s:
            return b, r.received_s - r.started_s
    return -1, 0.0


@loop
def settles(sessions, rounds, costs, table, requests):
    """What rounds show, and where the sessions stand behind them."""
    for b in range(len(rounds)):
        s, r = sessions[b], rounds[b]
        rnd.settle(s, r, costs[0], requests)
        stat.learn(s, r, costs[0], table)


@loop
def measured(sessions, rounds, costs, table, requests, learns):
    """The same where times and bytes were measured, not accounted."""
    for b in range(len(rounds)):
        s, r = sessions[b], rounds[b]
        rnd.tell_tokens(r)
        rnd.advance(s, r, requests)
        if learns:
            stat.learn(s, r, costs[0], table)


@loop
def replayed_courses(sessions, rounds, texts, tokens, judged, costs, table):
    """Rounds up to their verdicts, along recorded texts."""
    c, p = costs[0], judged[0]
    for start in range(0, len(rounds), BLOCK):
        end = min(start + BLOCK, len(rounds))
        for b in range(start, end):
            s = sessions[b]
            rounds[b].window_s = stat.touch(s, c, table, s.now_s, AHEAD) + rec.touch(
                s, texts[b], tokens
            )
        for b in range(start, end):
            s, r, text = sessions[b], rounds[b], texts[b]
            rec.draft(s, r, text, tokens, p)
            rnd.move(s, r, c)
            rec.finish(s, r, text, tokens, p, not c.post_verify)
            rnd.course(s, r, c, table)
            if r.received_s - r.started_s > c.deadline_s:
                return b, r.received_s - r.started_s
    return -1, 0.0


@loop
def replayed_settles(sessions, rounds, texts, tokens, costs, table, requests):
    """What is left of them."""
    c = costs[0]
    for start in range(0, len(rounds), BLOCK):
        end = min(start + BLOCK, len(rounds))
        for b in range(start, end):
            s, r = sessions[b], rounds[b]
            r.energy_j = stat.touch(s, c, table, r.started_s, 1)
            r.first_s = stat.touch(s, c, table, r.received_s, 1)
        for b in range(start, end):
            s, r = sessions[b], rounds[b]
            r.hit = rec.branch(s, r, texts[b], tokens, not c.post_verify)
            rnd.settle(s, r, c, requests)
            stat.learn(s, r, c, table)


@loop
def statuses(sessions, rows, costs, table, status):
    """What controllers may see of some sessions, but for what the source looks ahead to."""
    for k in range(len(rows)):
        stat.read(sessions[rows[k]], costs[0], table, status[k])


@loop
def replayed_statuses(sessions, rows, texts, tokens, chances, costs, table, status, values):
    """All that controllers may see; ``status`` and ``values`` are the same numbers."""
    for start in range(0, len(rows), BLOCK):
        end = min(start + BLOCK, len(rows))
        for k in range(start, end):
            s, place = sessions[rows[k]], rec.at(sessions[rows[k]], texts[rows[k]], tokens, 0)
            ahead = tokens[place].margin + chances[place, 0]
            status[k].up_bps = stat.touch(s, costs[0], table, s.now_s, 1) + ahead
        for k in range(start, end):
            s, row, text = sessions[rows[k]], status[k], texts[rows[k]]
            stat.read(s, costs[0], table, row)
            rec.look(s, row, text, tokens)
            place = rec.at(s, text, tokens, 0)
            for n in range(len(CHANCES)):
                values[k, CHANCE + n] = chances[place, n] / GRID if row.awake > 0 else 0.0


@loop
def draw_sessions(sessions, rows, factors, draw, links):
    """Links and speeds of some sessions, each wholly decided by its seed.

    Args:
        sessions: Their seeds are set.
        rows: Which of them.
        factors: Least and greatest factors of device and edge, drawn log-uniformly, ``[2, 2]``.
        draw: Which of many independent draws of them.
        links: Number of links, and the period of their table in slots and seconds a slot.
    """
    n, slots, slot_s = links
    for k in range(len(rows)):
        s = sessions[rows[k]]
        stream = rec.absorb(np.uint64(0), s.seed)
        s.row = np.int64(rec.absorb(stream, ROW) % np.uint64(n))
        s.offset_s = rec.unit(rec.absorb(stream, OFFSET)) * (slots * slot_s)
        for i in range(2):
            low, high = factors[i]
            drawn = rec.absorb(rec.absorb(stream, FACTORS + np.uint64(i)), draw)
            factor = low * (high / low) ** rec.unit(drawn)
            if i == 0:
                s.device_factor = factor
            else:
                s.edge_factor = factor


@loop
def start_sessions(sessions, rows, costs, table):
    """Some sessions start on new links."""
    for k in range(len(rows)):
        s = sessions[rows[k]]
        s.now_s, s.keep, s.request = 0.0, 0.0, 0
        stat.forget(s, costs[0], table)


@loop
def request_keys(seeds, numbers, keys):
    """Noise keys of requests by their numbers, shape ``[k]``."""
    for k in range(len(seeds)):
        stream = rec.absorb(np.uint64(0), seeds[k])
        keys[k] = rec.absorb(stream, REQUEST + np.uint64(numbers[k]))


@loop
def begin_requests(sessions, rows, image_bytes, costs, table):
    """Some sessions take up requests."""
    for k in range(len(rows)):
        s = sessions[rows[k]]
        took_s = rnd.begin_request(s, costs[0], table, image_bytes[k])
        if took_s > costs[0].deadline_s:
            return k, took_s
    return -1, 0.0


@loop
def read_again(sessions, rows, costs):
    """Some devices read their prompts with other shares of the visual tokens."""
    for k in range(len(rows)):
        rnd.read_again(sessions[rows[k]], costs[0])


@loop
def edge_only(sessions, image_bytes, tokens, costs, table, seconds):
    """Seconds of the edge alone; image bytes and answer lengths have shape ``[B, requests]``."""
    for b in range(len(sessions)):
        seconds[b] = 0.0
        for r in range(image_bytes.shape[1]):
            seconds[b] = rnd.edge_only_end_s(
                sessions[b], costs[0], table, seconds[b], image_bytes[b, r], tokens[b, r]
            )


@loop
def request_starts(sessions, image_bytes, costs, table, start_s):
    """When devices can draft and edges verify requests that are asked for now, ``[2, B]``."""
    for b in range(len(sessions)):
        s = sessions[b]
        start_s[0, b], start_s[1, b], _ = rnd.request_start(
            s, costs[0], table, s.now_s, image_bytes[b]
        )


@loop
def standing(sessions, texts, tokens, judged, stands):
    """Whether each of the next tokens would stand, into ``stands``, shape ``[B, count]``."""
    for b in range(len(sessions)):
        s, text = sessions[b], texts[b]
        noise = rec.stream(s, rec.JUDGE)
        for i in range(stands.shape[1]):
            token = tokens[rec.at(s, text, tokens, i)]
            stands[b, i] = rec.accepts(token, judged[0], noise, s.position + i)


@loop
def looked_at(sessions, texts, tokens, judged, ahead, places, drawn):
    """Tokens whose facts devices see so far ahead, and what they then say of the drawn ones.

    Behind an answer's end it is the last one's.
    """
    p = judged[0]
    for k in range(len(sessions)):
        s, text = sessions[k], texts[k]
        last = max(min(ahead[k], text.total - s.position - 1), 0)
        run, noise = ahead[k] + 1, rec.stream(s, rec.JUDGE)
        for i in range(last + 1):
            token = tokens[rec.at(s, text, tokens, i)]
            judges = p.strays or i == ahead[k]
            if judges and not rec.accepts(token, p, noise, s.position + i):
                run = i
                break
        places[k] = rec.seen(s, text, tokens, run, ahead[k] if run < ahead[k] else last)
        drawn[k] = rec.drawn(tokens[places[k]], run == ahead[k])
