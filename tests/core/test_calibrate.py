"""Thresholds of gates from a recording."""

from __future__ import annotations

import json

import numpy as np
import pytest

from covspec_core import calibrate
from covspec_core.errors import InvalidSetting
from covspec_core.scenario import GATES


def test_every_gate_has_a_threshold_that_lets_the_wanted_share_pass(recording):
    found = calibrate.thresholds(recording, 0.5, 0.25)
    assert set(found) == set(GATES)
    for gate in found.values():
        assert gate["passed"] == pytest.approx(0.75, abs=0.05)


def test_what_passes_a_higher_threshold_is_wrong_less_often(recording):
    wrong = [calibrate.thresholds(recording, 1.0, q)["block"]["wrong"] for q in (0.0, 0.5, 0.9)]
    assert wrong[0] > wrong[1] > wrong[2]
    assert wrong[0] == pytest.approx(float(1 - recording.overlap[-1].astype(float).mean()))


@pytest.mark.parametrize(("keep", "quantile"), [(0.3, 0.5), (0.5, 1.5), (0.5, float("nan"))])
def test_a_level_that_was_not_recorded_and_a_quantile_that_is_no_share_are_refused(
    recording, keep, quantile
):
    with pytest.raises(InvalidSetting, match=r"must (be a recorded level|lie in \[0, 1\])"):
        calibrate.thresholds(recording, keep, quantile)


def test_the_command_prints_thresholds_and_where_they_come_from(recording, tmp_path, capsys):
    recording.save(tmp_path / "toy.npz")
    split = ("train", "validation", "test")[int(recording.split[0])]
    calibrate.main(["--recording", str(tmp_path / "toy.npz"), "--split", split, "--keep", "0.5"])
    printed = json.loads(capsys.readouterr().out)
    assert np.isfinite(printed["gates"]["token"]["threshold"])
    assert printed["provenance"]["commit"]
