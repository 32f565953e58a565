"""Bandits find the best arm of a stationary toy, and try all of them first."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from policies.bandits import Bandit, BanditSettings, SpecStop, SpecStopSettings
from tests.policies.conftest import status_with, toy_scenario

LENGTHS = (0, 1, 2, 4, 8)
SIZE = 64
BANDITS = [
    Bandit(toy_scenario(draft_lengths=LENGTHS), BanditSettings(explore=0.05)),
    SpecStop(toy_scenario(draft_lengths=LENGTHS), SpecStopSettings(explore=0.2, states=1)),
    SpecStop(toy_scenario(draft_lengths=LENGTHS), SpecStopSettings(explore=0.2, prior=2.0)),
]
IDS = ["bandit", "spec_stop", "spec_stop with a prior"]


def play(rule, acceptance, rounds, seed=0, **columns):
    """Lengths of a stationary toy in which every token stands with one chance, ``[rounds, B]``."""
    rng, status, chosen = np.random.default_rng(seed), status_with(SIZE, **columns), []
    rule.begin(SIZE)
    for _ in range(rounds):
        length = rule.decide(status).draft_length
        chosen.append(length)
        stands = rng.random((SIZE, 10)) < acceptance
        accepted = np.minimum(np.where(stands.all(1), 10, stands.argmin(1)), length)
        told = {"drafted": length, "accepted": accepted, "rejected": (accepted < length) * 1.0}
        status = status_with(SIZE, **(columns | told))
    return np.array(chosen)


def best_length(acceptance, rtt_s, longest=8):
    """Best ratio of expected tokens and seconds, with the toy's costs."""
    profile = toy_scenario().profile
    step_s = profile.draft_step_s + profile.draft_keep_s / 12

    def speed(g):
        tokens = sum(acceptance**k for k in range(g + 1))
        return tokens / (g * step_s + profile.edge_step_s * (1 + profile.verify_slope * g) + rtt_s)

    return max((g for g in LENGTHS if 1 <= g <= longest), key=speed)


@pytest.mark.parametrize("rule", BANDITS, ids=IDS)
@pytest.mark.parametrize(("acceptance", "rtt_s"), [(0.15, 0.01), (0.97, 1.0)])
def test_they_converge_to_the_best_length(rule, acceptance, rtt_s):
    late = play(rule, acceptance, 400, rtt_s=rtt_s)[200:]
    assert (late == best_length(acceptance, rtt_s)).mean() > 0.8


@pytest.mark.parametrize(("rule", "pulls"), [(BANDITS[0], 2), (BANDITS[1], 1)], ids=IDS[:2])
def test_every_length_is_tried_first(rule, pulls):
    first = play(rule, 0.8, 4 * pulls)
    assert all((first == length).sum(0).tolist() == [pulls] * SIZE for length in LENGTHS[1:])


def test_a_prior_spares_the_trial_of_hopeless_lengths():
    settings = SpecStopSettings(explore=0.01, prior=5.0, start=0.4, states=1)
    rule = SpecStop(toy_scenario(draft_lengths=LENGTHS), settings)
    assert 8 not in play(rule, 0.4, 30, rtt_s=0.01)


def test_spec_stop_tells_channel_states_apart():
    """Learned with a short delay, a long one is another state, in which all is to be tried."""
    rule = SpecStop(toy_scenario(draft_lengths=LENGTHS), SpecStopSettings(explore=0.1, states=2))
    near = play(rule, 0.6, 200, rtt_s=0.01)
    rule._last = None
    first = rule.decide(status_with(SIZE, rtt_s=1.5)).draft_length
    assert (near[-1] <= 4).all()
    assert set(first) == {1}
    assert (rule._pulls[:, 1] == 0).all()


def test_the_edge_alone_is_an_arm_where_allowed():
    settings = BanditSettings(shortest=0, explore=0.02)
    rule = Bandit(toy_scenario(draft_lengths=LENGTHS), settings)
    assert (play(rule, 0.02, 300, rtt_s=0.5)[150:] == 0).mean() > 0.8


@pytest.mark.parametrize(
    ("settings", "wrong", "said"),
    [
        (BanditSettings, {"pulls": 0}, "pulls >= 1"),
        (BanditSettings, {"explore": -1.0}, "explore >= 0"),
        (SpecStopSettings, {"states": 0}, "states >= 1"),
        (SpecStopSettings, {"prior": -1.0}, "prior >= 0"),
        (SpecStopSettings, {"start": 2.0}, "start <= 1"),
    ],
)
def test_impossible_constants_are_refused(settings, wrong, said):
    with pytest.raises(InvalidSetting, match=said):
        settings(**wrong)
