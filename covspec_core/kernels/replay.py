"""What a recording says about a round, for one session; see :mod:`covspec_core.replay`.

``text`` says where a session reads: the first token of its request at its keep level, and how many
follow. ``tokens`` are the recorded ones of all levels, ``p`` how they are judged.
"""

from __future__ import annotations

import numpy as np

from covspec_core import randomness
from covspec_core.acceptance import GRID
from covspec_core.kernels.compiled import inner

JUDGE, REST = np.uint64(randomness.JUDGE), np.uint64(randomness.REST)
absorb = inner(randomness.absorb)
unit = inner(randomness.unit)


@inner
def at(s, text, tokens, ahead):
    """Index of the token so far ahead; behind the end of all, the last one."""
    return min(text.base + s.position + ahead, len(tokens) - 1)


@inner
def touch(s, text, tokens):
    """Read a text where a round will need it; see ``covspec_core.kernels.status.touch``."""
    return tokens[at(s, text, tokens, 0)].margin + tokens[at(s, text, tokens, 3)].margin


@inner
def stream(s, purpose):
    """Hash behind which positions are drawn."""
    return absorb(absorb(np.uint64(0), s.key), purpose)


@inner
def draw(stream, position):
    """A number in [0, 1) for a position."""
    return unit(absorb(stream, np.uint64(position)))


@inner
def accepts(token, p, noise, position):
    """Whether a drafted token stands: recorded under shared noise, else drawn."""
    if p.shared:
        return token.accept > 0
    return draw(noise, position) < token.accept


@inner
def seen(s, text, tokens, run, ahead):
    """Index of the token whose facts a device sees so far ahead if that at ``run`` is refused."""
    place = at(s, text, tokens, min(ahead, run))
    if ahead <= run:
        return place
    detour = tokens[place].detour
    return detour + min(ahead - run, np.int64(tokens[detour].left))


@inner
def draft(s, r, text, tokens, p):
    """A block: its length, and its tokens below the gate's threshold."""
    length, r.unsent = 0 if r.give_up else r.asked, 0
    block = min(length, text.total - s.position)
    if np.isfinite(r.entropy_stop) or r.chance_stop > 0:
        shortened = stopped(s, r, text, tokens, p, block)
        if shortened >= 0:
            block = length = shortened
    r.drafted = length
    r.unsure = block
    if np.isfinite(r.sure):
        r.unsure = 0
        for i in range(block):
            r.unsure += tokens[at(s, text, tokens, i)].confidence < r.sure


@inner
def stopped(s, r, text, tokens, p, block):
    """Tokens of a block that a stop ends, -1 if none does.

    Behind a token that will be refused the true text's facts would tell of the refusal.
    """
    standing, run, noise, left = 1.0, block, stream(s, JUDGE), text.total - s.position
    for i in range(block):
        token = tokens[seen(s, text, tokens, run, i)]
        if i > 0 and standing * (token.chance / GRID) < r.chance_stop:
            r.unsent = 1
            return i
        if token.entropy > r.entropy_stop:
            return i + 1
        lost = i < run and not accepts(token, p, noise, s.position + i)
        stands, follows = drawn(token, lost)
        standing *= stands
        # Nothing behind an answer's end is looked at.
        if (lost or i + 1 < left) and standing * follows < r.chance_stop:
            return i + 1
        if p.strays and lost:
            run = i
    return -1


@inner
def drawn(token, lost):
    """What the head says of a drawn token, of one in its place that will be refused if ``lost``."""
    if lost:
        return token.lost_stands / GRID, token.lost_follows / GRID
    return token.stands / GRID, token.follows / GRID


@inner
def finish(s, r, text, tokens, p, bonus):
    """Judge a block, pass over it, or let the edge write."""
    left = text.total - s.position
    block = min(r.drafted, left)
    run, unjudged, deviations = block, 0, 0
    noise = stream(s, JUDGE)
    for i in range(block):
        token = tokens[at(s, text, tokens, i)]
        stands = accepts(token, p, noise, s.position + i)
        passed = r.local or token.confidence >= r.sure
        if not stands and not passed:
            run = i
            break
        unjudged += passed
        deviations += not stands
    refused = run < block
    written = run + (1 if refused or bonus else 0)
    if r.local:
        written, unjudged = block, 0
    if r.burst_asked > 0:
        written = r.burst_asked
    r.stood = 0 if r.local else run
    r.unjudged, r.deviations, r.rejected = unjudged, deviations, refused
    r.tail = refused and _tail(s, text, tokens, p, run)
    r.emitted = min(written, left)
    r.request_done = r.emitted >= left
    _facts(s, r, text, tokens, max(run + refused, 1))


@inner
def _tail(s, text, tokens, p, run):
    """Whether the recorded token was redrawn with the rest of the target's law."""
    if not p.top:
        return False
    return draw(stream(s, REST), s.position + run) >= tokens[at(s, text, tokens, run)].settled


@inner
def _facts(s, r, text, tokens, judged):
    """What the draft's laws show at so many judged positions, the first ones of the block."""
    margins = entropies = 0.0
    for i in range(judged):
        token = tokens[at(s, text, tokens, i)]
        margins += token.margin
        entropies += token.entropy
        r.margin, r.entropy = token.margin, token.entropy
    r.margin_mean, r.entropy_mean = margins / judged, entropies / judged


@inner
def branch(s, r, text, tokens, bonus):
    """Whether the recorded bonus token was among the candidates."""
    stands = r.stood == r.drafted and r.drafted > 0 and r.branch_steps > 0
    if not bonus:
        return stands and not r.request_done
    ranked = tokens[at(s, text, tokens, r.drafted)].rank < r.width
    return stands and r.emitted > r.drafted and ranked


@inner
def look(s, row, text, tokens):
    """What was recorded at the next position, if the device is awake."""
    token = tokens[at(s, text, tokens, 0)]
    row.next_margin = token.margin if row.awake > 0 else 0.0
    row.next_entropy = token.entropy if row.awake > 0 else 0.0
