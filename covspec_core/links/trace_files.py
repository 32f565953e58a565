"""Files of measured traces: a folder with an index, one ``.npz``, a CSV, or mahimahi files.

The traces themselves stay outside the repository, under their own licences.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from covspec_core.errors import BrokenTrace, InvalidSetting
from covspec_core.links.pieces import Cutting, Piece, cut
from covspec_core.links.table import FloatArray

COLUMNS = ("t_s", "uplink_mbps", "downlink_mbps", "snr_db", "rtt_ms")
_N_COLUMNS = len(COLUMNS)
_ENTRY_KEYS = {"split", "source_id", "file", "key", "hold_limit_s"}
_MAHIMAHI_BITS = 1500 * 8  # one delivery opportunity
_MS_PER_DAY = 86_400_000


def load_folder(
    traces_dir: str | Path, split: str, source: str | None, cutting: Cutting
) -> tuple[Piece, ...]:
    """Pieces of all traces of a split that have rates.

    Args:
        traces_dir: Folder with ``index.json`` and one ``.npz`` per source.
        split: ``train``, ``validation`` or ``test``, as the index has it.
        source: Id of one source of the split; all of them if ``None``.
        cutting: How traces become pieces.

    Raises:
        InvalidSetting: If the folder, the split or the source does not exist.
        BrokenTrace: If a file breaks its format, or nothing usable is left.
    """
    folder = Path(traces_dir)
    entries = _chosen("split", "split", split, _read_index(folder))
    if source is not None:
        entries = _chosen("source", "source_id", source, entries)
    pieces: list[Piece] = []
    for file in sorted({entry["file"] for entry in entries}):
        limits = {e["key"]: float(e["hold_limit_s"]) for e in entries if e["file"] == file}
        for key, rows in _read_npz(folder / file, list(limits)):
            pieces += cut(f"{folder / file}: {key}", rows, limits[key], cutting)
    return _some(pieces, f"{folder} (split {split!r}, source {source!r})", cutting)


def load_npz(path: str | Path, hold_limit_s: float, cutting: Cutting) -> tuple[Piece, ...]:
    """Pieces of all traces in one ``.npz`` file with the columns of a trace folder.

    Args:
        path: File with one array ``[rows, 5]`` per trace.
        hold_limit_s: Longest interval for which a row holds.
        cutting: How traces become pieces.

    Raises:
        BrokenTrace: If the file is missing or breaks its format, or nothing usable is left.
    """
    pieces: list[Piece] = []
    for key, rows in _read_npz(Path(path)):
        pieces += cut(f"{path}: {key}", rows, hold_limit_s, cutting)
    return _some(pieces, str(path), cutting)


def load_csv(path: str | Path, hold_limit_s: float, cutting: Cutting) -> tuple[Piece, ...]:
    """Pieces of the trace in a CSV file.

    The first line names the columns, out of those of a trace folder and in any order: ``t_s``
    and ``downlink_mbps``, and perhaps ``uplink_mbps``, ``snr_db`` and ``rtt_ms``. An empty
    field is unknown.

    Args:
        path: File with commas between fields.
        hold_limit_s: Longest interval for which a row holds.
        cutting: How traces become pieces.

    Raises:
        BrokenTrace: If the file is missing or breaks its format, or nothing usable is left.
    """
    pieces = cut(str(path), _checked(str(path), _read_csv(Path(path))), hold_limit_s, cutting)
    return _some(pieces, str(path), cutting)


def _read_csv(path: Path) -> FloatArray:
    """Rows of a CSV file in the columns of a trace folder, ``[rows, 5]``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if line]
    except (OSError, ValueError, csv.Error) as error:
        raise BrokenTrace(f"{path}: cannot be read ({error})") from error
    header = [word.strip() for word in lines[0][1]] if lines else []
    given = set(header)
    if not {"t_s", "downlink_mbps"} <= given <= set(COLUMNS) or len(given) < len(header):
        raise BrokenTrace(
            f"{path}: the first line must name t_s and downlink_mbps, others only of "
            f"{sorted(COLUMNS)}, each once, got {header}"
        )
    rows = np.full((len(lines) - 1, _N_COLUMNS), np.nan)
    places = [COLUMNS.index(name) for name in header]
    for row, (number, line) in zip(rows, lines[1:], strict=True):
        row[places] = _numbers(f"{path}: line {number}", line, len(header))
    return rows


def _numbers(name: str, words: list[str], count: int) -> list[float]:
    """Fields of a line, NaN where they are empty."""
    if len(words) != count:
        raise BrokenTrace(f"{name} must have {count} fields, got {len(words)}")
    try:
        return [float(word) if word.strip() else np.nan for word in words]
    except ValueError as error:
        raise BrokenTrace(f"{name} must have numbers ({error})") from error


def load_mahimahi(up_path: str | Path, down_path: str | Path) -> Piece:
    """A pair of mahimahi files in intervals of 1 ms, as long as the shorter one.

    Each line is the time in ms at which a packet of 1500 bytes may leave; a line that is
    repeated is several packets (Netravali et al., USENIX ATC 2015).

    Raises:
        BrokenTrace: If a file is missing or is no list of growing whole numbers.
    """
    up_bps, down_bps = _mahimahi_bps(Path(up_path)), _mahimahi_bps(Path(down_path))
    n_ms = min(up_bps.size, down_bps.size)
    return Piece(
        name=f"{up_path}, {down_path}",
        edges_s=np.arange(n_ms + 1) / 1000,
        up_bps=up_bps[:n_ms],
        down_bps=down_bps[:n_ms],
        rtt_s=np.full(n_ms, np.nan),
    )


def _mahimahi_bps(path: Path) -> FloatArray:
    """Rate in each ms of a file; a packet at ``t`` ms leaves in ``(t - 1, t]``."""
    try:
        stamps = np.array(path.read_text(encoding="ascii").split(), dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise BrokenTrace(f"{path}: is no list of whole ms ({error})") from error
    if stamps.size == 0 or stamps[0] < 0 or (np.diff(stamps) < 0).any():
        raise BrokenTrace(f"{path}: times must be there, be >= 0 and never fall")
    if not 0 < stamps[-1] <= _MS_PER_DAY:
        raise BrokenTrace(f"{path}: times must end within a day, got {stamps[-1]} ms")
    packets = np.bincount(np.maximum(stamps - 1, 0), minlength=int(stamps[-1]))
    return packets.astype(np.float64) * (_MAHIMAHI_BITS * 1000)


def _read_index(folder: Path) -> list[dict[str, Any]]:
    """Entries of ``index.json``, each with all keys that are used here."""
    path = folder / "index.json"
    if not path.is_file():
        raise InvalidSetting(f"traces_dir must be a folder with index.json, got {str(folder)!r}")
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["traces"]
        missing = [_ENTRY_KEYS - entry.keys() for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenTrace(f"{path}: is no index of traces ({error!r})") from error
    for number, keys in enumerate(missing):
        if keys:
            raise BrokenTrace(f"{path}: entry {number} lacks {sorted(keys)}")
    return entries


def _chosen(name: str, key: str, value: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = sorted({entry[key] for entry in entries})
    if value not in known:
        raise InvalidSetting(f"{name} must be one of {known}, got {value!r}")
    return [entry for entry in entries if entry[key] == value]


def _read_npz(path: Path, keys: list[str] | None = None) -> Iterator[tuple[str, FloatArray]]:
    """Key and checked rows ``[rows, 5]`` of the named traces of a file, or of all."""
    try:
        with np.load(path) as archive:
            traces = {key: archive[key] for key in keys or archive.files}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise BrokenTrace(f"{path}: cannot be read ({error})") from error
    for key, rows in traces.items():
        yield key, _checked(f"{path}: {key}", rows)


def _checked(name: str, rows: Any) -> FloatArray:
    """Rows as float64, ``[rows, 5]``.

    Raises:
        BrokenTrace: If shape, times, rates or round trips break the format.
    """
    if rows.ndim != 2 or rows.shape[1] != _N_COLUMNS or len(rows) == 0 or rows.dtype.kind != "f":
        raise BrokenTrace(f"{name} must be floats [rows, 5], got {rows.dtype} {rows.shape}")
    values: FloatArray = rows.astype(np.float64)
    time_s, measured = values[:, 0], values[:, [1, 2, 4]]
    if not np.isfinite(time_s).all() or (np.diff(time_s) <= 0).any():
        raise BrokenTrace(f"{name} must have finite times that grow from row to row")
    if (measured < 0).any() or np.isinf(measured).any():
        raise BrokenTrace(f"{name} must have rates and round trips >= 0, finite or NaN")
    return values


def _some(pieces: list[Piece], name: str, cutting: Cutting) -> tuple[Piece, ...]:
    if not pieces:
        raise BrokenTrace(f"{name} has no {cutting.min_piece_s} s in a row with known rates")
    return tuple(pieces)
