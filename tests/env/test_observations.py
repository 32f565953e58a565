"""What a controller may see: bounded, and only what a device can know by then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidAction
from covspec_core.recording import LEVEL_COLUMNS
from env.play import World
from env.presets import named_scenario
from env.single import CoVSpecEnv
from env.vector import CoVSpecVectorEnv
from tests.core.conftest import LEVELS, make_scenario
from tests.env.conftest import LINKS, MEASURED, PRESETS, some_actions


def toy_scenario(link, protocol_name):
    return named_scenario(link, "paper", protocol_name, keep_levels=LEVELS)


@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled"])
@pytest.mark.parametrize("link", [name for name in PRESETS if name not in MEASURED])
def test_observations_stay_in_their_space_on_every_named_link(recording, link, protocol_name):
    env = CoVSpecVectorEnv(16, toy_scenario(link, protocol_name), recording=recording)
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    for _ in range(60):
        assert observations in env.observation_space
        observations, rewards, *_ = env.step(some_actions(env, rng))
        assert np.isfinite(rewards).all()
        assert (rewards < 0).all()


def test_named_links_in_one_mixture_stay_in_their_space(recording):
    links = [name for name in PRESETS if name not in MEASURED]
    env = CoVSpecVectorEnv(32, toy_scenario(links, "decoupled"), recording=recording)
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    for _ in range(40):
        assert observations in env.observation_space
        observations, *_ = env.step(some_actions(env, rng))


@pytest.mark.parametrize(
    "action", [[3, 0, 0], [-1, 0, 0], [0, 0], 1, [0.5, 1.0, 1.0], [[0, 0, 0]]], ids=str
)
def test_an_action_outside_its_space_is_refused_and_changes_nothing(env, action):
    env.reset(seed=0)
    before = env.play.observe()
    with pytest.raises(InvalidAction):
        env.step(np.array(action))
    np.testing.assert_array_equal(env.play.observe(), before)


def altered(recording, seen, sighted):
    """A recording whose unseen tokens are others; of ``sighted`` ones the draft knows its law."""
    rng = np.random.default_rng(1)
    unseen, hidden = ~seen, ~(seen | sighted)
    n, vocab = len(seen), int(recording.tokens.max()) + 2
    changes = {
        "tokens": np.where(unseen, rng.integers(1, vocab, n), recording.tokens),
        "p": np.where(unseen, rng.random(n), recording.p),
    }
    for name, dtype in LEVEL_COLUMNS.items():
        column = getattr(recording, name)
        other = rng.integers(0, vocab, column.shape) if np.issubdtype(dtype, np.integer) else (
            rng.random(column.shape)
        )  # fmt: skip
        other_where = hidden if name in ("margin", "entropy", "chances") else unseen
        wide = other_where[:, None] if column.ndim == 3 else other_where
        changes[name] = np.where(wide, other, column)
    return replace(
        recording, **{k: v.astype(getattr(recording, k).dtype) for k, v in changes.items()}
    )


@pytest.mark.parametrize("protocol_name", ["coupled", "decoupled"])
@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 8, 13, 21])
def test_what_lies_ahead_does_not_show_in_observations(recording, protocol_name, rounds):
    recording = recording.only("train")
    scenario = make_scenario(protocol_name, link=LINKS["rayleigh"])

    def observe(recording, steps):
        env = CoVSpecEnv(scenario, recording=recording)
        rng, seen = np.random.default_rng(rounds), np.zeros(len(recording.tokens), dtype=bool)
        observations = [env.reset(seed=rounds)[0]]
        place, source = env.play.sessions.place, env.play.sessions.source
        for _ in range(steps):
            first = recording.start[source.pick(place.key)[0]]
            observation, _, over, *_ = env.step(rng.integers(env.action_space.nvec))
            later = recording.start[source.pick(place.key)[0]] != first or place.position[0] == 0
            end = recording.length[recording.start == first][0] if later else place.position[0]
            seen[first : first + end] = True
            observations.append(observation)
            if over:
                break
        sighted = np.zeros_like(seen)
        if env.play.sessions.status()["awake"][0]:
            sighted[first + place.position[0]] = True
        return observations, seen, sighted

    past, seen, sighted = observe(recording, rounds)
    assert rounds > 8 or not seen.all()
    other = altered(recording, seen, sighted)
    assert (other.tokens != recording.tokens).any()
    for one, two in zip(past, observe(other, rounds)[0], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("rounds", [1, 2, 4, 8])
def test_the_link_ahead_does_not_show_in_observations(recording, rounds):
    world = World.load(make_scenario(link=LINKS["rayleigh"], link_s=200.0), recording=recording)

    def observe(world):
        env = CoVSpecVectorEnv(1, world=world)
        rng = np.random.default_rng(rounds)
        observations = [env.reset(seed=rounds)[0]]
        while len(observations) <= rounds:
            observations.append(env.step(some_actions(env, rng))[0])
        return observations, env.play.sessions

    past, sessions = observe(world)
    table, path = world.links, sessions.path
    span_s = path.offset_s[0] + np.array([0.0, sessions.now_s[0]])
    first, now = (span_s / table.slot_s).astype(int) - [1, 0]  # the slot before is reported
    assert now - first < table.slots / 2
    ahead = (np.arange(table.slots) - first) % table.slots > now - first
    columns = {
        name: np.where(ahead, 0.1 * getattr(table, name), getattr(table, name))
        for name in ("up_bps", "down_bps", "rtt_s")
    }
    other, _ = observe(replace(world, links=replace(table, **columns)))
    np.testing.assert_array_equal(past, other)
