"""The command that checks and draws a trace."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from covspec_core.links.pieces import Cutting
from env.presets import build_link
from policies import trace


@pytest.fixture
def files(tmp_path):
    """A trace in each format."""
    time_s = np.arange(1.0, 61.0)
    rows = np.column_stack([time_s, 0 * time_s + 2, 0 * time_s + 8, time_s, 0 * time_s + 25])
    rows[10:20, 1:3] = 0.1
    np.savez(tmp_path / "some.npz", first=rows.astype(np.float32), second=rows.astype(np.float32))
    lines = "\n".join(f"{t},8" for t in time_s)
    (tmp_path / "some.csv").write_text(f"t_s,downlink_mbps\n{lines}\n")
    (tmp_path / "some.up").write_text("\n".join(map(str, range(1, 5001, 10))))
    (tmp_path / "some.down").write_text("\n".join(map(str, range(1, 5001))))
    return tmp_path


CHOICES = [["some.npz"], ["some.csv"], ["some.up", "some.down"]]


@pytest.mark.parametrize("names", CHOICES, ids=lambda names: names[0])
def test_every_format_is_described_and_drawn(files, names, capsys):
    paths = [str(files / name) for name in names]
    trace.main([*paths, "--plot", str(files / "trace.png")])
    said = capsys.readouterr().out
    assert "pieces without unknown rates" in said
    assert "down: median" in said
    with Image.open(files / "trace.png") as picture:
        assert picture.width > 1000


def test_figures_are_those_of_the_trace(files, capsys):
    trace.main([str(files / "some.npz")])
    said = capsys.readouterr().out
    assert "2 pieces without unknown rates, 120 s" in said
    assert "60 s, round trips 25 ms in the median" in said
    assert "median 8 Mbit/s (0.1 to 8 in 90 % of the seconds)" in said
    assert "below 0.5 Mbit/s 16.7 % of the time, 10.0 s at once" in said
    assert "assumed" not in said


def test_an_uplink_that_is_assumed_is_said_to_be(files, capsys):
    trace.main([str(files / "some.csv")])
    said = capsys.readouterr().out
    assert "round trips not measured, uplink assumed as a share of the downlink" in said


def printed(capsys):
    """The link that was printed."""
    _, text = capsys.readouterr().out.split("(a file in conf/link):\n")
    return build_link(yaml.safe_load(text))


@pytest.mark.parametrize("names", CHOICES, ids=lambda names: names[0])
def test_the_link_that_it_prints_builds(files, names, capsys):
    trace.main([str(files / name) for name in names])
    table = printed(capsys).realise(np.random.default_rng(0), 2, 5.0)
    assert table.down_bps.max() == pytest.approx(12e6 if len(names) > 1 else 8e6)


@pytest.mark.parametrize("name", ["slow.csv", "slow.npz"])
def test_the_link_that_it_prints_has_every_setting_it_was_checked_with(tmp_path, name, capsys):
    time_s = np.arange(8.0, 81.0, 8.0)  # beyond the usual hold and gap, all but too short
    rows = np.column_stack([time_s, *(0 * time_s + rate for rate in (2, 8, 9, 25))])
    np.savez(tmp_path / "slow.npz", rows=rows)
    lines = "\n".join(f"{t},8" for t in time_s)
    (tmp_path / "slow.csv").write_text(f"t_s,downlink_mbps\n{lines}\n")
    path = tmp_path / name
    with pytest.raises(SystemExit):
        trace.main([str(path)])
    capsys.readouterr()
    trace.main([str(path), "--hold", "8", "--fill", "2.5", "--least", "60"])
    link = printed(capsys)
    assert link == trace.open_trace([path], 8.0, Cutting(2.5, 60.0))
    assert link.realise(np.random.default_rng(0), 1, 5.0).down_bps.max() == pytest.approx(8e6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.npz"], "gone.npz: cannot be read"),
        (["gone.csv"], "gone.csv: cannot be read"),
        (["some.up"], "files must be uplink and downlink (mahimahi), got"),
        (["some.csv", "some.csv"], "files must be one .csv file, got"),
        (["some.csv", "some.npz"], "files must be one .csv file, got"),
        (["some.csv", "--least", "600"], "has no 600.0 s in a row with known rates"),
        (["some.csv", "--fill", "-1"], "fill_s must be finite and >= 0, got -1.0"),
        (["some.csv", "--hold", "0"], "hold_limit_s must be finite and above 0, got 0.0"),
        (["some.csv", "--plot", "trace.nope"], "plot must name a picture, got"),
        (["some.up", "some.csv"], "some.csv: is no list of whole ms"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(files, capsys, monkeypatch, words, said):
    monkeypatch.chdir(files)
    with pytest.raises(SystemExit) as ended:
        trace.main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.startswith("trace: ")


def test_a_figure_that_cannot_be_written_ends_with_one_line_and_status_1(files, capsys):
    with pytest.raises(SystemExit) as ended:
        trace.main([str(files / "some.csv"), "--plot", str(files / "no" / "trace.png")])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("trace: No such file or directory")
