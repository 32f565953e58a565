"""Every named profile and link builds; whatever is misspelt is refused with the choices."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import InvalidSetting
from covspec_core.links.mixture import MixtureLink
from covspec_core.profile import HardwareProfile
from covspec_core.wire import PROTOCOLS
from env.presets import (
    CHANNELS,
    CONF,
    build,
    build_link,
    build_scenario,
    named_scenario,
    preset,
)
from tests.env.conftest import MEASURED, PRESETS

PROFILES = sorted(path.stem for path in (CONF / "profile").glob("*.yaml"))


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in MEASURED])
def test_a_named_link_builds_and_has_rates(name):
    table = build_link(preset("link", name)).realise(np.random.default_rng(0), 4, 30.0)
    assert table.n == 4
    assert table.up_bps.max() > 1e5
    assert 0 < table.rtt_s.max() < 1


@pytest.mark.parametrize("name", PROFILES)
def test_a_named_profile_builds(name):
    profile = build(HardwareProfile, preset("profile", name), "profile")
    assert profile.draft_s(1.0) < profile.edge_step_s


@pytest.mark.parametrize("name", MEASURED)
def test_measured_links_ask_for_the_folder_of_traces(name, monkeypatch):
    monkeypatch.delenv("COVSPEC_TRACES_DIR", raising=False)
    with pytest.raises(InvalidSetting, match=r"needs \['traces_dir'\]"):
        named_scenario(name)


@pytest.mark.parametrize("name", MEASURED)
def test_measured_links_name_the_folder_they_miss(name, tmp_path):
    link = build_link(preset("link", name) | {"traces_dir": str(tmp_path)})
    with pytest.raises(InvalidSetting, match=f"traces_dir must be .*{tmp_path.name}"):
        link.realise(np.random.default_rng(0), 1, 1.0)


def test_names_make_a_scenario():
    scenario = named_scenario("weak", "roofline", "coupled", requests=2)
    assert scenario.protocol.name == "coupled"
    assert scenario.profile.edge_step_s == 0.045
    assert scenario.requests == 2


def test_several_links_are_mixed():
    link = named_scenario(["paper", "bursty"]).link
    assert isinstance(link, MixtureLink)
    assert list(link.parts) == ["paper", "bursty"]


def test_the_papers_link_has_the_papers_rate():
    table = named_scenario("paper").link.realise(np.random.default_rng(0), 1, 1.0)
    assert table.up_bps[0, 0] == pytest.approx(17.297e6, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"link": "nope"}, r"link must be one of \['bursty'.*'weak'.*\], got 'nope'"),
        ({"profile": "nope"}, r"profile must be one of \['paper'.*\], got 'nope'"),
        ({"protocol_name": "nope"}, r"protocol.*coupled.*nope"),
        (
            {"keep_level": (1.0,)},
            r"scenario allows \[.*'keep_levels'.*\].*unknown \['keep_level'\]",
        ),
        ({"link": []}, "needs at least one link"),
    ],
    ids=str,
)
def test_an_unknown_name_is_refused_with_the_choices(arguments, said):
    with pytest.raises(InvalidSetting, match=said):
        named_scenario(**arguments)


@pytest.mark.parametrize("kind", ["wifi", None])
def test_an_unknown_kind_of_link_is_refused_with_the_choices(kind):
    with pytest.raises(InvalidSetting, match="must be one of") as caught:
        build_link({"kind": kind})
    assert all(name in str(caught.value) for name in CHANNELS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"snr": 3.0}, r"link x \(awgn\) allows \[.*'snr_db'.*\], got unknown \['snr'\]"),
        ({"snr_db": "???"}, r"link x \(awgn\) needs \['snr_db'\]"),
        ({"snr_db": "10 dB"}, "snr_db must be a value of type float, got '10 dB'"),
        ({"rtt_s": [0.2, 0.1]}, "rtt_s must have"),
    ],
    ids=str,
)
def test_a_wrong_value_of_a_link_is_refused(change, said):
    values = {"kind": "awgn", "bandwidth_hz": 5e6, "snr_db": 10.0} | change
    with pytest.raises(InvalidSetting, match=said):
        build_link(values, "link x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"edge_step_s": None}, "profile"),
        ({"edge_steps": 1.0}, r"profile allows .* unknown \['edge_steps'\]"),
        ({"edge_step_s": -1.0}, "profile.edge_step_s must be finite and >= 0"),
    ],
    ids=str,
)
def test_a_wrong_value_of_a_profile_is_refused(change, said):
    with pytest.raises(InvalidSetting, match=said):
        build_scenario(
            preset("profile", "paper") | change,
            {"paper": preset("link", "paper")},
            {"name": "full"},
        )


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_file_that_says_what_its_name_stands_for(name):
    assert named_scenario(protocol_name=name).protocol == PROTOCOLS[name]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "full", "law_format": "fp8"}, "law_format must be one of"),
        ({"name": "full", "law_format": "top_k", "top": 0}, "top must be >= 1, got 0"),
        ({"name": "progressive", "top": "all"}, "top must be a value of type"),
        ({"name": "lazy", "format": "fp16"}, r"protocol allows .*'law_format'.*unknown"),
        ({"law_format": "fp16"}, r"protocol needs \['name'\]"),
    ],
    ids=str,
)
def test_a_wrong_value_of_a_protocol_is_refused(values, said):
    link = {"paper": preset("link", "paper")}
    with pytest.raises(InvalidSetting, match=said):
        build_scenario(preset("profile", "paper"), link, values)


def test_a_protocol_takes_its_format_and_its_top():
    link = {"paper": preset("link", "paper")}
    values = preset("protocol", "lazy") | {"law_format": "top_k", "top": 30}
    kind = build_scenario(preset("profile", "paper"), link, values).protocol
    assert (kind.name, kind.format.name, kind.format.entries) == ("lazy", "top_k", 30)
    values = preset("protocol", "progressive") | {"top": 5}
    assert build_scenario(preset("profile", "paper"), link, values).protocol.top == 5
