"""The paper's two tables beside our engine's, from one stream: ``experiment=paper_tables``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from covspec_core.errors import InvalidSetting
from covspec_core.provenance import provenance
from covspec_core.recording import load_recording
from covspec_core.stream import StreamConstants, StreamSize
from env.presets import build, preset
from policies.algorithms.settings import read_algorithm
from policies.console import say
from policies.experiments import Findings
from policies.mixes import read_scenarios
from policies.paper_rows import COLUMNS, Row, Tables, losses_of, read_rows
from policies.report import made_by, table
from policies.runs import new_run, write_json, write_text
from policies.settings import TuningSettings, read_seed
from policies.stream_fit import FitSettings, errors, fit

Played = dict[str, dict[str, float]]
LOSSLESS_ACCURACY = 74.70
"""Of edge-only: what decodes losslessly answers with the target's own law."""
UNITS = {"speed": "speed", "accuracy": "accuracy %", "comm": "MiB", "price": "price saved %"}


@dataclass(frozen=True)
class PaperSettings:
    """Values of ``conf/experiment/paper_tables.yaml``.

    Attributes:
        name: Of the experiment.
        size: Of the stream.
        sessions: Of each row.
        start: Constants with which the fit begins.
        fit: How they are fitted.
        tuning: Search budget of our settings.
        learning: What our learned rows change in ``conf/algorithm/ppo.yaml``.
        random_acceptance: Of a pair with random tokens, measured.
        covspec_rule: Values that rows share.
        rows: Of the paper's tables.
        ours: Of our own.
    """

    name: str
    size: StreamSize
    sessions: int
    start: StreamConstants
    fit: FitSettings
    tuning: TuningSettings
    learning: dict[str, Any]
    random_acceptance: float
    covspec_rule: dict[str, Any]
    rows: dict[str, Any]
    ours: dict[str, Any]

    def __post_init__(self) -> None:
        if self.sessions < 1 or not 0 < self.random_acceptance < 1:
            raise InvalidSetting(
                "experiment needs sessions >= 1 and random_acceptance in (0, 1), "
                f"got {self.sessions} and {self.random_acceptance}"
            )


def run(config: dict[str, Any]) -> Findings:
    """Fit, play every row, and write both tables into a run folder."""
    settings = build(PaperSettings, config["experiment"], "experiment")
    seed, rows = read_seed(config), read_rows(settings.rows, "rows")
    ours = read_rows(settings.ours, "ours")
    tables = _tables(config, settings, seed)
    fitted = settings.fit.chosen(rows)
    folder = new_run(Path(config["runs_dir"]), config["name"], "paper_tables")
    say(f"fitting on {', '.join(fitted)}")
    constants = fit(tables, rows, settings.fit, settings.start)
    write_json(folder / "constants.json", asdict(constants))
    say(f"playing {len(rows)} rows of the paper and {len(ours)} of ours")
    played = tables.play(rows, constants, "test", settings.sessions)
    played |= tables.play(ours, constants, "test", settings.sessions)
    cells = cells_of(rows | ours, played, settings.fit.rows)
    text = page(rows, ours, played, settings, constants, provenance(seed))
    made = {"provenance": provenance(seed), "constants": asdict(constants), "cells": cells}
    write_json(folder / "tables.json", made)
    write_text(folder / "tables.md", text)
    say(f"tables: {folder / 'tables.md'}")
    return Findings(cells, text)


def _tables(config: Mapping[str, Any], settings: PaperSettings, seed: int) -> Tables:
    """The operating point: one request a session, a device and an edge as fast as they should."""
    scenario, _ = read_scenarios(config)
    measured = load_recording(config["model"]["recording"])
    losses = losses_of(measured, settings.random_acceptance)
    same = (1.0, 1.0)
    point = replace(scenario, link_rows=1, requests=1, device_factor=same, edge_factor=same)
    learning = read_algorithm(preset("algorithm", "ppo") | settings.learning)
    return Tables(point, losses, settings.size, settings.tuning, learning, seed, say)


def cells_of(
    rows: Mapping[str, Row], played: Played, fitted: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Every cell that the paper reports or we find, deviations among ours."""
    return [
        {
            "table": row.table,
            "row": row.row,
            "column": column,
            "reported": row.reported.get(column),
            "ours": _ours(row, column, played.get(name)),
            "fitted": name in fitted and column in row.reported and column != "accuracy",
            "consistent": column not in row.contradicted,
        }
        for name, row in rows.items()
        for column in (*COLUMNS, "deviations")
    ]


def _ours(row: Row, column: str, figures: Mapping[str, float] | None) -> float | None:
    """Our cell. Answers are not in a stream: a lossless row has edge-only's, no other has any."""
    if figures is None:
        return None
    if column == "accuracy":
        return None if _lossy(row) else LOSSLESS_ACCURACY
    return figures[column]


def _lossy(row: Row) -> bool:
    values = row.controller
    gated = row.checked is not None or values.get("gate_threshold", float("inf")) < float("inf")
    return gated or values["kind"] == "device_only"


def page(
    rows: Mapping[str, Row],
    ours: Mapping[str, Row],
    played: Played,
    settings: PaperSettings,
    constants: StreamConstants,
    made: Mapping[str, Any],
) -> str:
    """Both tables and ours as Markdown."""
    lines = [
        "# CoVSpec's tables, reported and ours",
        "",
        *made_by([made]),
        f"{settings.sessions} answers of {settings.size.tokens} tokens a row; virtual seconds.",
        "",
        f"One stream, fitted on {', '.join(rows[name].row for name in settings.fit.rows)} alone: "
        + ", ".join(f"{name} {value:.4f}" for name, value in asdict(constants).items())
        + ". A cell is *reported | ours*; ! marks reported cells that contradict the others.",
        "",
    ]
    for name in ("I", "II"):
        shown = {key: row for key, row in rows.items() if name in row.table.split(", ")}
        lines += [f"## Table {name}", "", *_compared(shown, played, settings.fit.rows), ""]
    lines += ["## Our settings", "", *_compared(ours, played, ()), ""]
    return "\n".join([*lines, *_notes(rows, played, settings)]) + "\n"


def _compared(rows: Mapping[str, Row], played: Played, fitted: tuple[str, ...]) -> list[str]:
    body = [
        [
            row.row + (" (fitted)" if name in fitted else ""),
            *(_cell(row, column, played.get(name)) for column in COLUMNS),
            f"{played[name]['deviations']:.2f}" if name in played else "-",
        ]
        for name, row in rows.items()
    ]
    return table(["row", *UNITS.values(), "deviations %"], body)


def _cell(row: Row, column: str, figures: Mapping[str, float] | None) -> str:
    parts = (row.reported.get(column), _ours(row, column, figures))
    said, own = ("-" if value is None else f"{value:.2f}" for value in parts)
    mark = " !" if column in row.contradicted else ""
    return own if row.table == "ours" else f"{said}{mark} \\| {own}"


def _notes(rows: Mapping[str, Row], played: Played, settings: PaperSettings) -> list[str]:
    lines = ["## What does not fit", ""]
    lines += [f"- {row.row}: {row.why}" for row in rows.values() if row.why]
    lines += _misses(rows, played)
    lines += [
        "- Accuracy: a stream knows no answers. Lossless rows have edge-only's by construction; for"
        " the others deviations, tokens that the target would not have written, are counted.",
        "- Pruning costs acceptance at other keep levels as it does on the embedded pair.",
    ]
    return [
        *lines,
        "- Learned: trained here on the stream's training noise, as the rules are tuned there; the"
        " chances that it sees are those that the margin foresees.",
    ]


def _misses(rows: Mapping[str, Row], played: Played) -> list[str]:
    """Consistent cells beyond 10 % of the speed, 5 % of the bytes or 3 points of the price."""
    return [
        f"- {row.row}, {UNITS[column]}: {abs(error):.1f} times as far off as is our goal."
        for name, row in rows.items()
        if name in played
        for column, error in errors(row.reported, played[name]).items()
        if abs(error) > 1 and column not in row.contradicted
    ]
