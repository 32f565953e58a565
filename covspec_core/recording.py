"""Recordings: model outputs along emitted answers, from which any sequence of actions replays.

Without a gate the emitted text is the target's own, whatever the draft does. So a recording
holds the text once and, per keep level and position, what the draft thought of it at the true
prefix. Given that the emitted token is ``y``, it came from an accepted draft with probability
``min(1, q(y) / p(y))``; under shared noise it is decided outright.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from covspec_core.acceptance import DRAWN
from covspec_core.errors import BrokenRecording
from covspec_core.rounds import CHANCES
from covspec_core.source import STATISTICS
from covspec_core.verification import Truncation

FORMAT = 3
SPLITS = ("train", "validation", "test")
Column = NDArray[Any]
_DAMAGE = (OSError, KeyError, TypeError, ValueError, EOFError, BadZipFile, zlib.error)
"""What numpy, zipfile and json raise on files that are no recordings; ours is a ValueError."""

TOKEN_COLUMNS = {"tokens": np.uint32, "p": np.float32}
LEVEL_COLUMNS = {
    "q": np.float32,
    "margin": np.float16,
    "entropy": np.float16,
    "overlap": np.float16,
    "draw": np.uint32,
    "rank": np.uint8,
    "rank_shared": np.uint8,
    "chances": np.uint8,
    "drawn": np.uint8,
    "drawn_shared": np.uint8,
    "drawn_refused": np.uint8,
    "agreement": np.float16,
    "settled": np.float32,
}
FAR = 255
"""Rank that stands for itself and everything beyond."""
DRAWN_COLUMNS = ("drawn", "drawn_shared", "drawn_refused")
LATER_COLUMNS = frozenset(("agreement", "settled"))
"""A drawn stream lacks them (:mod:`covspec_core.stream`), and says so when asked."""
REQUEST_COLUMNS = {
    "length": np.int32,
    "key": np.uint64,
    "split": np.uint8,
    "image_bytes": np.int32,
    "statistics": np.float32,
    "scene": np.int64,
}


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Columns over all ``N`` emitted tokens, ``L`` keep levels and ``R`` requests.

    Attributes:
        meta: Format, pair, reduction, temperature, keep levels, limit, provenance.
        questions: Text of each request, ``[R]``.
        length: Emitted tokens of each request, end of answer included, ``[R]``.
        key: Noise key of each request, ``[R]``.
        split: Index into ``SPLITS``, ``[R]``.
        image_bytes: Encoded image and question, ``[R]``.
        statistics: See ``covspec_core.source.STATISTICS``, ``[R, 4]``.
        scene: Number of its case in the split of the drawn world, or -1, ``[R]``.
        tokens: Emitted token ``y``, ``[N]``.
        p: ``p(y)``, ``[N]``.
        q: ``q(y)``, ``[L, N]``.
        margin: Margin of q, ``[L, N]``.
        entropy: Entropy of q in nats, ``[L, N]``.
        overlap: ``sum min(p, q)``, ``[L, N]``.
        draw: Token the draft draws under the shared noise, ``[L, N]``.
        rank: Place of ``y`` in q, 255 for all beyond, ``[L, N]``.
        rank_shared: Place of ``y`` in q under the shared noise, likewise, ``[L, N]``.
        chances: That the next ``n`` drafted tokens all stand as the acceptance head foresees it,
            for every ``n`` of ``CHANCES``, in steps of ``1 / acceptance.GRID``, ``[L, N, C]``.
        drawn: What the head says of ``y`` where the draft has drawn it, as ``acceptance.DRAWN``
            names it, likewise, ``[L, N, 2]``.
        drawn_shared: The same of ``draw``.
        drawn_refused: The same of a token that the target refuses under independent draws, one of
            the law ``norm(max(0, q - p))``.
        agreement: Chance that a draw from q at a random temperature is ``y`` again, ``[L, N]``;
            see :func:`covspec_core.verification.agreement`.
        settled: Chance that a redraw of ``y`` needs the ``meta["top"]`` largest entries of p only,
            ``[L, N]``; see :func:`covspec_core.verification.settled`.
    """

    meta: dict[str, Any]
    questions: Column
    length: Column
    key: Column
    split: Column
    image_bytes: Column
    statistics: Column
    scene: Column
    tokens: Column
    p: Column
    q: Column
    margin: Column
    entropy: Column
    overlap: Column
    draw: Column
    rank: Column
    rank_shared: Column
    chances: Column
    drawn: Column
    drawn_shared: Column
    drawn_refused: Column
    agreement: Column | None = None
    settled: Column | None = None

    def __post_init__(self) -> None:
        n, levels = len(self.tokens), len(self.meta["keep_levels"])
        if int(self.length.sum()) != n:
            raise BrokenRecording(f"lengths must add up to {n} tokens, got {self.length.sum()}")
        requests = len(self.length)
        shapes: dict[str, tuple[int, ...]] = {"questions": (requests,)}
        shapes |= dict.fromkeys(REQUEST_COLUMNS, (requests,))
        shapes |= dict.fromkeys(TOKEN_COLUMNS, (n,)) | dict.fromkeys(LEVEL_COLUMNS, (levels, n))
        shapes["statistics"] = (requests, len(STATISTICS))
        shapes["chances"] = (levels, n, len(CHANCES))
        shapes |= {name: (levels, n, len(DRAWN)) for name in DRAWN_COLUMNS}
        for name in self._present(shapes):
            got, shape = getattr(self, name).shape, shapes[name]
            if got != shape:
                raise BrokenRecording(f"column {name} must have shape {shape}, got {got}")

    def _present(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def column(self, name: str) -> Column:
        """A column, also one that older recordings lack.

        Raises:
            BrokenRecording: If this recording lacks it.
        """
        column: Column | None = getattr(self, name)
        if column is None:
            raise BrokenRecording(f"the recording must hold column {name!r}; record it anew")
        return column

    def check_sampling(self, temperature: float, truncation: Truncation) -> None:
        """The laws must be those of these settings.

        Raises:
            BrokenRecording: If the recording was made with others.
        """
        asked = {
            "temperature": temperature,
            "top_k": truncation.top_k,
            "top_p": truncation.top_p,
        }
        own = {name: self.meta.get(name) for name in asked}
        if own != asked:
            raise BrokenRecording(f"the recording must be made with {asked}, got one with {own}")

    @property
    def keep_levels(self) -> tuple[float, ...]:
        """Shares of visual tokens that were recorded, ascending."""
        return tuple(self.meta["keep_levels"])

    @property
    def start(self) -> Column:
        """First token of each request, ``[R]``."""
        starts: Column = np.concatenate([[0], np.cumsum(self.length)[:-1]]).astype(np.int64)
        return starts

    def only(self, split: str) -> Recording:
        """The requests of one split.

        Raises:
            BrokenRecording: If there is none.
        """
        if split not in SPLITS:
            raise BrokenRecording(f"split must be one of {SPLITS}, got {split!r}")
        chosen = self.split == SPLITS.index(split)
        if not chosen.any():
            raise BrokenRecording(f"the recording holds no request of split {split!r}")
        tokens = np.repeat(chosen, self.length)
        changes: dict[str, Any] = {"questions": self.questions[chosen]}
        changes |= {name: getattr(self, name)[chosen] for name in REQUEST_COLUMNS}
        changes |= {name: getattr(self, name)[tokens] for name in self._present(TOKEN_COLUMNS)}
        changes |= {name: getattr(self, name)[:, tokens] for name in self._present(LEVEL_COLUMNS)}
        return replace(self, **changes)

    def save(self, path: Path) -> None:
        """Write one compressed file; columns can be added later without breaking it."""
        names = self._present(f.name for f in fields(self) if f.name != "meta")
        columns = {name: getattr(self, name) for name in names}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, meta=np.array(json.dumps(self.meta)), **columns)
        partial.replace(path)


def load_recording(path: Path | str) -> Recording:
    """Read a recording.

    Raises:
        BrokenRecording: If it is missing, damaged, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            if meta["format"] != FORMAT:
                raise BrokenRecording(
                    f"format must be {FORMAT}, got {meta['format']}; record it anew"
                )
            lacking = LATER_COLUMNS - set(file.files) | {"meta"}
            names = [f.name for f in fields(Recording) if f.name not in lacking]
            return Recording(meta=meta, **{name: file[name] for name in names})
    except FileNotFoundError as error:
        raise BrokenRecording(f"no recording at {path}") from error
    except _DAMAGE as error:
        raise BrokenRecording(f"{path} is no readable recording: {error}") from error
