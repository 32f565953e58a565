"""Learned controllers against every rule: ``evaluate.py experiment=league``.

Tuning, training and playing are kept piece by piece: an interrupted league goes on, and one with
other settings takes over what they do not touch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from covspec_core.errors import InvalidSetting, RunConflict
from covspec_core.provenance import ROOT
from env.presets import UNSET, build
from policies import league_players as players
from policies.console import say
from policies.experiments import Findings
from policies.judging import Scores
from policies.launcher import Launcher, open_launcher
from policies.league_page import markdown
from policies.league_pieces import Match, Piece, Todo, Told, oracle_refuses, play, stored
from policies.league_regimes import Regimes, grouped_regimes
from policies.league_report import Played, Results, build_findings
from policies.league_settings import LEARNED, LeagueSettings
from policies.learned import load_controller
from policies.runs import MADE, claimed, new_run, note_process, write_json, write_text
from policies.settings import ControllerSettings, RunSettings, read_run

Members = Mapping[str, Sequence[ControllerSettings]]
"""Controllers by name, one for each training seed."""


@dataclass(frozen=True)
class League:
    """A league ready to be played.

    Attributes:
        settings: Who plays where.
        run: Budgets and the rules.
        regimes: Scenarios.
        folder: Where pieces are kept.
        config: Composed configuration.
        launcher: Where pieces of work run.
    """

    settings: LeagueSettings
    run: RunSettings
    regimes: Regimes
    folder: Path
    config: Mapping[str, Any]
    launcher: Launcher

    @property
    def match(self) -> Match:
        """Where all pieces are played."""
        return Match(self.run.model, self.run.judging.split, self.run.seed)


def run(config: dict[str, Any]) -> Findings:
    """Tune, train, play, and write a report into a run folder."""
    settings = build(LeagueSettings, config["experiment"], "experiment")
    own = read_run(config | {"controllers": list(settings.controllers)})
    _require_playable(settings, own)
    regimes = grouped_regimes(config, settings.held_out)
    began, folder = monotonic(), _folder(config, settings)
    with claimed(folder):
        made = note_process(folder, own.seed)
        say(f"league: {folder}; if interrupted, experiment.resume={folder} goes on")
        report = {"provenance": made[-1], "earlier": made[:-1], "config": config}
        with open_launcher(own.launcher) as launcher:
            report |= played(League(settings, own, regimes, folder, config, launcher))
        text = _write(report, folder, settings)
    say(f"report: {folder / 'report.md'}, {(monotonic() - began) / 60:.1f} min")
    return Findings(_plain(report), text)


def _require_playable(settings: LeagueSettings, own: RunSettings) -> None:
    """Refuse now what would fail when all else was played."""
    for name in ("oracles", "sensitivity"):
        sessions, most = getattr(settings, name).sessions, own.judging.sessions
        if sessions > most:
            raise InvalidSetting(
                f"experiment.{name}.sessions must be at most judging.sessions, {most}, "
                f"got {sessions}"
            )
    levels = {LEARNED: own.level}
    for name, folders in settings.finished.items():
        levels[name] = load_controller(players.finished(name, folders)[0]).codec.level
    within = [n for n in settings.sensitivity.controllers if levels.get(n) == "token"]
    if within:
        raise InvalidSetting(
            "experiment.sensitivity.controllers must decide before a round, since a status is "
            f"changed there, got {within} at token level"
        )


def _folder(config: Mapping[str, Any], settings: LeagueSettings) -> Path:
    if settings.resume is None:
        return new_run(Path(config["runs_dir"]), config["name"], "league")
    folder = Path(settings.resume)
    if not (folder / MADE).is_file():
        raise RunConflict(f"{folder} holds no league to go on with")
    return folder


def played(league: League) -> dict[str, Any]:
    """Findings of a league: what is kept is taken, the rest is done."""
    settings, regimes = league.settings, league.regimes
    constants = _tuned(league)
    members = _members(league, constants)
    held, left_out = _bounds(league)
    truth = _play(league, "playing", members, Told(), league.run.judging.sessions)
    bounds = _done(league, "oracles", held)
    some = {name: members[name] for name in settings.sensitivity.controllers}
    misled = {
        told.name: _play(league, f"told {told.name}", some, told, settings.sensitivity.sessions)
        for told in settings.sensitivity.told
    }
    results = Results(truth, regimes.groups, settings.learned, bounds, misled, league.run.seed)
    return {
        "tuned": {
            rule: {"constants": found["constants"], "speedup": found["speedup"]}
            for rule, found in constants.items()
        },
        "trained": {
            name: [str(own.values["path"]) for own in members[name]] for name in settings.learned
        },
        "left_out": left_out,
    } | build_findings(results)


def _tuned(league: League) -> dict[str, dict[str, Any]]:
    tuned = [c for c in league.run.controllers if c.kind == "tuned"]
    rules = dict.fromkeys(str(c.values.get("rule", "rule")) for c in tuned)
    searches = [
        players.Search(rule, league.regimes.mix, league.match, league.run.tuning) for rule in rules
    ]
    return players.tuned(league.folder, searches, league.launcher, say)


def _members(league: League, constants: Mapping[str, Any]) -> Members:
    settings = league.settings
    members: dict[str, list[ControllerSettings]] = {}
    if settings.seeds:
        seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
        own = {**league.config, "runs_dir": str(league.folder)}
        configs = players.training_configs(own, seeds)
        members[LEARNED] = _learned(LEARNED, players.trained(configs, league.launcher, say))
    for name, folders in settings.finished.items():
        members[name] = _learned(name, players.finished(name, folders))
    rules = {c.name: [players.with_constants(c, constants)] for c in league.run.controllers}
    return members | rules


def _learned(name: str, folders: Sequence[Path]) -> list[ControllerSettings]:
    return [ControllerSettings(name, "learned", {"path": str(folder)}) for folder in folders]


def _play(league: League, part: str, members: Members, told: Told, sessions: int) -> Played:
    """Scores of all members in all regimes."""
    pieces = [
        Piece(league.match, own, number, regime, scenario, sessions, told)
        for regime, scenario in league.regimes.scenarios.items()
        for own_members in members.values()
        for number, own in enumerate(own_members)
    ]
    return _done(league, part, pieces)


def _bounds(league: League) -> tuple[list[Piece], dict[str, str]]:
    """Pieces of the oracles, and why some regimes have none."""
    settings = league.settings.oracles
    pieces: list[Piece] = []
    refused: dict[str, str] = {}
    for name in settings.names:
        for regime, scenario in league.regimes.scenarios.items():
            why = oracle_refuses(name, scenario, league.match)
            if why is None:
                piece = Piece(league.match, name, 0, regime, scenario, settings.sessions)
                pieces.append(piece)
            else:
                refused[f"{name}, {regime}"] = why
                say(f"{name} is left out in {regime}: {why}")
    return pieces, refused


def _done(league: League, part: str, pieces: Sequence[Piece]) -> Played:
    """Scores of all pieces, those that are not kept played first."""
    left = [Todo(piece, league.folder) for piece in pieces if stored(piece, league.folder) is None]

    def line(todo: Todo, speedup: float) -> str:
        return f"{todo.piece.name} {todo.piece.member} in {todo.piece.regime} {speedup:.3f}x"

    for _ in players.watched(part, play, left, league.launcher, line, say):
        pass
    found: Played = {}
    for piece in pieces:
        scores: Scores | None = stored(piece, league.folder)
        assert scores is not None
        found.setdefault(piece.name, {}).setdefault(piece.regime, []).append(scores)
    return found


def _write(report: dict[str, Any], folder: Path, settings: LeagueSettings) -> str:
    """Report, page and figures; the page."""
    # Imported here: matplotlib takes a second that a wrong setting should not cost.
    from policies.league_figures import draw_all

    report = _plain(report)
    write_json(folder / "report.json", report)
    text = markdown(report, draw_all(report, folder))
    write_text(folder / "report.md", text)
    if settings.publish:
        path = ROOT / settings.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, _public(report))
        say(f"published: {path}")
    return text


def _public(values: Any) -> Any:
    """Values without the folder of this machine in which measured traces lie."""
    if isinstance(values, Mapping):
        return {k: UNSET if k == "traces_dir" else _public(v) for k, v in values.items()}
    return [_public(value) for value in values] if isinstance(values, list) else values


def _plain(values: Any) -> Any:
    """Values as strict JSON has them: infinity, which turns a gate off, as a word."""
    if isinstance(values, Mapping):
        return {str(key): _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return str(values)
    return values
