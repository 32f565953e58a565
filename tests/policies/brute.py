"""Brute force: every sequence of actions of a short session, played through the real engine."""

from __future__ import annotations

from itertools import product

import numpy as np

from covspec_core.acceptance import DRAWN
from covspec_core.recording import DRAWN_COLUMNS, FORMAT, Recording
from covspec_core.rounds import CHANCES, GATE_OFF, Actions
from covspec_core.sessions import Sessions
from env.play import World


def drawn_recording(seed, lengths, levels=(0.0, 1.0), limit=None):
    """Answers of given lengths with drawn facts, as many in every split."""
    rng = np.random.default_rng(seed)
    n, r, many = sum(lengths), len(lengths), (len(levels), sum(lengths))
    tokens = rng.integers(0, 3, n).astype(np.uint32)
    meta = {"format": FORMAT, "keep_levels": levels, "limit": limit or max(lengths) + 3}
    return Recording(
        meta=meta,
        questions=np.array(["?"] * r),
        length=np.array(lengths, np.int32),
        key=np.arange(r).astype(np.uint64),
        split=np.zeros(r, np.uint8),
        image_bytes=rng.integers(500, 20_000, r).astype(np.int32),
        statistics=rng.random((r, 4)).astype(np.float32),
        scene=np.full(r, -1),
        tokens=tokens,
        p=rng.uniform(0.3, 1.0, n).astype(np.float32),
        q=rng.uniform(0.1, 1.0, many).astype(np.float32),
        margin=rng.random(many).astype(np.float16),
        entropy=rng.random(many).astype(np.float16),
        overlap=rng.random(many).astype(np.float16),
        draw=np.where(rng.random(many) < 0.7, tokens, 9).astype(np.uint32),
        rank=rng.integers(0, 4, many).astype(np.uint8),
        rank_shared=rng.integers(0, 4, many).astype(np.uint8),
        chances=np.zeros((*many, len(CHANCES)), np.uint8),
        **{name: np.zeros((*many, len(DRAWN)), np.uint8) for name in DRAWN_COLUMNS},
    )


def moves(scenario):
    """Every choice of length and width that a round can make a difference with."""
    drafts = product([g for g in scenario.draft_lengths if g > 0], scenario.branch_widths)
    return [(0, 0)] * (scenario.draft_lengths[0] == 0) + list(drafts)


def play_rows(world: World, seeds, keep, actions):
    """Play one row of actions a session.

    Args:
        world: Scenario, links and requests.
        seeds: Of the sessions, ``[B]``.
        keep: Share of visual tokens in every round, ``[rounds, B]``.
        actions: Pairs of length and width, ``[rounds, B, 2]``.

    Returns:
        Seconds of the sessions ``[B]``, rounds until their ends ``[B]``, and what every round
        showed, ``[rounds, B]``.
    """
    size, rows = len(seeds), np.arange(len(seeds))
    play = Sessions(world.scenario, world.links, world.replay(size), size)
    play.begin(rows, seeds)
    seconds, rounds = np.zeros(size), np.zeros(size, dtype=int)
    shown = []
    for number, (own_keep, pairs) in enumerate(zip(keep, actions, strict=True), start=1):
        off = np.full(size, GATE_OFF)
        result = play.play(Actions(own_keep, pairs[:, 0], pairs[:, 1], off))
        shown.append(100 * result.burst + 2 * result.accepted + result.rejected)
        over = np.flatnonzero(result.session_done)
        ended = over[rounds[over] == 0]
        seconds[ended], rounds[ended] = result.received_s[ended], number
        play.begin(over, seeds[over])
    assert (rounds > 0).all()
    return seconds, rounds, np.array(shown)


def sequences(choices: int, rounds: int):
    """All sequences of choices, ``[rounds, choices ** rounds]``; the last one changes fastest."""
    return np.indices((choices,) * rounds).reshape(rounds, -1)


def least_seconds(world: World, seed, rounds):
    """Least seconds of one session over all sequences of keep, length and width."""
    pairs = np.array([(k, *m) for k in world.scenario.keep_levels for m in moves(world.scenario)])
    chosen = pairs[sequences(len(pairs), rounds)]
    seeds = np.full(chosen.shape[1], seed, dtype=np.uint64)
    return play_rows(world, seeds, chosen[..., 0], chosen[..., 1:].astype(np.int64))[0].min()


def least_expected_seconds(worlds, seeds, weights, keep, rounds):
    """Least expected seconds of one request over all policies that see what was accepted.

    Args:
        worlds: The request under every pattern of accepted tokens.
        seeds: A session of each.
        weights: Probability of each pattern.
        keep: Share of visual tokens.
        rounds: Most rounds of the request.
    """
    pairs = np.array(moves(worlds[0].scenario))
    order = sequences(len(pairs), rounds)
    keeps = np.full(order.shape, keep)
    played = [
        play_rows(world, np.full(order.shape[1], seed, dtype=np.uint64), keeps, pairs[order])
        for world, seed in zip(worlds, seeds, strict=True)
    ]

    def value(prefix, patterns):
        """Least expectation once these actions showed the same in all of these patterns."""
        row = sum(c * len(pairs) ** (rounds - 1 - i) for i, c in enumerate(prefix))
        seconds, ends, _ = played[patterns[0]]
        if prefix and ends[row] == len(prefix):
            return seconds[row]
        return min(after((*prefix, c), patterns) for c in range(len(pairs)))

    def after(prefix, patterns):
        row = sum(c * len(pairs) ** (rounds - 1 - i) for i, c in enumerate(prefix))
        groups = {}
        for pattern in patterns:
            groups.setdefault(played[pattern][2][len(prefix) - 1, row], []).append(pattern)
        total = sum(weights[p] for p in patterns)
        return sum(
            sum(weights[p] for p in group) / total * value(prefix, group)
            for group in groups.values()
        )

    return value((), [p for p in range(len(worlds)) if weights[p] > 0])
