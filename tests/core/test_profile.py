"""Costs of device and edge, against the paper's calibrated numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.profile import HardwareProfile

T_E = 0.237  # s, the target decodes one token (reading C of the calibration)
# The draft costs 0.160 t_e with 64 of 768 visual tokens and 1 / 3.41 t_e with all of them.
KEEP_SHARE = (0.2933 - 0.160) / (1 - 64 / 768)

PAPER = HardwareProfile(
    edge_step_s=T_E, verify_slope=0.302, draft_step_s=T_E * (0.160 - KEEP_SHARE * 64 / 768),
    draft_keep_s=T_E * KEEP_SHARE, head_s=0.0, branch_slope=0.05, device_prefill_s=0.5,
    edge_prefill_s=1.0, catch_up_s=0.001, edge_catch_up_s=0.06, device_w=15.0, radio_w=2.0,
    vocab_size=151_674,
)  # fmt: skip
KEEPS = np.array([0.0, 0.25, 1.0])
NUMBERS = [name for name in HardwareProfile.__dataclass_fields__ if name != "vocab_size"]


def test_one_position_costs_an_edge_step_and_each_further_one_the_slope():
    assert PAPER.verify_s(1) == pytest.approx(0.237)
    assert PAPER.verify_s(2) == pytest.approx(0.237 * 1.302)
    assert PAPER.verify_s(8) == pytest.approx(0.237 * (1 + 7 * 0.302))


@pytest.mark.parametrize("kept", [64, 128, 416, 768])
def test_a_draft_step_is_linear_in_the_visual_tokens_kept(kept):
    expected_s = 0.237 * (0.160 + 0.1333 * (kept - 64) / 704)
    assert PAPER.draft_s(kept / 768) == pytest.approx(expected_s)


def test_the_paper_drafts_3_41_times_as_fast_as_the_edge_with_all_visual_tokens():
    assert PAPER.edge_step_s / PAPER.draft_s(1.0) == pytest.approx(3.41, abs=0.005)


def test_the_head_is_charged_once_for_every_draft_step():
    charged = replace(PAPER, head_s=0.01)
    np.testing.assert_allclose(charged.draft_s(KEEPS) - PAPER.draft_s(KEEPS), 0.01)


def test_each_further_branch_adds_its_slope():
    np.testing.assert_allclose(PAPER.branch_factor(np.array([1, 2, 4])), [1.0, 1.05, 1.15])


def test_methods_take_arrays_and_numbers_alike():
    for method, values in (
        (PAPER.verify_s, np.array([1, 5, 9])),
        (PAPER.draft_s, KEEPS),
        (PAPER.branch_factor, np.array([1, 2, 3])),
    ):
        np.testing.assert_array_equal(method(values), [method(value) for value in values])


@pytest.mark.parametrize("name", [*NUMBERS, "vocab_size"])
@pytest.mark.parametrize("bad", [-1e-9, float("nan"), float("inf")])
def test_negative_and_endless_costs_are_refused_by_name(name, bad):
    with pytest.raises(InvalidSetting, match=rf"profile\.{name} must be finite and >= 0"):
        replace(PAPER, **{name: bad})


@pytest.mark.parametrize("name", ["edge_step_s", "draft_step_s", "vocab_size"])
def test_steps_and_vocabulary_must_not_be_free(name):
    with pytest.raises(InvalidSetting, match=rf"profile\.{name} must be above 0"):
        replace(PAPER, **{name: 0})


@pytest.mark.parametrize("name", [n for n in NUMBERS if n not in ("edge_step_s", "draft_step_s")])
def test_every_other_cost_may_be_zero(name):
    assert getattr(replace(PAPER, **{name: 0.0}), name) == 0
