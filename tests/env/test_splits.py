"""Measured links keep to the networks of their split."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from covspec_core.errors import BrokenTrace, InvalidSetting
from env.play import World
from env.presets import build_scenario, preset

TRACES = Path(os.environ.get("COVSPEC_TRACES_DIR", Path(__file__).parents[3] / "shared" / "traces"))
LEVELS = (0.0, 0.5, 1.0)


def measured(folder, **changes):
    link = preset("link", "measured") | {"traces_dir": str(folder)} | changes
    return build_scenario(
        preset("profile", "paper"),
        {"measured": link},
        {"name": "coupled"},
        keep_levels=LEVELS,
        link_rows=8,
    )


def test_a_missing_folder_of_traces_is_one_clear_error(recording, tmp_path):
    with pytest.raises((InvalidSetting, BrokenTrace), match="nowhere"):
        World.load(measured(tmp_path / "nowhere"), "train", recording)


@pytest.mark.needs_traces
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no measured traces at {TRACES}")
def test_splits_of_measured_links_differ_whatever_the_configuration_names(recording):
    worlds = [World.load(measured(TRACES), "train", recording)]
    worlds += [World.load(measured(TRACES, split="test"), "train", recording)]
    assert worlds[0].scenario.link.split == worlds[1].scenario.link.split == "train"
    np.testing.assert_array_equal(worlds[0].links.down_bps, worlds[1].links.down_bps)
