"""A session's rounds as spans of work and counts of tokens, and how each of them looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Mark(NamedTuple):
    """How one kind of work or token looks; colours of Okabe and Ito (2008), tints for waiting."""

    label: str
    letter: str
    colour: str


WORK = {
    "start": Mark("reading the image", "i", "#B8B8B8"),
    "draft": Mark("drafting", "d", "#56B4E9"),
    "ahead": Mark("drafting ahead", "b", "#C6E5F8"),
    "up": Mark("upload", "\\", "#E69F00"),
    "down": Mark("download", "/", "#E69F00"),
    "queue": Mark("edge not ready", ".", "#DDDDDD"),
    "verify": Mark("verifying", "v", "#0072B2"),
    "burst": Mark("edge alone", "e", "#CC79A7"),
}
TOKENS = {
    "accepted": Mark("accepted", "+", "#009E73"),
    "redrawn": Mark("redrawn", "x", "#D55E00"),
    "bonus": Mark("bonus", "*", "#F0E442"),
    "skipped": Mark("unchecked", "~", "#56B4E9"),
    "burst": Mark("edge alone", "e", "#CC79A7"),
    "dropped": Mark("dropped", "-", "#FFFFFF"),
}


class Span(NamedTuple):
    """Work on one lane."""

    lane: str
    kind: str
    begin_s: float
    end_s: float
    note: str = ""


class Shown(NamedTuple):
    """A round with its number in the session and the end of the round before."""

    number: int
    since_s: float
    row: Mapping[str, Any]

    def spans(self) -> Iterator[Span]:
        """All work of the round that takes time."""
        row = self.row
        edge = ("burst", row["burst"]) if row["burst"] else ("verify", row["drafted"])
        ahead = ("device", "ahead", row["sent_s"], row["received_s"], f"+{row['branch_steps']}")
        spans = (
            Span("device", "start", self.since_s, row["started_s"]),
            Span("device", "draft", row["started_s"], row["sent_s"], f"{row['drafted']}"),
            Span(*ahead) if row["branch_steps"] else None,
            Span("link", "up", row["sent_s"], row["arrived_s"]) if row["bytes_up"] else None,
            Span("edge", "queue", row["arrived_s"], row["verify_s"]),
            Span("edge", edge[0], row["verify_s"], row["verified_s"], f"{edge[1]}"),
            Span("link", "down", row["verified_s"], row["received_s"]),
        )
        return (span for span in spans if span and span.end_s > span.begin_s)

    def tokens(self) -> dict[str, int]:
        """Number of tokens by kind, in the order in which they stand in the text."""
        row = self.row
        checked = row["accepted"] + row["rejected"]
        return {
            "accepted": row["accepted"],
            "redrawn": int(row["rejected"]),
            "bonus": row["emitted"] - checked - row["skipped"] - row["burst"],
            "skipped": row["skipped"],
            "burst": row["burst"],
            "dropped": row["drafted"] - checked - row["skipped"],
        }

    def facts(self) -> dict[str, str]:
        """What a reader wants to know in numbers."""
        row = self.row
        return {
            "round": f"{self.number}",
            "drafted": f"{row['drafted']}",
            "branch": ("hit" if row["hit"] else "miss") if row["branch_steps"] else "-",
            "seconds": f"{row['received_s'] - row['started_s']:.3f}",
            "up": size(row["bytes_up"]),
            "down": size(row["bytes_down"]),
        }


def size(count: float) -> str:
    """A number of bytes for reading, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
