"""Traces in CSV files."""

from __future__ import annotations

import numpy as np
import pytest

from covspec_core.errors import BrokenTrace, InvalidSetting
from covspec_core.links.pieces import Cutting
from covspec_core.links.traces import CsvLink, NpzLink

ANY_LENGTH = Cutting(min_piece_s=0.0)
HEADER = "t_s,uplink_mbps,downlink_mbps,snr_db,rtt_ms"


def write(tmp_path, text, name="trace.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def pieces_of(path, cutting=ANY_LENGTH):
    return CsvLink(path, cutting=cutting).pieces


def test_columns_are_found_by_name_in_any_order(tmp_path):
    text = "downlink_mbps, rtt_ms, t_s\n5, 20, 1\n7, , 2\n\n6,30,3\n"
    (piece,) = pieces_of(write(tmp_path, text))
    np.testing.assert_allclose(piece.down_bps, [5e6, 7e6, 6e6])
    np.testing.assert_allclose(piece.up_bps, [2.5e6, 3.5e6, 3e6])  # half, as it is not measured
    np.testing.assert_allclose(piece.rtt_s, [0.02, 0.02, 0.03])


def test_a_csv_file_replays_as_the_same_rows_in_npz(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.arange(1, 61), rng.uniform(0, 9, (60, 4))]).astype(np.float32)
    rows[5:9, 2] = np.nan
    np.savez(tmp_path / "trace.npz", a=rows)
    lines = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in rows]
    csv = CsvLink(write(tmp_path, "\ufeff" + "\r\n".join([HEADER, *lines])))
    npz = NpzLink(str(tmp_path / "trace.npz"))
    tables = [link.realise(np.random.default_rng(1), 20, 30.0) for link in (csv, npz)]
    for name in ("up_bps", "down_bps", "rtt_s"):
        np.testing.assert_array_equal(*(getattr(table, name) for table in tables))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"first line must name t_s and downlink_mbps.*got \[\]"),
        ("1,2,3\n", r"first line must name .*got \['1', '2', '3'\]"),
        ("t_s,uplink_mbps\n1,2\n", "first line must name"),
        ("t_s,downlink_mbps,speed\n1,2,3\n", "others only of .*'speed'"),
        ("t_s,downlink_mbps,t_s\n1,2,3\n", "each once"),
        ("t_s,downlink_mbps\n", r"must be floats \[rows, 5\], got float64 \(0, 5\)"),
        ("t_s,downlink_mbps\n1,2\n3\n", "line 3 must have 2 fields, got 1"),
        ("t_s,downlink_mbps\n1,2\n\n3,fast\n", "line 4 must have numbers .*'fast'"),
        ("t_s,downlink_mbps\n2,2\n1,2\n", "must have finite times that grow"),
        ("t_s,downlink_mbps\n,2\n1,2\n", "must have finite times that grow"),
        ("t_s,downlink_mbps\n1,-2\n", "must have rates and round trips >= 0"),
        ("t_s,downlink_mbps\n1,\n2,\n", "has no 0.0 s in a row with known rates"),
    ],
)
def test_broken_files_are_named(tmp_path, text, message):
    with pytest.raises(BrokenTrace, match=rf"trace\.csv.*{message}"):
        pieces_of(write(tmp_path, text))


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(BrokenTrace, match=r"gone\.csv: cannot be read"):
        pieces_of(str(tmp_path / "gone.csv"))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BrokenTrace, match=r"binary\.csv: cannot be read"):
        pieces_of(str(tmp_path / "binary.csv"))


def test_wrong_settings_give_one_clear_error(tmp_path):
    with pytest.raises(InvalidSetting, match="hold_limit_s must be finite and above 0, got 0"):
        CsvLink("any.csv", hold_limit_s=0)
