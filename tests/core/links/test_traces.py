"""Reading, cutting and replaying measured traces; most on small folders written here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from covspec_core.errors import BrokenTrace, InvalidSetting
from covspec_core.links.pieces import Cutting, cut
from covspec_core.links.table import Direction
from covspec_core.links.traces import MahimahiLink, NpzLink, TraceLink

NAN = np.nan
ANY_LENGTH = Cutting(fill_s=2.0, min_piece_s=0.0)


def rows_of(time_s, down, up=NAN, rtt_ms=NAN) -> np.ndarray:
    """Rows of the stored format; rates in Mbit/s."""
    columns = np.broadcast_arrays(time_s, up, down, NAN, rtt_ms)
    return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)


def cut_rows(rows, hold_limit_s=1.5, cutting=ANY_LENGTH):
    return cut("here", rows.astype(np.float64), hold_limit_s, cutting)


def write_folder(folder: Path, traces: dict[str, np.ndarray], **entry: object) -> TraceLink:
    """A folder with one source, and the link that replays it as it is."""
    np.savez(folder / "some.npz", **traces)
    common = {"split": "train", "source_id": "some", "file": "some.npz", "hold_limit_s": 1.5}
    entries = [{**common, "id": key, "key": key, **entry} for key in traces]
    (folder / "index.json").write_text(json.dumps({"traces": entries}))
    return TraceLink(str(folder), "train", cutting=ANY_LENGTH)


def draw(link, n=50, duration_s=4.0, seed=0):
    return link.realise(np.random.default_rng(seed), n, duration_s)


def test_a_row_holds_from_the_row_before_to_its_own_time():
    (piece,) = cut_rows(rows_of([0.5, 1.0, 2.0], down=[1, 2, 3], up=[4, 5, 6], rtt_ms=20))
    np.testing.assert_allclose(piece.edges_s, [0.0, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(piece.down_bps, [1e6, 2e6, 3e6])
    np.testing.assert_allclose(piece.up_bps, [4e6, 5e6, 6e6])
    np.testing.assert_allclose(piece.rtt_s, 0.02)


def test_a_first_row_at_time_zero_covers_nothing():
    (piece,) = cut_rows(rows_of([0.0, 1.0, 2.0], down=[9, 2, 3]))
    np.testing.assert_allclose(piece.down_bps, [2e6, 3e6])


def test_short_unknown_stretches_keep_the_last_known_rate():
    (piece,) = cut_rows(rows_of(np.arange(1, 6), down=[1, 2, NAN, NAN, 5]))
    np.testing.assert_allclose(piece.down_bps, [1e6, 2e6, 2e6, 2e6, 5e6])


def test_longer_unknown_stretches_cut_the_trace():
    first, second = cut_rows(rows_of(np.arange(1, 8), down=[1, 2, NAN, NAN, NAN, 6, 7]))
    np.testing.assert_allclose(first.down_bps, [1e6, 2e6])
    np.testing.assert_allclose(second.down_bps, [6e6, 7e6])
    assert first.edges_s[0] == second.edges_s[0] == 0.0


def test_a_hole_in_the_log_is_unknown_whatever_its_row_says():
    time_s = [1.0, 2.0, 3.9, 4.9, 15.0, 16.0]  # 1.9 s can be bridged, 10.1 s cannot
    first, second = cut_rows(rows_of(time_s, down=[1, 2, 3, 4, 5, 6]))
    np.testing.assert_allclose(first.down_bps, [1e6, 2e6, 2e6, 4e6])
    np.testing.assert_allclose(second.down_bps, [6e6])


def test_nothing_is_invented_before_the_first_known_rate():
    (piece,) = cut_rows(rows_of([1, 2, 3], down=[NAN, 2, 3]))
    np.testing.assert_allclose(piece.down_bps, [2e6, 3e6])


def test_a_measured_zero_stays_an_outage():
    (piece,) = cut_rows(rows_of(np.arange(1, 6), down=[1, 0, 0, 0, 5]))
    np.testing.assert_allclose(piece.down_bps, [1e6, 0, 0, 0, 5e6])


def test_a_trace_with_some_uplink_is_used_where_both_directions_are_known():
    time_s = np.arange(1, 8)
    (piece,) = cut_rows(rows_of(time_s, down=time_s, up=[NAN] * 4 + [1, 2, 3]))
    np.testing.assert_allclose(piece.up_bps, [1e6, 2e6, 3e6])
    np.testing.assert_allclose(piece.down_bps, [5e6, 6e6, 7e6])


def test_without_any_uplink_it_is_a_share_of_the_downlink():
    (piece,) = cut_rows(rows_of([1, 2], down=[8, 0]), cutting=Cutting(0.0, 0.0, up_share=0.25))
    np.testing.assert_allclose(piece.up_bps, [2e6, 0])


def test_a_round_trip_holds_until_the_next_measured_one():
    rows = rows_of(np.arange(1, 6), down=1, rtt_ms=[NAN, 20, NAN, 50, NAN])
    np.testing.assert_allclose(cut_rows(rows)[0].rtt_s, [0.02, 0.02, 0.02, 0.05, 0.05])
    unused = cut_rows(rows, cutting=Cutting(min_piece_s=0.0, measured_rtt=False))
    assert np.isnan(unused[0].rtt_s).all()


def test_pieces_below_the_least_length_are_dropped():
    rows = rows_of(np.arange(1, 8), down=[1, 2, NAN, NAN, NAN, NAN, 7])
    assert [piece.length_s for piece in cut_rows(rows, cutting=Cutting(3.0, 2.0))] == [2.0]


@pytest.mark.parametrize("slot_s", [0.03, 0.1, 0.37, 5.0])
def test_windows_conserve_bits_over_irregular_steps_and_repeats(slot_s):
    rng = np.random.default_rng(1)
    time_s = np.cumsum(rng.uniform(0.05, 1.2, 40))
    rates = rng.uniform(0, 9, 40) * (rng.random(40) > 0.3)
    (piece,) = cut_rows(rows_of(time_s, down=rates, up=rates[::-1]))
    fine, _, _ = piece.windows(np.array([0.0]), 1e-4, int(3 * piece.length_s / 1e-4))
    up, down, _ = piece.windows(np.array([0.0, 7.7]), slot_s, 2 * int(30 / slot_s))
    sent = np.append(0.0, np.cumsum(fine[0])) * 1e-4
    borders = slot_s * np.arange(up.shape[1] + 1)
    at_borders = np.interp(borders, 1e-4 * np.arange(sent.size), sent)
    np.testing.assert_allclose(np.cumsum(up[0]) * slot_s, at_borders[1:], rtol=1e-6, atol=1.0)
    lap_bits = [(r * np.diff(piece.edges_s)).sum() for r in (piece.up_bps, piece.down_bps)]
    whole, _, _ = piece.windows(np.array([3.3]), piece.length_s / 100, 500)
    np.testing.assert_allclose(whole.sum() * piece.length_s / 100, 5 * lap_bits[0])
    assert down.min() >= 0
    assert sent[-1] == pytest.approx(3 * lap_bits[0], rel=1e-4)


def test_an_outage_is_down_in_every_slot_inside_it_on_every_lap():
    (piece,) = cut_rows(rows_of(np.arange(1, 6), down=[0.1, 0, 0, 0.3, 0.7]))
    _, down, _ = piece.windows(np.array([0.0]), 0.05, 10_000)
    inside = (np.arange(10_000) * 0.05 % 5 > 1.01) & (np.arange(10_000) * 0.05 % 5 < 2.94)
    assert (down[0, inside] == 0.0).all()
    assert (down[0, ~inside] > 0.0).mean() > 0.95


def test_a_transfer_over_a_replayed_trace_waits_through_its_outage(tmp_path):
    link = write_folder(
        tmp_path, {"a": rows_of(np.arange(1, 5), down=[8, 0, 0, 8], up=[8, 0, 0, 8])}
    )
    table = draw(link, n=200)
    outage = np.flatnonzero((table.up_bps[:, :20] == 0).all(axis=1))
    assert outage.size > 0
    start_s, payload = np.zeros(outage.size), np.full(outage.size, 1000)
    np.testing.assert_allclose(
        table.transfer_end_s(Direction.UP, outage, start_s, payload), 2.0 + 0.001, atol=1e-6
    )


def test_links_draw_pieces_by_length_and_start_anywhere(tmp_path):
    step = np.arange(1, 31)
    link = write_folder(
        tmp_path, {"long": rows_of(step, down=step), "short": rows_of(step[:10], 99)}
    )
    table = draw(link, n=4000, duration_s=0.1)
    megabits = np.round(table.down_bps[:, 0] / 1e6).astype(int)
    assert (megabits == 99).mean() == pytest.approx(0.25, abs=0.03)
    counts = np.bincount(megabits, minlength=31)[1:31]
    assert counts.min() > 0.5 * 100
    assert counts.max() < 1.5 * 100


def test_rows_as_long_as_a_slot_are_not_smeared_over_two(tmp_path):
    rates = np.random.default_rng(0).integers(0, 50, 300)
    link = write_folder(tmp_path, {"a": rows_of(np.arange(1, 301) / 8, down=rates)})
    table = draw(TraceLink(link.traces_dir, "train", slot_s=0.125), n=20)
    megabits = table.down_bps / 1e6
    np.testing.assert_allclose(megabits, np.round(megabits), atol=1e-6)


def test_equal_seeds_replay_alike(tmp_path):
    link = write_folder(tmp_path, {"a": rows_of(np.arange(1, 99), down=np.arange(98))})
    np.testing.assert_array_equal(draw(link, seed=3).up_bps, draw(link, seed=3).up_bps)
    assert (draw(link, seed=3).up_bps != draw(link, seed=4).up_bps).any()


def test_measured_round_trips_win_and_the_links_own_fill_in(tmp_path):
    time_s = np.arange(1, 31)
    traces = {"with": rows_of(time_s, down=1, rtt_ms=40), "without": rows_of(time_s, down=2)}
    table = draw(write_folder(tmp_path, traces), n=100)
    np.testing.assert_allclose(table.rtt_s[table.down_bps[:, 0] == 1e6], 0.040)
    np.testing.assert_allclose(table.rtt_s[table.down_bps[:, 0] == 2e6], 0.018)


def test_traces_without_rates_are_passed_over(tmp_path):
    time_s = np.arange(1, 31)
    traces = {"rtt_only": rows_of(time_s, down=NAN, rtt_ms=9), "a": rows_of(time_s, down=2)}
    assert [p.name.split(": ")[-1] for p in write_folder(tmp_path, traces).pieces] == ["a"]


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path, {"a": rows_of(np.arange(1, 31), down=1)})
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traces_dir": "/nowhere"}, "traces_dir must be a folder with index.json, got '/nowhere'"),
        ({"split": "tset"}, r"split must be one of \['train'\], got 'tset'"),
        ({"source": "other"}, r"source must be one of \['some'\], got 'other'"),
        ({"slot_s": 0.0}, "slot_s must be finite and above 0, got 0.0"),
    ],
)
def test_wrong_settings_give_one_clear_error(folder, change, message):
    with pytest.raises(InvalidSetting, match=message):
        draw(TraceLink(**{"traces_dir": str(folder), "split": "train", **change}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("fill_s", -1.0), ("min_piece_s", np.inf), ("up_share", 0.0), ("up_share", np.nan)],
)
def test_wrong_ways_of_cutting_are_refused(field, value):
    with pytest.raises(InvalidSetting, match=rf"{field} must be finite .* got {value}"):
        Cutting(**{field: value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "index.json: is no index of traces"),
        ("[]", "index.json: is no index of traces"),
        ('{"traces": [3]}', "index.json: is no index of traces"),
        ('{"traces": [{"split": "train"}]}', r"index.json: entry 0 lacks \['file', 'hold_limit_s'"),
    ],
)
def test_a_broken_index_is_named(folder, text, message):
    (folder / "index.json").write_text(text)
    with pytest.raises(BrokenTrace, match=message):
        draw(TraceLink(str(folder), "train"))


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "pickle", "other keys", "npy"])
def test_an_unreadable_file_is_named(folder, damage):
    path, rows = folder / "some.npz", rows_of([1.0], down=1)
    whole = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "text":
            path.write_text("no traces here")
        case "pickle":
            np.savez(path, a=np.array([{"not": "numbers"}], dtype=object))
        case "other keys":
            np.savez(path, b=rows)
        case "npy":
            with path.open("wb") as file:
                np.save(file, rows)
    with pytest.raises(BrokenTrace, match=r"some\.npz: cannot be read"):
        draw(TraceLink(str(folder), "train"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, 4), dtype=np.float32), r"must be floats \[rows, 5\], got float32 \(3, 4\)"),
        (np.ones((0, 5), dtype=np.float32), "must be floats"),
        (np.ones((3, 5), dtype=np.int64), "must be floats"),
        (rows_of([1, 1, 2], down=1), "must have finite times that grow from row to row"),
        (rows_of([1, NAN, 2], down=1), "must have finite times"),
        (rows_of([1, 2, 3], down=[1, -1, 1]), "must have rates and round trips >= 0"),
        (rows_of([1, 2, 3], down=1, rtt_ms=np.inf), "must have rates and round trips >= 0"),
        (rows_of([1, 2, 3], down=1), r"some.npz has no 30.0 s in a row with known rates"),
        (rows_of(np.arange(1, 99), down=NAN), r"some.npz has no 30.0 s in a row with known rates"),
    ],
)
def test_rows_that_break_the_format_are_named(tmp_path, rows, message):
    path = tmp_path / "some.npz"
    np.savez(path, a=rows)
    with pytest.raises(BrokenTrace, match=message) as error:
        draw(NpzLink(str(path)))
    assert str(path) in str(error.value)


def test_a_single_file_replays_like_a_folder(folder):
    (piece,) = NpzLink(str(folder / "some.npz"), cutting=ANY_LENGTH).pieces
    assert piece.length_s == 30.0
    assert (piece.down_bps == 1e6).all()


def write_lines(path: Path, *lines: object) -> str:
    path.write_text("\n".join(map(str, lines)) + "\n")
    return str(path)


def test_mahimahi_lines_are_packets_of_1500_bytes(tmp_path):
    up = write_lines(tmp_path / "up", 0, 1, 2, 2, 1000)
    down = write_lines(tmp_path / "down", *range(1, 2001))
    (piece,) = MahimahiLink(up, down).pieces
    assert piece.length_s == 1.0  # the shorter of the two
    np.testing.assert_allclose(piece.up_bps[[0, 1, 2, 999]], [24e6, 24e6, 0, 12e6])
    table = draw(MahimahiLink(up, down, rtt_s=(0.03, 0.03)), duration_s=10.0)
    np.testing.assert_allclose(table.down_bps, 12e6)
    np.testing.assert_allclose(table.up_bps.mean(axis=1), 5 * 12_000)
    assert (table.rtt_s == 0.03).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((1, "x", 3), "is no list of whole ms"),
        ((1.5,), "is no list of whole ms"),
        ((10**30,), "is no list of whole ms"),
        ((), "times must be there"),
        ((-1, 3), "be >= 0"),
        ((3, 2), "never fall"),
        ((0, 0), "must end within a day, got 0 ms"),
        ((1_700_000_000_000,), "must end within a day"),
    ],
)
def test_broken_mahimahi_files_are_named(tmp_path, lines, message):
    good, bad = write_lines(tmp_path / "good", 1, 2), write_lines(tmp_path / "bad", *lines)
    with pytest.raises(BrokenTrace, match=rf"bad: .*{message}"):
        draw(MahimahiLink(good, bad))
    with pytest.raises(BrokenTrace, match="gone: is no list of whole ms"):
        draw(MahimahiLink(str(tmp_path / "gone"), good))


@pytest.fixture(scope="module")
def measured_dir() -> str:
    default = Path(__file__).parents[3] / ".." / "shared" / "traces"
    path = Path(os.environ.get("COVSPEC_TRACES_DIR", default))
    if not (path / "index.json").is_file():
        pytest.skip(f"no measured traces at {path}: set COVSPEC_TRACES_DIR to their folder")
    return str(path)


@pytest.mark.needs_traces
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_measured_traces_give_links(measured_dir, split):
    link = TraceLink(measured_dir, split)
    table = draw(link, n=64, duration_s=30.0)
    assert 0.1e6 < np.median(table.down_bps) < 300e6
    assert (table.rtt_s > 0).all()
    assert all(piece.length_s >= 30 for piece in link.pieces)


@pytest.mark.needs_traces
def test_measured_outages_survive_the_slot_grid(measured_dir):
    index = json.loads((Path(measured_dir) / "index.json").read_text())
    (entry,) = (e for e in index["traces"] if e["id"] == "mm-att-lte-drive")
    link = TraceLink(measured_dir, "test", "mahimahi-att")
    (piece,) = link.pieces
    up, down, _ = piece.windows(np.array([0.0]), 1.0, int(piece.length_s))
    assert up.mean() / 1e6 == pytest.approx(entry["quantiles"]["uplink_mbps"]["mean"], rel=0.01)
    assert down.mean() / 1e6 == pytest.approx(entry["quantiles"]["downlink_mbps"]["mean"], rel=0.01)
    assert (up < 0.5e6).mean() == pytest.approx(0.123, abs=0.01)  # statistics.json
    assert (down < 0.5e6).mean() == pytest.approx(0.045, abs=0.01)


@pytest.mark.needs_traces
def test_measured_sources_without_rates_say_so(measured_dir):
    with pytest.raises(BrokenTrace, match=r"'cicv5g-n78-public'\) has no 30.0 s in a row"):
        draw(TraceLink(measured_dir, "train", "cicv5g-n78-public"))
