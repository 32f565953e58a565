"""Layout and ranges of observations and actions."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidAction, InvalidSetting, InvalidStatus, PolicyMismatch
from covspec_core.rounds import STATUS_FIELDS, Actions, Status
from covspec_core.scenario import Scenario
from env.codec import Codec
from env.observations import LOGARITHMIC, RANGES, VERSION
from tests.core.conftest import make_scenario

CODEC = Codec((0.0, 0.5, 1.0), (0, 2, 4), (0, 1, 2, 4))


def status_with(**columns):
    """A status of zeros (ones where only a logarithm is seen) but for some columns."""
    status = Status.blank(len(next(iter(columns.values()))))
    for name in LOGARITHMIC:
        status[name] = 1.0
    for name, values in columns.items():
        status[name] = values
    return status


def test_every_status_field_has_a_range():
    assert set(RANGES) == set(STATUS_FIELDS)
    assert CODEC.fields == tuple(RANGES)


@pytest.mark.parametrize("name", STATUS_FIELDS)
def test_a_field_covers_its_range_and_is_clipped_beyond(name):
    low, high = RANGES[name]
    middle = np.sqrt(low * high) if name in LOGARITHMIC else (low + high) / 2
    below, above = (low / 9, high * 9) if name in LOGARITHMIC else (low - 9, high + 9)
    observed = CODEC.encode(status_with(**{name: [below, low, middle, high, above]}))
    column = observed[:, CODEC.fields.index(name)]
    np.testing.assert_allclose(column, [0, 0, 0.5, 1, 1], atol=1e-6)
    assert np.isin(observed, CODEC.encode(status_with(**{name: [low]}))[0]).sum() >= 5 * 20


@pytest.mark.parametrize("name", STATUS_FIELDS)
def test_an_observation_gives_the_value_back(name):
    low, high = RANGES[name]
    scale = np.log if name in LOGARITHMIC else np.asarray
    inverse = np.exp if name in LOGARITHMIC else np.asarray
    values = inverse(np.linspace(scale(low), scale(high), 23))
    column = CODEC.encode(status_with(**{name: values}))[:, CODEC.fields.index(name)]
    restored = inverse(scale(low) + column.astype(float) * (scale(high) - scale(low)))
    np.testing.assert_allclose(restored, values, rtol=1e-5, atol=1e-5 * (high - low))


@pytest.mark.parametrize("name", sorted(LOGARITHMIC))
def test_a_logarithmic_field_bears_zero(name):
    assert CODEC.encode(status_with(**{name: [0.0]}))[0, CODEC.fields.index(name)] == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", STATUS_FIELDS)
def test_a_status_that_is_not_finite_is_refused_by_name(name, value):
    with pytest.raises(InvalidStatus, match=f"status {name} must be finite, got {value}"):
        CODEC.encode(status_with(**{name: [1.0, value, 1.0]}))


def test_encoding_leaves_the_status_alone():
    status = status_with(up_bps=[1e6, 1e7])
    before = status.values.copy()
    CODEC.encode(status)
    np.testing.assert_array_equal(status.values, before)


def test_observations_fit_their_space():
    rng = np.random.default_rng(0)
    status = Status(rng.normal(0, 1e6, (50, len(STATUS_FIELDS))))
    assert all(row in CODEC.observation_space for row in CODEC.encode(status))


def test_a_codec_may_show_some_fields_in_its_own_order():
    codec = Codec((1.0,), (1,), (0,), fields=("tokens", "up_bps"))
    observed = codec.encode(status_with(up_bps=[1e10], tokens=[0.0]))
    np.testing.assert_array_equal(observed, [[0.0, 1.0]])
    assert codec.observation_space.shape == (2,)


def test_indices_choose_from_the_levels():
    indices = np.array(list(itertools.product(*map(range, CODEC.sizes))))
    actions = CODEC.decode(indices)
    for i, (keep, length, width) in enumerate(indices):
        assert actions.keep[i] == CODEC.keep_levels[keep]
        assert actions.draft_length[i] == CODEC.draft_lengths[length]
        assert actions.branch_width[i] == CODEC.branch_widths[width]
    assert np.isinf(actions.gate_threshold).all()
    assert all(row in CODEC.action_space for row in indices)


@pytest.mark.parametrize(
    "indices",
    [
        [[3, 0, 0]],
        [[0, 3, 0]],
        [[0, 0, 4]],
        [[0, 0, 0], [0, -1, 0]],
        [[0, 0]],
        [0, 0, 0],
        [[0.0, 0.0, 0.0]],
        [[np.nan, 0, 0]],
        [[True, False, True]],
    ],
    ids=str,
)
def test_an_action_outside_its_space_is_refused(indices):
    with pytest.raises(InvalidAction, match=r"MultiDiscrete\(3, 3, 4\), got"):
        CODEC.decode(np.array(indices))


def test_a_codec_is_that_of_its_scenario():
    scenario = make_scenario()
    codec = Codec.of(scenario)
    assert codec.keep_levels == scenario.keep_levels
    assert codec.sizes == (3, 9, 4)
    assert isinstance(scenario, Scenario)


def test_a_codec_survives_a_file():
    assert Codec.from_dict(json.loads(json.dumps(CODEC.to_dict()))) == CODEC


@pytest.mark.parametrize(
    "change",
    [
        {"version": VERSION + 1},
        {"fields": ["up_bps", "horoscope"]},
        {"horizon": [0.5]},
        {"keep_levels": ["all"]},
    ],
    ids=str,
)
def test_a_codec_of_another_make_is_refused(change):
    with pytest.raises(PolicyMismatch):
        Codec.from_dict(CODEC.to_dict() | change)


@pytest.mark.parametrize("name", ["keep_levels", "draft_lengths", "branch_widths"])
def test_a_codec_without_a_part_is_refused(name):
    values = CODEC.to_dict()
    del values[name]
    with pytest.raises(PolicyMismatch, match=name):
        Codec.from_dict(values)


def test_gates_may_be_chosen_as_a_fourth_part():
    codec = Codec((0.5, 1.0), (0, 4), (0,), gate_levels=(0.3, 0.6, np.inf))
    indices = np.array(list(itertools.product(*map(range, codec.sizes))))
    actions = codec.decode(indices)
    np.testing.assert_array_equal(
        np.array(codec.gate_levels)[indices[:, 3]], actions.gate_threshold
    )
    np.testing.assert_array_equal(codec.index(actions), indices)
    assert codec.action_space.nvec.tolist() == [2, 2, 1, 3]
    assert Codec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec


def test_stops_are_parts_of_an_action_where_a_scenario_has_levels_of_them():
    scenario = make_scenario(entropy_levels=(0.5, np.inf), stop_levels=(0.0, 0.3, 0.6))
    codec = Codec.of(scenario)
    assert codec.sizes[3:] == (2, 3)
    indices = np.array(list(itertools.product(*map(range, codec.sizes))))
    actions = codec.decode(indices)
    np.testing.assert_array_equal(codec.index(actions), indices)
    np.testing.assert_array_equal(actions.entropy_stop, np.array([0.5, np.inf])[indices[:, 3]])
    np.testing.assert_array_equal(actions.chance_stop, np.array([0, 0.3, 0.6])[indices[:, 4]])
    assert Codec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec


@pytest.mark.parametrize("levels", [(0.5, 0.2), (0.2, 1.2), (-0.1,)])
def test_stop_levels_that_are_no_ascending_chances_are_refused(levels):
    with pytest.raises(InvalidSetting, match="stop_levels must ascend within"):
        make_scenario(stop_levels=levels)


def test_masks_leave_the_keep_in_use_and_lengths_that_are_not_cut():
    status = status_with(fresh=[1.0, 0.0, 0.0], keep=[0.0, 0.5, 1.0])
    masks = CODEC.masks(status, np.array([9, 3, 1]))
    keeps, lengths, widths = np.split(masks, np.cumsum(CODEC.sizes)[:-1], axis=1)
    assert keeps.tolist() == [[True] * 3, [False, True, False], [False, False, True]]
    assert lengths.tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    assert widths.all()


def test_masks_leave_one_width_where_no_branches_are_drafted():
    masks = CODEC.masks(status_with(fresh=[1.0]), np.array([9]), branches=False)
    assert masks[0, -4:].tolist() == [True, False, False, False]


def test_a_threshold_is_taken_for_the_nearest_choice_and_nothing_else_is():
    codec = replace(CODEC, gate_levels=(0.3, 0.6, np.inf), stop_levels=(0.0, 0.2, 0.5))
    terms = {"keep": np.full(4, CODEC.keep_levels[0]), "draft_length": np.full(4, 2)}
    gates, stops = np.array([0.31, 0.44, 7.0, np.inf]), np.array([0.0, 0.09, 0.36, 1.0])
    actions = Actions(
        **terms, branch_width=np.zeros(4, int), gate_threshold=gates, chance_stop=stops
    )
    names = list(codec.parts)
    indices = codec.index(actions)
    assert indices[:, names.index("gate_threshold")].tolist() == [0, 0, 1, 2]
    assert indices[:, names.index("chance_stop")].tolist() == [0, 0, 2, 2]
    with pytest.raises(InvalidAction, match="branch_width must be one of"):
        codec.index(replace(actions, branch_width=np.full(4, 63)))
