"""What theory demands of the best control, in closed form, kept by the exact oracles.

All answers are of one kind: tokens that stand with one chance, or runs of sure tokens between
hopeless ones; links carry bytes in no time, so that a round of ``g`` tokens takes ``g c + K`` with
``c`` for drafting and checking one more token, and ``K`` for the rest, the round trip among it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.links.channels import ConstantLink
from covspec_core.links.table import LinkTable
from covspec_core.randomness import mix
from covspec_core.rounds import Actions
from covspec_core.sessions import Sessions
from env.play import World
from policies.changing import timed_law_oracle
from policies.judging import judge
from policies.oracles import law_oracle, outcome_oracle
from tests.core.conftest import PROFILE
from tests.policies.brute import drawn_recording, sequences
from tests.policies.conftest import toy_scenario

SWIFT = 1e13
"""Bits per second: no message takes more than nanoseconds."""
COSTS = replace(PROFILE, device_prefill_s=0.0, edge_prefill_s=0.0, draft_keep_s=0.0)
PER_TOKEN_S = COSTS.draft_step_s + COSTS.verify_slope * COSTS.edge_step_s
LENGTHS = (1, 2, 3, 4, 5, 6, 7)


def world_of(recording, rtt_s=0.01, bps=SWIFT, **changes):
    """A constant link, costs without chance, no branches, as many lengths as asked for."""
    usual = {
        "profile": COSTS, "link": ConstantLink(bps, bps, rtt_s=(rtt_s, rtt_s)), "requests": 1,
        "keep_levels": recording.keep_levels, "draft_lengths": LENGTHS, "branch_widths": (0,),
        "link_rows": 1, "device_factor": (1.0, 1.0), "edge_factor": (1.0, 1.0),
    }  # fmt: skip
    return World.load(toy_scenario("full", **(usual | changes)), "train", recording)


def equal_chances(chance, tokens=60):
    """One answer whose every token stands with the same chance."""
    recording = drawn_recording(0, [tokens], levels=(0.0,))
    return replace(recording, q=(chance * recording.p[None]).astype(np.float32))


def runs_of(*sure, tokens=48):
    """One answer in which, at each keep level, so many sure tokens stand between hopeless ones."""
    levels = tuple(np.linspace(0.0, 1.0, len(sure)).tolist()) if len(sure) > 1 else (0.0,)
    recording = drawn_recording(0, [tokens], levels=levels)
    place = np.arange(tokens)
    stands = np.stack([place % (run + 1) != run for run in sure])
    return replace(recording, q=np.where(stands, recording.p, 0.0).astype(np.float32))


def played(world, controller, seed=0):
    """Position, draft length, share and time on the link of every round of a session."""
    play, rows = Sessions(world.scenario, world.links, world.replay(1), 1), np.arange(1)
    play.begin(rows, mix(seed, rows))
    controller.begin(1)
    shown, over = [], False
    while not over:
        position, actions = int(play.place.position[0]), controller.decide(play.status())
        began_s = float(play.now_s[0] + play.path.offset_s[0])
        shown.append((position, int(actions.draft_length[0]), float(actions.keep[0]), began_s))
        over = bool(play.play(actions).session_done[0])
    return tuple(np.array(column) for column in zip(*shown, strict=True))


def lengths_far_from_the_end(world, controller, left=20):
    position, length, *_ = played(world, controller)
    return set(length[position < world.recording.length[0] - left].tolist())


def renewal_s(chance, rtt_s):
    """Seconds a token of every length, by the law of large numbers."""
    length = np.array(LENGTHS)
    round_s = COSTS.draft_step_s * length + COSTS.verify_s(length + 1) + rtt_s
    return round_s * (1 - chance) / (1 - chance ** (length + 1))


@pytest.mark.parametrize("chance", [0.5, 0.7, 0.9])
def test_the_best_length_is_the_renewal_theorems_and_rises_with_delay(chance):
    found = []
    for rtt_s in (0.0, 0.1, 0.3, 1.0, 3.0):
        world = world_of(equal_chances(chance), rtt_s)
        lengths = lengths_far_from_the_end(world, law_oracle(world, 1, 0))
        assert lengths == {LENGTHS[renewal_s(chance, rtt_s).argmin()]}
        found += lengths
    assert found == sorted(found)
    assert len(set(found)) >= 3


@pytest.mark.parametrize("chance", [0.4, 0.5])
def test_below_the_critical_delay_the_best_length_is_the_least_and_above_it_is_not(chance):
    """Where ``(c + K) / (1 + a) = (2c + K) / (1 + a + a^2)``: one token pays as two do."""
    critical_s = PER_TOKEN_S * (1 + chance - chance**2) / chance**2 - COSTS.edge_step_s
    assert critical_s > 0
    for factor, best in ((0.1, 1), (0.95, 1), (1.05, 2)):
        world = world_of(equal_chances(chance, 90), factor * critical_s)
        assert lengths_far_from_the_end(world, law_oracle(world, 1, 0), left=60) == {best}


def solved(kind, world):
    return timed_law_oracle(world, 1, 0, 0.005) if kind == "timed" else kind(world, 1, 0)


@pytest.mark.parametrize("kind", [law_oracle, outcome_oracle, "timed"])
@pytest.mark.parametrize(("draft_step_s", "best"), [(0.03, 5), (0.3, 1)])
def test_with_perfect_acceptance_the_best_length_is_the_greatest_unless_drafts_are_dear(
    kind, draft_step_s, best
):
    """``T`` tokens take ``c (T - n) + K n`` in ``n`` rounds: as few as can be, if ``K > c``."""
    tokens, costs = 24, replace(COSTS, draft_step_s=draft_step_s)
    world = world_of(equal_chances(1.0, tokens), draft_lengths=(1, 2, 3, 4, 5), profile=costs)
    oracle = solved(kind, world)
    _, length, *_ = played(world, oracle)
    np.testing.assert_array_equal(length, best)
    assert len(length) == tokens / (best + 1)
    drafting_s = draft_step_s + COSTS.verify_slope * COSTS.edge_step_s
    expected_s = drafting_s * (tokens - len(length)) + (COSTS.edge_step_s + 0.01) * len(length)
    np.testing.assert_allclose(judge(world, oracle, 1, 0).seconds[0], expected_s, rtol=1e-6)


@pytest.mark.parametrize("chance", [0.6, 0.9])
def test_the_edge_takes_over_where_its_stream_is_cheaper_than_every_round_trip(chance):
    """Drafting ``g`` wins below the delay at which ``E(g) t_e = g c + t_e + D``, for the best g.

    A stream pays one round trip in all, so that short answers are drafted beyond that delay.
    """
    tokens = np.cumsum(chance ** np.arange(1, LENGTHS[-1] + 1))
    takes_over_s = (COSTS.edge_step_s * tokens - PER_TOKEN_S * np.array(LENGTHS)).max()
    assert takes_over_s > 0.005
    lengths = (0, *LENGTHS)
    live = world_of(equal_chances(chance), 0.8 * takes_over_s, draft_lengths=lengths)
    assert 0 not in lengths_far_from_the_end(live, law_oracle(live, 1, 0))
    for far_s in (1.5 * takes_over_s, 1.0, 20.0):
        dead = world_of(equal_chances(chance), far_s, draft_lengths=lengths)
        oracle = law_oracle(dead, 1, 0)
        _, length, *_ = played(dead, oracle)
        np.testing.assert_array_equal(length, 0)
        np.testing.assert_allclose(oracle.seconds, oracle.edge_only_s, rtol=1e-6)


@pytest.mark.parametrize("make", [law_oracle, outcome_oracle])
def test_the_edge_takes_over_where_hardly_a_bit_comes_through(make):
    world = world_of(runs_of(3), bps=300.0, draft_lengths=(0, *LENGTHS), deadline_s=1e4)
    oracle = make(world, 1, 0)
    _, length, *_ = played(world, oracle)
    np.testing.assert_array_equal(length, 0)
    assert oracle.speedup[0] == pytest.approx(1.0)


def all_plays(world, rounds):
    """Seconds, deviations and bytes of every play of blocks of one or two tokens, checked or not.

    Blocks that are not checked have one token: two such are one of two.
    """
    kinds = np.array([(1, 0.0), (1, np.inf), (2, np.inf)])
    chosen = kinds[sequences(len(kinds), rounds)]
    size, rows = chosen.shape[1], np.arange(chosen.shape[1])
    play = Sessions(world.scenario, world.links, world.replay(size), size)
    play.begin(rows, np.zeros(size, np.uint64))
    seconds, deviations, sent = np.zeros((3, size))
    going = np.ones(size, dtype=bool)
    keep, width = np.zeros(size), np.zeros(size, np.int64)
    for length, gate in chosen.transpose(0, 2, 1):
        result = play.play(Actions(keep, length.astype(np.int64), width, gate))
        deviations += going * result.deviations
        sent += going * (result.bytes_up + result.bytes_down)
        seconds = np.where(going & result.session_done, result.received_s, seconds)
        going &= ~result.session_done
        over = np.flatnonzero(result.session_done)
        play.begin(over, np.zeros(len(over), np.uint64))
    assert not going.any()
    return seconds, deviations, sent


def test_with_a_gate_the_device_goes_on_alone_on_a_dead_link_and_asks_on_a_live_one():
    """Of all plays, what costs least if a token that the target would not write counts ``price_s``.

    No check pays for itself once a round trip takes longer than all deviations count.
    """
    tokens, price_s, wrong = 6, 5.0, 3
    live, dead = (
        all_plays(world_of(runs_of(1, tokens=tokens), rtt_s), tokens) for rtt_s in (0.01, 16.0)
    )
    best = int((dead[0] + price_s * dead[1]).argmin())
    assert wrong * price_s < 16.0
    assert (dead[1][best], dead[2][best]) == (wrong, 0)
    np.testing.assert_allclose(dead[0][best], tokens * COSTS.draft_step_s)
    best = int((live[0] + price_s * live[1]).argmin())
    assert live[1][best] == 0
    assert live[2][best] > 0


def least_s(run, keep, costs, rtt_s, tokens):
    """Of answers with runs of so many sure tokens: one round each, as ``K > c``."""
    drafting_s = costs.draft_s(keep) + costs.verify_slope * costs.edge_step_s
    assert costs.edge_step_s + rtt_s > drafting_s
    return tokens / (run + 1) * (run * drafting_s + costs.edge_step_s + rtt_s)


@pytest.mark.parametrize("make", [law_oracle, outcome_oracle])
def test_keep_rises_when_what_it_adds_to_acceptance_outweighs_what_it_costs(make):
    """A question about many objects: the more visual tokens, the longer the runs."""
    tokens, found = 48, []
    for draft_keep_s in (0.0, 0.03, 0.06, 0.09, 0.12, 0.18):
        costs = replace(COSTS, draft_keep_s=draft_keep_s)
        world = world_of(runs_of(1, 2, 5, tokens=tokens), 0.1, profile=costs)
        seconds = [
            least_s(run, keep, costs, 0.1, tokens)
            for run, keep in zip((1, 2, 5), world.scenario.keep_levels, strict=True)
        ]
        oracle = make(world, 1, 0)
        np.testing.assert_allclose(oracle.seconds[0], min(seconds), rtol=1e-6)
        _, _, keep, _ = played(world, oracle)
        assert set(keep) == {world.scenario.keep_levels[int(np.argmin(seconds))]}
        found.append(keep[0])
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("make", [law_oracle, outcome_oracle])
def test_keep_stays_least_where_it_adds_nothing_to_acceptance(make):
    costs = replace(COSTS, draft_keep_s=0.001)
    world = world_of(runs_of(3, 3, 3), 0.1, profile=costs)
    _, _, keep, _ = played(world, make(world, 1, 0))
    assert set(keep) == {0.0}


def test_on_a_link_that_changes_each_delay_has_lengths_of_its_own():
    """Two delays in turn. Rounds may be timed to the next change, at a small loss until then."""
    chance, delays, half_s = 0.7, (0.05, 1.0), 20.0
    world = world_of(equal_chances(chance, 250))
    rates, delay_s = np.full((1, 40), SWIFT), np.repeat(delays, 20)[None]
    world = replace(world, links=LinkTable(half_s / 20, rates, rates, delay_s))
    position, length, _, began_s = played(world, timed_law_oracle(world, 1, 0, 0.05))
    settled = (began_s % half_s < half_s - 5.0) & (position < 230)
    short, long = (length[settled & (began_s // half_s % 2 == half)] for half in (0, 1))
    assert min(len(short), len(long)) >= 5
    assert short.max() < long.min()
    for here, rtt_s in zip((short, long), delays, strict=True):
        paid_s = renewal_s(chance, rtt_s)
        assert paid_s[np.isin(LENGTHS, here)].max() < 1.03 * paid_s.min()
