"""A replay of independent draws has the right law, and gates agree where both are defined."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from covspec_core.blocks import Sampler
from covspec_core.engine import Engine, realise_links
from covspec_core.live import LiveSource
from covspec_core.randomness import BONUS
from covspec_core.recorder import Job, record
from covspec_core.replay import ReplaySource
from covspec_core.request import Request
from covspec_core.rounds import Actions, RoundAction, RoundResult
from covspec_core.sessions import Sessions
from tests.core.chances import Dice, Number
from tests.core.conftest import LEVELS, LIMIT, TOP, make_recording, make_requests, make_scenario
from tests.core.test_exactness import QUESTION, UNLIKELY, make_pair
from tests.core.twins import engines, random_action

INDEPENDENT = ["decoupled", "full", "lazy", "progressive"]
SHORT = 3  # tokens of an answer that is followed through all its outcomes
SEEN = (
    "drafted", "accepted", "rejected", "skipped", "burst", "emitted", "hit", "branch_steps",
    "bytes_up", "bytes_down", "charged", "request_done",
)  # fmt: skip


def request_of(key):
    return Request(None, 500, QUESTION, int(key))


def seen_in(result):
    """Everything a round shows, its end included."""
    row = result.row(0)
    return (*(row[name] for name in SEEN), round(row["received_s"], 9))


def trajectory(engine, actions):
    """What all rounds of one request show."""
    engine.begin(0)
    rounds = []
    for action in actions * SHORT:
        result = engine.round(action)
        rounds.append(seen_in(result))
        if result.session_done[0]:
            return tuple(rounds)
    raise AssertionError("an answer ends")


def decide(source, exact, level, dice):
    """Decide before a request what comes of each of its tokens, with the exact chances.

    Each position is judged at most once, so whether its token stands can be rolled beforehand.
    """
    n = len(exact) // len(LEVELS)
    for place in range(level * n, (level + 1) * n):
        stands = Number(dice) < exact["accept"][place]
        source.tokens["accept"][place] = stands
        if not stands:
            source.tokens["settled"][place] = Number(dice) < exact["settled"][place]


def roll_bonus_only(dice):
    """The edge writes every text; noise that a recording notes down beside it stays fixed."""

    def draw(sampler, law, position, purpose=0):
        return dice.roll(law) if purpose == BONUS else int(law.argmax())

    return draw


def record_every_text(monkeypatch, pair):
    """Recordings of all answers, each with its probability."""
    dice, recordings = Dice(), []

    def play():
        job = Job(request_of(0), "train")
        recordings.append(record(pair, [job], LEVELS, 1.0, SHORT, {}, top=TOP))
        return len(recordings) - 1

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "draw", roll_bonus_only(dice))
        chances = dice.chances(play)
    return [(recordings[index], chance) for index, chance in chances.items()]


def live_chances(monkeypatch, scenario, pair, play):
    """Exact law of what live models show."""
    dice = Dice()
    source = LiveSource(pair, scenario.protocol, 1.0, SHORT, request_of)
    engine = Engine(scenario, realise_links(scenario, 0), source)
    with monkeypatch.context() as patch:
        dice.replace_numbers(patch)
        return dice.chances(lambda: play(engine))


def replay_chances(monkeypatch, scenario, pair, play, keep=0.5):
    """Exact law of what replays of all answers show."""
    total, dice, level = defaultdict(float), Dice(), LEVELS.index(keep)

    def decide_and_play(engine, exact):
        decide(engine.source, exact, level, dice)
        return play(engine)

    for recording, weight in record_every_text(monkeypatch, pair):
        source = ReplaySource(recording, scenario.protocol, 1)
        exact = source.tokens.copy()
        engine = Engine(scenario, realise_links(scenario, 0), source)
        chances = dice.chances(lambda engine=engine, exact=exact: decide_and_play(engine, exact))
        for seen, chance in chances.items():
            total[seen] += weight * chance
    return dict(total)


def assert_equal_laws(live, replayed, least=5):
    """Equal up to the single precision of messages and recordings."""
    assert len(live) >= least
    assert set(live) == set(replayed)
    assert sum(live.values()) == pytest.approx(1, abs=1e-6)
    for seen, chance in live.items():
        assert replayed[seen] == pytest.approx(chance, abs=1e-6), seen


def act(length, width=0, keep=0.5):
    return RoundAction(keep, length, width)


@pytest.mark.parametrize("protocol_name", INDEPENDENT)
@pytest.mark.parametrize(
    "actions",
    [
        [act(1)],
        [act(2)],
        [act(3, keep=0.0)],
        [act(1, width=1)],
        [act(1, width=2), act(2)],
        [act(0), act(2)],
        [act(2), act(0)],
    ],
    ids=lambda actions: "-".join(f"{a.draft_length}w{a.branch_width}" for a in actions),
)
def test_rounds_have_the_same_law_replayed_as_live(monkeypatch, protocol_name, actions):
    # Slow draft steps: one fits into the wait, so a hit branch leaves one token ready.
    scenario = make_scenario(
        protocol_name, requests=1, edge_burst=1, draft_lengths=(0, 1, 2, 3),
        device_factor=(3.0, 3.0), edge_factor=(1.0, 1.0),
    )  # fmt: skip
    pair = make_pair()
    laws = [
        chances_of(monkeypatch, scenario, pair, lambda engine: trajectory(engine, actions), *more)
        for chances_of, more in ((live_chances, ()), (replay_chances, (actions[0].keep,)))
    ]
    assert_equal_laws(*laws)
    shown = [dict(zip(SEEN, row, strict=False)) for rounds in laws[0] for row in rounds]
    drafts = [row for row in shown if row["drafted"]]
    assert any(row["rejected"] for row in drafts)
    refusals = {row["bytes_down"] for row in drafts if row["rejected"]}
    # Largest entries alone, or the rest as well.
    assert len(refusals) == (2 if protocol_name == "progressive" else 1)
    assert any(row["hit"] for row in drafts) == any(action.branch_width for action in actions)


@pytest.mark.parametrize("protocol_name", INDEPENDENT)
@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_the_first_unchecked_token_deviates_with_the_same_chance(monkeypatch, protocol_name, keep):
    scenario = make_scenario(protocol_name, requests=1, draft_lengths=(0, 1))
    gated = RoundAction(keep, 1, 0, gate_threshold=0.0)

    def first_round(engine):
        engine.begin(0)
        row = engine.round(gated).row(0)
        return row["skipped"], row["deviations"]

    pair = make_pair()
    live = live_chances(monkeypatch, scenario, pair, first_round)
    assert set(live) == {(1, 0), (1, 1)}
    assert live[1, 1] > 0.01
    assert_equal_laws(live, replay_chances(monkeypatch, scenario, pair, first_round, keep), least=2)


def totals_live(scenario, pair, action, keys, limit):
    """Rounds, accepted tokens, rejections and bytes of one answer for each noise key."""
    queue = []
    source = LiveSource(pair, scenario.protocol, 1.0, limit, lambda key: queue.pop())
    engine = Engine(scenario, realise_links(scenario, 0), source)
    rows = []
    for key in keys:
        queue.append(request_of(key))
        engine.begin(0)
        rows.append(np.zeros(5, int))
        done = False
        while not done:
            result = engine.round(action)
            rows[-1] += totals_of(result)[0]
            done = bool(result.session_done[0])
    return np.array(rows)


def totals_of(result):
    columns = (result.emitted, result.accepted, result.rejected, result.hit)
    ones = np.ones(len(result.emitted), int)
    return np.stack([ones, *(column.astype(int) for column in columns)], 1)


def totals_replayed(scenario, recording, action, seed):
    """The same from a replay in which every recorded answer is played once."""
    n = len(recording.length)
    scenario = replace(scenario, requests=1000)
    source = ReplaySource(recording, scenario.protocol, n)
    source.pick = lambda keys: np.arange(len(keys))
    sessions = Sessions(scenario, realise_links(scenario, 0), source, n)
    sessions.begin(np.arange(n), np.arange(n, dtype=np.uint64) + np.uint64(seed))
    totals, going = np.zeros((n, 5), int), np.ones(n, bool)
    while going.any():
        result = sessions.play(Actions.full(n, action))
        totals += totals_of(result) * going[:, None]
        going &= ~result.request_done
    return totals


def two_sample_pvalue(one, other):
    """Chi-square of two samples of one number, rare values thrown together."""
    values, counts = np.unique(np.concatenate([one, other]), return_counts=True)
    common = values[counts >= 20]
    table = np.array([[np.sum(sample == value) for value in common] for sample in (one, other)])
    table = np.c_[table, [len(one) - table[0].sum(), len(other) - table[1].sum()]]
    table = table[:, table.sum(0) > 0]
    return stats.chi2_contingency(table).pvalue if table.shape[1] > 1 else 1.0


@pytest.fixture(scope="module")
def many_answers():
    """Answers to one question under many noise keys."""
    pair = make_pair(vocab_size=6, eos_bias=-2.5)
    return record(
        pair, [Job(request_of(key), "train") for key in range(400)], LEVELS, 1.0, 10, {}, top=TOP
    )  # fmt: skip


@pytest.mark.parametrize("protocol_name", INDEPENDENT)
@pytest.mark.parametrize("action", [RoundAction(0.5, 3, 2), RoundAction(0.0, 1, 1)])
def test_sums_over_answers_agree_between_replays_and_live_models(
    many_answers, protocol_name, action
):
    limit, n = many_answers.meta["limit"], len(many_answers.length)
    pair = make_pair(vocab_size=6, eos_bias=-2.5)
    scenario = make_scenario(protocol_name, requests=1)
    live = totals_live(scenario, pair, action, range(10_000, 10_000 + n), limit)
    replayed = totals_replayed(scenario, many_answers, action, seed=0)
    names = ("rounds", "tokens", "accepted", "rejections", "hits")
    assert live[:, 3].sum() > n / 2
    for name, one, other in zip(names, live.T, replayed.T, strict=True):
        assert two_sample_pvalue(one, other) > UNLIKELY, name


@pytest.mark.parametrize("protocol_name", INDEPENDENT)
@pytest.mark.parametrize("seed", range(6))
def test_greedy_rounds_are_the_same_live_and_replayed(pair, requests, protocol_name, seed):
    recording = make_recording(pair, requests, 0.0)
    scenario = make_scenario(protocol_name)
    both = engines(scenario, pair, requests, recording, 0.0)
    rng, over = np.random.default_rng(seed), False
    statuses = [engine.begin(seed) for engine in both]
    while not over:
        np.testing.assert_array_equal(statuses[0].values, statuses[1].values)
        action = random_action(rng, scenario)
        live, replayed = (engine.round(action) for engine in both)
        assert_same_round(live, replayed)
        over = bool(live.session_done[0])
        statuses = [engine.status() for engine in both]


def assert_same_round(live, replayed):
    for field in fields(RoundResult):
        one, other = getattr(live, field.name), getattr(replayed, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)


def gated_engines(pair, seed):
    requests = make_requests(6)
    recording = make_recording(pair, requests, 1.0)
    scenario = make_scenario("coupled", requests=2, max_skipped=5)
    both = engines(scenario, pair, requests, recording, 1.0)
    for engine in both:
        engine.begin(seed)
    return both


@pytest.mark.parametrize("seed", range(10))
def test_gated_single_tokens_agree_through_the_first_deviation(pair, seed):
    both = gated_engines(pair, seed)
    rng, seen = np.random.default_rng(seed), Counter()
    while not seen["deviations"] and not seen["over"]:
        gate = float(rng.choice([0.0, 0.3, 0.6, np.inf]))
        action = RoundAction(0.5, 1, int(rng.choice([0, 2])), gate)
        live, replayed = (engine.round(action) for engine in both)
        for name in (*SEEN, "deviations", "received_s"):
            assert getattr(live, name)[0] == getattr(replayed, name)[0], name
        seen += Counter(
            skipped=int(live.skipped[0]),
            deviations=int(live.deviations[0]),
            over=int(live.session_done[0]),
        )
    assert seen["skipped"] or seen["over"]


@pytest.mark.parametrize("seed", range(10))
def test_gated_blocks_agree_as_long_as_the_draft_is_right(pair, seed):
    both = gated_engines(pair, seed)
    rng = np.random.default_rng(seed)
    while True:
        gate = float(rng.choice([0.0, 0.2, 0.4, np.inf]))
        action = RoundAction(1.0, int(rng.integers(0, 4)), int(rng.choice([0, 2])), gate)
        live, replayed = (engine.round(action) for engine in both)
        wrong = [bool(r.rejected[0] or r.deviations[0]) for r in (live, replayed)]
        assert wrong[0] == wrong[1]
        if wrong[0]:
            break  # from here on the live text may leave the recorded one
        assert_same_round(live, replayed)
        if live.session_done[0]:
            break


@pytest.mark.parametrize("seed", range(10))
def test_gated_sessions_agree_throughout_if_the_draft_is_the_target(seed):
    pair = make_pair(vocab_size=6, eos_bias=-2.0, same=True)
    both = gated_engines(pair, seed)
    rng, over, skipped = np.random.default_rng(seed), False, 0
    while not over:
        gate = float(rng.choice([0.0, 0.2, 0.4]))
        action = RoundAction(0.5, int(rng.integers(1, 5)), int(rng.choice([0, 2])), gate)
        live, replayed = (engine.round(action) for engine in both)
        assert_same_round(live, replayed)
        assert not live.deviations[0]
        assert not live.rejected[0]
        over = bool(live.session_done[0])
        skipped += int(live.skipped[0])
    assert skipped > 0


@pytest.mark.parametrize("level", [0, 2])
def test_a_replay_counts_every_unchecked_token_that_the_shared_noise_draws_otherwise(
    recording, level
):
    scenario = make_scenario("coupled", requests=1, max_skipped=1000)
    source = ReplaySource(recording, scenario.protocol, 1)
    engine = Engine(scenario, realise_links(scenario, 0), source)
    always = RoundAction(recording.keep_levels[level], 5, 0, gate_threshold=0.0)
    wrong = np.split(recording.draw[level] != recording.tokens, np.cumsum(recording.length)[:-1])
    most = 0
    for seed in range(8):
        engine.begin(seed)
        request = int(source.pick(engine.sessions.place.key)[0])
        deviations, over = [], False
        while not over:
            result = engine.round(always)
            deviations.append(int(result.deviations[0]))
            over = bool(result.session_done[0])
        blocks = np.split(wrong[request], range(5, len(wrong[request]), 5))
        assert deviations == [int(block.sum()) for block in blocks]
        most = max(most, *deviations)
    assert most > 1


def test_unchecked_tokens_never_exceed_what_may_stand(pair):
    always = RoundAction(0.5, 2, 0, gate_threshold=0.0)
    for engine in gated_engines(pair, 3):
        run, longest, over = 0, 0, False
        while not over:
            result = engine.round(always)
            run = run + int(result.skipped[0]) if result.skipped[0] else 0
            longest, over = max(longest, run), bool(result.session_done[0])
            run = 0 if result.request_done[0] else run
        assert 4 <= longest <= engine.scenario.max_skipped


def test_a_limit_ends_replayed_answers_as_it_ends_recorded_ones(recording):
    assert recording.length.max() <= LIMIT
    scenario = make_scenario("decoupled", requests=1)
    source = ReplaySource(recording, scenario.protocol, 1)
    engine = Engine(scenario, realise_links(scenario, 0), source)
    for seed in range(8):
        engine.begin(seed)
        emitted, over = 0, False
        while not over:
            result = engine.round(RoundAction(1.0, 10, 0))
            emitted, over = emitted + int(result.emitted[0]), bool(result.session_done[0])
        _, length = source.peek(engine.sessions.place.key)
        assert emitted == length[0]
