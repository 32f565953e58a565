"""Channels that replay measured traces.

Each link draws a piece of a trace, a measured second being as likely as any other, and the
moment in the piece at which it starts. A piece that ends before the link does starts again.
Where no round trip was measured, the channel's own ``rtt_s`` and ``jitter_s`` apply.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from covspec_core.links.channels import Delayed, count_slots
from covspec_core.links.pieces import Cutting, Piece
from covspec_core.links.table import LinkTable
from covspec_core.links.trace_files import load_csv, load_folder, load_mahimahi, load_npz


def _replay(
    link: TraceLink | NpzLink | CsvLink | MahimahiLink,
    rng: np.random.Generator,
    n: int,
    duration_s: float,
) -> LinkTable:
    """Draw links, see :class:`~covspec_core.links.channels.Channel`.

    Raises:
        InvalidSetting: If the folder, the split or the source does not exist.
        BrokenTrace: If a file is missing, breaks its format or has nothing usable.
    """
    slots = count_slots(n, duration_s, link.slot_s)
    length_s = np.array([piece.length_s for piece in link.pieces])
    drawn = rng.choice(length_s.size, size=n, p=length_s / length_s.sum())
    # On the slot grid of the piece: rows as long as a slot are not smeared over two slots.
    start_s = np.floor(rng.random(n) * length_s[drawn] / link.slot_s) * link.slot_s
    rtt_s = link.draw_rtt_s(rng, n, slots)
    up_bps, down_bps = np.empty((n, slots)), np.empty((n, slots))
    for index in np.unique(drawn):
        rows = np.flatnonzero(drawn == index)
        windows = link.pieces[index].windows(start_s[rows], link.slot_s, slots)
        up_bps[rows], down_bps[rows], measured_s = windows
        rtt_s[rows] = np.where(np.isnan(measured_s), rtt_s[rows], measured_s)
    return LinkTable(link.slot_s, up_bps, down_bps, rtt_s)


@dataclass(frozen=True)
class TraceLink(Delayed):
    """Traces of one split of a folder with an index. Files are read at the first draw.

    Attributes:
        traces_dir: Folder with ``index.json`` and one ``.npz`` per source.
        split: ``train``, ``validation`` or ``test``; no measured network is in two of them.
        source: Id of one source; all of the split if ``None``.
        cutting: How traces become pieces without unknown rates.
        slot_s: Length of a slot; rates are averaged over it.
    """

    traces_dir: str
    split: str
    source: str | None = None
    cutting: Cutting = field(default=Cutting(), kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "slot_s")

    realise = _replay

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """What is replayed."""
        return load_folder(self.traces_dir, self.split, self.source, self.cutting)


@dataclass(frozen=True)
class Logged:
    """How the rows of a log become slots.

    Attributes:
        hold_limit_s: Longest interval for which a row holds; a longer one is a hole in the log.
        cutting: How traces become pieces without unknown rates.
        slot_s: Length of a slot; rates are averaged over it.
    """

    hold_limit_s: float = field(default=5.0, kw_only=True)
    cutting: Cutting = field(default=Cutting(), kw_only=True)
    slot_s: float = field(default=0.1, kw_only=True)


@dataclass(frozen=True)
class NpzLink(Logged, Delayed):
    """All traces of one ``.npz`` file with the columns of a trace folder.

    Attributes:
        path: File with one array ``[rows, 5]`` per trace.
    """

    path: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "hold_limit_s", "slot_s")

    realise = _replay

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """What is replayed."""
        return load_npz(self.path, self.hold_limit_s, self.cutting)


@dataclass(frozen=True)
class CsvLink(Logged, Delayed):
    """The trace in one CSV file.

    Attributes:
        path: File with a header; see :func:`~covspec_core.links.trace_files.load_csv`.
    """

    path: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "hold_limit_s", "slot_s")

    realise = _replay

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """What is replayed."""
        return load_csv(self.path, self.hold_limit_s, self.cutting)


@dataclass(frozen=True)
class MahimahiLink(Delayed):
    """A pair of mahimahi files: times in ms at which packets of 1500 bytes may leave.

    Attributes:
        up_path: File of the uplink.
        down_path: File of the downlink; the longer of the two is cut to the shorter.
        slot_s: Length of a slot; packets are averaged over it.
    """

    up_path: str
    down_path: str
    slot_s: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("above 0", "slot_s")

    realise = _replay

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """What is replayed."""
        return (load_mahimahi(self.up_path, self.down_path),)
