"""Splits share no request, no link, no source of traces and no draw of hardware."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from covspec_core.errors import BrokenTrace, InvalidSetting
from covspec_core.links.measured import PLANS
from covspec_core.recording import SPLITS, load_recording
from env.play import Play, World
from env.presets import RECORDING, build_scenario, named_scenario, preset
from env.rewards import RewardWeights
from tests.env.conftest import MEASURED, PRESETS

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


def share_a_link(one, other):
    """Whether two worlds have a changing link in common."""
    own, theirs = (distinct(r for r in w.links.up_bps if np.ptp(r)) for w in (one, other))
    return bool(own & theirs)


def hardware(world, size=2000):
    """Factors of device and edge that sessions of a world draw, shape ``[2, size]``."""
    play = Play(world, world.replay(size), size, RewardWeights())
    play.seed(np.arange(size, dtype=np.uint64))
    play.begin(np.arange(size))
    return np.stack([play.sessions.path.device_factor, play.sessions.path.edge_factor])


@pytest.mark.parametrize("link", [name for name in PRESETS if name not in MEASURED])
def test_no_link_and_no_hardware_is_in_two_splits(recording, link):
    scenario = named_scenario(link, keep_levels=LEVELS, link_rows=16, link_s=20.0)
    worlds = [World.load(scenario, split, recording) for split in SPLITS]
    drawn = [hardware(world) for world in worlds]
    for one, other in combinations(range(len(SPLITS)), 2):
        assert not share_a_link(worlds[one], worlds[other])
        for ours, theirs in zip(drawn[one], drawn[other], strict=True):
            assert not np.isin(ours, theirs).any()
    assert all((w.scenario.profile, w.scenario.protocol) == (scenario.profile, scenario.protocol)
               for w in worlds)  # fmt: skip


def test_equal_splits_draw_equal_hardware_and_links(recording):
    scenario = named_scenario("fading", keep_levels=LEVELS, link_rows=4)
    first, again = (World.load(scenario, "test", recording) for _ in range(2))
    np.testing.assert_array_equal(hardware(first, 50), hardware(again, 50))
    assert share_a_link(first, again)


@pytest.mark.parametrize("link_seed", [1, 2, 5])
def test_the_links_of_one_seed_are_no_other_splits_of_another(recording, link_seed):
    scenario = named_scenario("fading", keep_levels=LEVELS, link_rows=4, link_s=5.0)
    others = [World.load(scenario, split, recording, link_seed) for split in SPLITS]
    for one in (World.load(scenario, split, recording, 0) for split in SPLITS):
        assert not any(share_a_link(one, other) for other in others)


def test_no_request_of_the_shipped_recording_is_in_two_splits():
    """Images by what the draft sees in them, answers by what the target thought of their tokens."""
    parts = [load_recording(RECORDING).only(split) for split in SPLITS]
    assert all(len(part.key) for part in parts)
    for one, other in combinations(parts, 2):
        assert not np.isin(one.key, other.key).any()
        assert not distinct(one.statistics) & distinct(other.statistics)
        ours, theirs = (np.split(p.p, np.cumsum(p.length)[:-1]) for p in (one, other))
        assert not distinct(ours) & distinct(theirs)


def distinct(rows):
    return {row.tobytes() for row in rows}


@pytest.mark.needs_traces
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no measured traces at {TRACES}")
@pytest.mark.parametrize("name", [name for name in MEASURED if name != "measured"])
def test_a_held_out_link_comes_from_a_source_of_the_test_split(recording, name):
    link = preset("link", name) | {"traces_dir": str(TRACES)}
    sources = json.loads((TRACES / "index.json").read_text())["sources"]
    assert sources[link["source"]]["split"] == link["split"] == "test"
    scenario = build_scenario(
        preset("profile", "paper"), {name: link}, {"name": "coupled"},
        keep_levels=LEVELS, link_rows=4,
    )  # fmt: skip
    assert World.load(scenario, "test", recording).links.up_bps.max() > 0
    with pytest.raises(InvalidSetting, match=link["source"]):
        World.load(scenario, "train", recording)


@pytest.mark.needs_traces
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no measured traces at {TRACES}")
def test_no_emulated_network_was_fitted_to_a_source_kept_for_judging():
    sources = json.loads((TRACES / "index.json").read_text())["sources"]
    assert {sources[plan.source]["split"] for plan in PLANS.values()} == {"train"}
    files = [(source["split"], source["sha256"]) for source in sources.values()]
    assert len({digest for _, digest in files}) == len(files)
