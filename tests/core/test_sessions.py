"""Accounting of rounds: every second, byte and joule against a plain loop over one session."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from covspec_core.engine import Engine, realise_links
from covspec_core.errors import InvalidAction, InvalidSetting, LinkTimeout, SessionOver
from covspec_core.links.channels import ConstantLink, GilbertElliottLink
from covspec_core.links.table import LinkTable
from covspec_core.live import LiveSource
from covspec_core.replay import ReplaySource
from covspec_core.rounds import Actions, RoundAction, RoundResult
from covspec_core.sessions import Sessions
from covspec_core.wire import PROTOCOLS
from covspec_core.wire.sizes import STREAM_BYTES
from tests.core.conftest import LEVELS, LIMIT, PROFILE, make_scenario
from tests.core.ledger import Ledger, ScriptedSource

OUTCOME = ("accepted", "rejected", "emitted", "deviations")
CHANGING = GilbertElliottLink(
    4e4, 1e3, mean_good_s=0.3, mean_bad_s=0.2, down_scale=0.5, rtt_s=(0.01, 0.2), jitter_s=0.05
)
JITTERY = replace(CHANGING, jitter_s=0.5)


def random_actions(rng, scenario, size, gated=False):
    """Any choices, the edge alone in every third round."""
    gates = rng.choice([0.0, 0.3, 0.7, np.inf], size) if gated else np.full(size, np.inf)
    lengths = rng.choice(scenario.draft_lengths, size)
    return Actions(
        rng.choice(scenario.keep_levels, size),
        np.where(rng.random(size) < 0.33, 0, lengths),
        rng.choice(scenario.branch_widths, size),
        gates,
    )


def seeds_of(*values):
    return np.array(values, dtype=np.uint64)


def open_ledgers(sessions):
    path = sessions.path
    columns = (path.row, path.offset_s, path.device_factor, path.edge_factor)
    drawn = zip(*(column.tolist() for column in columns), strict=True)
    return [Ledger(sessions.scenario, path.table, *values) for values in drawn]


def begin_requests(ledgers, source):
    """Tell the ledgers which images came since the last round."""
    for rows, images in source.began:
        for row, image_bytes in zip(rows.tolist(), images.tolist(), strict=True):
            ledgers[row].begin_request(image_bytes)
    source.began.clear()


@pytest.mark.parametrize("protocol_name", sorted(PROTOCOLS))
@pytest.mark.parametrize("seed", range(4))
def test_rounds_cost_what_a_plain_loop_says(protocol_name, seed):
    size, rng, seen = 6, np.random.default_rng(seed), Counter()
    scenario = make_scenario(
        protocol_name, link=JITTERY, requests=1000, max_skipped=6, edge_burst=2, deadline_s=1e6,
        profile=replace(PROFILE, vocab_size=50, head_s=0.003),
    )  # fmt: skip
    source = ScriptedSource(seed, size)
    sessions = Sessions(scenario, realise_links(scenario, seed), source, size)
    sessions.begin(np.arange(size), np.arange(seed, seed + size, dtype=np.uint64))
    ledgers = open_ledgers(sessions)
    for _ in range(100):
        begin_requests(ledgers, source)
        actions = random_actions(rng, scenario, size, gated=True)
        before = [(ledger.streaming, ledger.lag, ledger.unchecked) for ledger in ledgers]
        result = sessions.play(actions)
        for b, ledger in enumerate(ledgers):
            got = result.row(b)
            outcome = {name: getattr(source.outcome, name)[b].item() for name in OUTCOME}
            row = ledger.play(
                actions[b], source.limit, source.margins[b], outcome, source.hit[b],
                source.outcome.tail[b],
            )  # fmt: skip
            for name, value in row.items():
                assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
            assert got["request_done"] == source.outcome.done[b]
            streaming, lag, unchecked = before[b]
            seen += Counter(
                committed=got["skipped"] > 0,
                rejected=got["rejected"],
                hit=got["hit"],
                streamed=streaming and got["burst"] > 0,
                already_there=streaming and got["burst"] > 0 and got["received_s"] == got["sent_s"],
                caught_up_on_device=lag > 0 and got["drafted"] > 0,
                caught_up_on_edge=unchecked > 0 and got["bytes_up"] > 0,
            )
    assert len(seen) == 7
    assert min(seen.values()) >= 3, seen


def replay_sessions(recording, scenario, size, links=None):
    source = ReplaySource(recording, scenario.protocol, size)
    return Sessions(scenario, links or realise_links(scenario, 5), source, size)


def assert_same_round(one, other, row=slice(None)):
    for field in fields(RoundResult):
        got, expected = getattr(one, field.name)[row], getattr(other, field.name)
        np.testing.assert_array_equal(got, expected, err_msg=field.name)


def first_row(actions, row):
    return Actions.of([actions[row]])


@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled"])
@pytest.mark.parametrize("gated", [False, True])
def test_a_batch_equals_single_sessions_bit_for_bit(recording, protocol_name, gated):
    size, rounds = 7, 40
    scenario = make_scenario(protocol_name, link=CHANGING, requests=1000, deadline_s=1e6)
    links = realise_links(scenario, 5)
    batch = replay_sessions(recording, scenario, size, links)
    singles = [replay_sessions(recording, scenario, 1, links) for _ in range(size)]
    seeds = seeds_of(*range(100, 100 + size))
    batch.begin(np.arange(size), seeds)
    for b, single in enumerate(singles):
        single.begin(np.arange(1), seeds[b : b + 1])
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        actions = random_actions(rng, scenario, size, gated)
        status = batch.status().values
        for b, single in enumerate(singles):
            np.testing.assert_array_equal(status[b], single.status().values[0])
        result = batch.play(actions)
        for b, single in enumerate(singles):
            assert_same_round(result, single.play(first_row(actions, b)), slice(b, b + 1))


def test_a_session_begun_anew_in_a_used_batch_equals_a_first_one(recording):
    scenario = make_scenario(link=CHANGING, requests=1000, deadline_s=1e6)
    fresh, used = (replay_sessions(recording, scenario, 3) for _ in range(2))
    used.begin(np.arange(3), seeds_of(7, 8, 9))
    rng = np.random.default_rng(1)
    for _ in range(9):
        used.status()
        used.play(random_actions(rng, scenario, 3, gated=True))
    used.begin(np.array([1]), seeds_of(42))
    fresh.begin(np.arange(3), seeds_of(1, 42, 3))
    for _ in range(20):
        np.testing.assert_array_equal(used.status().values[1], fresh.status().values[1])
        actions = random_actions(rng, scenario, 3)
        one, other = used.play(actions), fresh.play(actions)
        for field in fields(RoundResult):
            assert getattr(one, field.name)[1] == getattr(other, field.name)[1], field.name


def test_equal_seeds_give_equal_sessions_and_others_differ(recording):
    scenario = make_scenario(link=CHANGING, requests=3, deadline_s=1e6)

    def times(seed):
        sessions = replay_sessions(recording, scenario, 1)
        sessions.begin(np.arange(1), seeds_of(seed))
        rng, ends = np.random.default_rng(0), []
        while sessions.request[0] < scenario.requests:
            ends.append(sessions.play(random_actions(rng, scenario, 1)).received_s[0])
        return ends

    assert times(3) == times(3)
    assert times(3) != times(4)


def test_a_seed_draws_link_offset_and_factors_within_their_ranges(recording):
    scenario = make_scenario(device_factor=(0.5, 2.0), edge_factor=(1.0, 1.0))
    size = 2000
    sessions = replay_sessions(recording, scenario, size)
    sessions.begin(np.arange(size), np.arange(size, dtype=np.uint64))
    path = sessions.path
    assert set(path.row.tolist()) == set(range(scenario.link_rows))
    assert 0 <= path.offset_s.min() < path.offset_s.max() < path.table.period_s
    assert 0.5 <= path.device_factor.min() < path.device_factor.max() <= 2.0
    assert abs(np.median(path.device_factor) - 1.0) < 0.05  # log-uniform
    assert (path.edge_factor == 1.0).all()
    assert abs(np.corrcoef(path.offset_s, path.device_factor)[0, 1]) < 0.08


def play_alone(sessions, scenario):
    """Draft length 0 throughout; end of each session."""
    size = sessions.size
    alone = Actions.full(size, RoundAction(scenario.keep_levels[0], 0, 0))
    while True:
        result = sessions.play(alone)
        if result.session_done.all():
            return result.received_s


@pytest.mark.parametrize("link", [CHANGING, ConstantLink(2e4, 1e4, rtt_s=(0.02, 0.3))])
@pytest.mark.parametrize("seed", range(6))
def test_edge_only_seconds_equal_a_session_that_never_drafts(recording, link, seed):
    scenario = make_scenario(link=link, edge_burst=3, deadline_s=1e6)
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(seed))
    expected = sessions.edge_only_s(np.arange(1))
    np.testing.assert_allclose(play_alone(sessions, scenario), expected, rtol=1e-12)


def slow_device(recording, **changes):
    """One session whose device reads a request far longer than its image travels."""
    profile = replace(PROFILE, edge_prefill_s=0.1, device_prefill_s=5.0)
    scenario = make_scenario(
        profile=profile, edge_burst=2, device_factor=(1, 1), edge_factor=(1, 1), **changes
    )
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(3))
    return sessions, scenario


def test_an_edge_that_opens_an_answer_does_not_wait_for_the_device(recording):
    sessions, scenario = slow_device(recording)
    expected = sessions.edge_only_s(np.arange(1))
    np.testing.assert_allclose(play_alone(sessions, scenario), expected, rtol=1e-12)


def test_a_device_drafts_once_it_has_read_the_request_whatever_the_edge_wrote(recording):
    sessions, scenario = slow_device(recording)
    assert sessions.status()["device_wait_s"][0] == 5.0
    assert sessions.status()["relevance_entropy"][0] == 0
    opening = sessions.play(Actions.of([RoundAction(0.0, 0, 0)]))
    assert opening.bytes_up[0] == opening.started_s[0] == 0.0
    assert sessions.status()["device_wait_s"][0] == 5.0 - opening.received_s[0] > 0
    assert sessions.status()["edge_wait_s"][0] == 0
    drafted = sessions.play(Actions.of([RoundAction(0.0, 1, 0)]))
    assert drafted.started_s[0] == 5.0
    step_s = scenario.profile.draft_step_s + 2 * scenario.profile.catch_up_s
    assert drafted.sent_s[0] == pytest.approx(5.0 + step_s)
    assert sessions.status()["relevance_entropy"][0] > 0


def test_the_edge_is_foreseen_to_have_read_a_request_when_it_has(recording):
    """On a link that does not change; so a burst's first token comes half a round trip later."""
    sessions, _ = slow_device(recording)
    wait_s = sessions.status()["edge_wait_s"][0]
    opening = sessions.play(Actions.of([RoundAction(0.0, 0, 0)]))
    assert opening.verify_s[0] == pytest.approx(wait_s)


def test_consecutive_bursts_cost_no_round_trip_and_no_upload(recording):
    link = ConstantLink(up_bps=1e5, down_bps=1e5, rtt_s=(2.0, 2.0))
    scenario = make_scenario(link=link, edge_burst=2, requests=1000)
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(0))
    alone = Actions.of([RoundAction(0.0, 0, 0)])
    before = sessions.play(alone)
    pairs = 0
    for _ in range(30):
        after = sessions.play(alone)
        assert after.bytes_up[0] == 0
        if not before.request_done[0]:
            pairs += 1
            gap_s = (after.received_s - before.received_s)[0]
            work_s = PROFILE.edge_step_s * sessions.path.edge_factor[0] * after.burst[0]
            assert gap_s == pytest.approx(work_s, rel=1e-9)
            assert after.bytes_down[0] == STREAM_BYTES * after.burst[0]
        before = after
    assert pairs > 10


def test_keep_takes_effect_only_when_a_request_starts(recording):
    scenario = make_scenario("decoupled", requests=1000)
    steady, changing = (replay_sessions(recording, scenario, 1) for _ in range(2))
    for sessions in (steady, changing):
        sessions.begin(np.arange(1), seeds_of(6))
    rng, chosen, ignored = np.random.default_rng(0), None, 0
    for _ in range(60):
        action = random_actions(rng, scenario, 1)[0]
        if steady.fresh[0]:
            chosen = action.keep
        ignored += action.keep != chosen
        kept = replace(action, keep=chosen)
        one, other = steady.play(Actions.of([kept])), changing.play(Actions.of([action]))
        assert_same_round(one, other)
        np.testing.assert_array_equal(steady.status().values, changing.status().values)
        assert changing.fresh[0] or changing.place.keep[0] == chosen
    assert ignored > 10


def test_a_keep_that_changes_within_an_answer_costs_a_new_prefill_and_all_that_was_ahead(recording):
    scenario = make_scenario("coupled", keep_control="per_round")
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(6))
    low, high = scenario.keep_levels[0], scenario.keep_levels[-1]
    one = Actions.of([RoundAction(high, 1, 1)])
    sessions.play(one)
    position, now_s = int(sessions.place.position[0]), float(sessions.now_s[0])
    assert position > 0
    assert sessions.place.awake[0]
    result = sessions.play(Actions.of([RoundAction(low, 2, 0)]))
    factor, profile = float(sessions.path.device_factor[0]), scenario.profile
    assert result.started_s[0] == pytest.approx(now_s + profile.device_prefill_s * factor)
    read_s = profile.catch_up_s * position + 2 * profile.draft_s(low)
    assert result.sent_s[0] == pytest.approx(result.started_s[0] + read_s * factor)
    assert sessions.place.keep[0] == low
    again = sessions.play(Actions.of([RoundAction(low, 2, 0)]))
    assert again.started_s[0] == result.received_s[0]


def test_a_new_keep_is_read_once_a_request():
    scenario = make_scenario(requests=1000, deadline_s=1e6)
    source = ScriptedSource(0, 2)
    sessions = Sessions(scenario, realise_links(scenario, 0), source, 2)
    sessions.begin(np.arange(2), seeds_of(1, 2))
    begun = np.ones(2, int)
    rng = np.random.default_rng(0)
    for _ in range(30):
        result = sessions.play(random_actions(rng, scenario, 2))
        np.testing.assert_array_equal(np.bincount(source.prefilled, minlength=2), begun)
        begun += result.request_done


def test_a_session_ends_after_its_last_request(recording):
    scenario = make_scenario(requests=2)
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(0))
    action, done = Actions.of([RoundAction(0.5, 2, 1)]), 0
    while done < 2:
        result = sessions.play(action)
        done += int(result.request_done[0])
        assert result.session_done[0] == (done == 2)
    with pytest.raises(SessionOver):
        sessions.play(action)


def test_a_session_that_was_never_begun_is_over(recording):
    sessions = replay_sessions(recording, make_scenario(), 1)
    with pytest.raises(SessionOver):
        sessions.play(Actions.of([RoundAction(0.5, 2, 1)]))


@pytest.mark.parametrize(
    ("keep", "length", "width", "gate", "message"),
    [
        (0.25, 1, 1, math.inf, "recorded level"),
        (-0.1, 1, 1, math.inf, "keep must lie"),
        (math.nan, 1, 1, math.inf, "keep must lie"),
        (0.5, -1, 1, math.inf, "draft_length must be >= 0"),
        (0.5, 11, 1, math.inf, "draft_length must be at most 10, got 11"),
        (0.5, 1.0, 1, math.inf, "draft_length must be an integer"),
        (0.5, 1, -1, math.inf, "branch_width must be >= 0"),
        (0.5, 1, 5, math.inf, "branch_width must be at most 4, got 5"),
        (0.5, 1, 1, -0.5, "gate_threshold must be >= 0"),
        (0.5, 1, 1, math.nan, "gate_threshold must be >= 0"),
    ],
)
def test_an_invalid_action_is_refused_and_changes_nothing(
    recording, keep, length, width, gate, message
):
    scenario = make_scenario()
    sessions, untouched = (replay_sessions(recording, scenario, 1) for _ in range(2))
    for each in (sessions, untouched):
        each.begin(np.arange(1), seeds_of(0))
    with pytest.raises(InvalidAction, match=message):
        sessions.play(Actions.of([RoundAction(keep, length, width, gate)]))
    good = Actions.of([RoundAction(0.5, 3, 2)])
    np.testing.assert_array_equal(sessions.status().values, untouched.status().values)
    assert_same_round(sessions.play(good), untouched.play(good))


@pytest.mark.parametrize("name", ["draft_length", "branch_width"])
def test_arrays_of_actions_count_in_integers(name):
    controls = {"draft_length": np.array([2]), "branch_width": np.array([0])} | {
        name: np.array([2.7])
    }
    with pytest.raises(InvalidAction, match=rf"{name} must be an integer, got \[2.7\]"):
        Actions(keep=np.array([0.5]), gate_threshold=np.array([np.inf]), **controls)


@pytest.mark.parametrize("name", ["link_rows", "link_s", "deadline_s"])
@pytest.mark.parametrize("value", [0, math.nan])
def test_a_scenario_that_lasts_no_time_is_refused(name, value):
    with pytest.raises(InvalidSetting, match=f"{name} must be above 0, got {value}"):
        make_scenario(**{name: value})


def test_actions_for_another_number_of_sessions_are_refused(recording):
    sessions = replay_sessions(recording, make_scenario(), 2)
    sessions.begin(np.arange(2), seeds_of(0, 1))
    with pytest.raises(InvalidAction, match="2 sessions, got 1"):
        sessions.play(Actions.of([RoundAction(0.5, 3, 2)]))


def dying_link(alive_s):
    """Good rates at first, then none for longer than any deadline here."""
    alive = np.arange(10_000) * 0.1 < alive_s
    rate_bps = np.where(alive, 1e5, 0.0)[None]
    return LinkTable(0.1, rate_bps, rate_bps, np.full_like(rate_bps, 0.02))


def begin_at_the_start_of_the_link(sessions, monkeypatch, seed=0):
    draw = sessions._draw

    def draw_and_rewind(rows):
        draw(rows)
        sessions.path.offset_s[rows] = 0.0

    monkeypatch.setattr(sessions, "_draw", draw_and_rewind)
    sessions.begin(np.arange(sessions.size), np.arange(seed, seed + sessions.size, dtype=np.uint64))


def test_a_link_that_is_dead_from_the_start_times_out(recording):
    link = ConstantLink(up_bps=0.0, down_bps=1e5)
    sessions = replay_sessions(recording, make_scenario(link=link), 3)
    with pytest.raises(LinkTimeout, match=r"of a request must.*deadline_s=120.*session 1"):
        sessions.begin(np.array([1, 2]), seeds_of(0, 1))


def test_a_link_that_is_too_slow_for_a_round_times_out(recording):
    link = ConstantLink(up_bps=1e6, down_bps=1e3)  # 1 s for a 125-byte message down
    profile = replace(PROFILE, vocab_size=50_000)
    scenario = make_scenario("decoupled", link=link, profile=profile, deadline_s=60.0)
    sessions = replay_sessions(recording, scenario, 1)
    sessions.begin(np.arange(1), seeds_of(0))
    action = Actions.of([RoundAction(0.0, 5, 0)])
    with pytest.raises(LinkTimeout, match=r"deadline_s=60\.0.*needs 160\d\."):
        play_until_rejected(sessions, action)


def play_until_rejected(sessions, action):
    while not sessions.play(action).rejected[0]:
        pass


def test_a_local_commit_needs_no_link(recording, monkeypatch):
    scenario = make_scenario(max_skipped=1000, device_factor=(1, 1), edge_factor=(1, 1))
    sessions = replay_sessions(recording, scenario, 1, dying_link(alive_s=1.0))
    begin_at_the_start_of_the_link(sessions, monkeypatch)
    result = sessions.play(Actions.of([RoundAction(0.5, 3, 2, gate_threshold=0.0)]))
    assert result.skipped[0] > 0
    assert result.received_s[0] == result.sent_s[0]
    assert result.bytes_up[0] == result.bytes_down[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_timeout_carries_the_tokens_that_were_received(pair, requests, monkeypatch, seed):
    scenario = make_scenario(requests=1, device_factor=(1, 1), edge_factor=(1, 1))
    source = LiveSource(pair, scenario.protocol, 1.0, LIMIT, lambda key: requests[key % 12])
    engine = Engine(scenario, dying_link(alive_s=3.0), source)
    begin_at_the_start_of_the_link(engine.sessions, monkeypatch, seed)
    received: list[int] = []
    with pytest.raises(LinkTimeout) as caught:
        play_and_keep(engine, received)
    assert len(received) > 1
    assert caught.value.tokens == tuple(received)


def play_and_keep(engine, received):
    """Play without end; what each round brought is kept."""
    while True:
        engine.round(RoundAction(LEVELS[-1], 1, 0))
        received[:] = engine.source.text


def test_the_link_that_is_too_slow_is_named_by_its_session(recording):
    link = ConstantLink(up_bps=1e6, down_bps=1e3)
    profile = replace(PROFILE, vocab_size=50_000)
    scenario = make_scenario("decoupled", link=link, profile=profile, deadline_s=60.0)
    sessions = replay_sessions(recording, scenario, 4)
    sessions.begin(np.arange(4), seeds_of(0, 1, 2, 3))
    with pytest.raises(LinkTimeout, match=r"a round must.*link of session 3"):
        sessions.play_some(np.array([3]), Actions.of([RoundAction(0.0, 5, 0)]))


def test_a_keep_that_is_refused_leaves_the_session_as_it_was(recording):
    sessions = replay_sessions(recording, make_scenario(keep_control="per_round"), 1)
    sessions.begin(np.arange(1), seeds_of(0))
    sessions.play(Actions.of([RoundAction(1.0, 2, 0)]))
    before = sessions.records.copy()
    with pytest.raises(InvalidAction, match="keep must be a recorded level"):
        sessions.play(Actions.of([RoundAction(0.7, 2, 0)]))
    for name in before.dtype.names:  # padding between fields may differ
        np.testing.assert_array_equal(sessions.records[name], before[name], err_msg=name)
