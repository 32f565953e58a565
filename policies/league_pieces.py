"""Pieces of a league: sessions of one controller, seed and regime, each a file once played."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from covspec_core.recording import Recording
from covspec_core.scenario import Scenario
from env.play import World
from policies.answer_store import digest
from policies.bounds import BOUNDS
from policies.factory import make_controller
from policies.judging import Scores, judge
from policies.model_settings import ModelSettings
from policies.perturbed import StaleLink, WrongLink
from policies.settings import ControllerSettings


class Told(NamedTuple):
    """What a controller is told of its link: the truth if both are 0.

    Attributes:
        sigma: Of a log-normal error of the rates.
        rounds: Age of the report.
    """

    sigma: float = 0.0
    rounds: int = 0

    @property
    def name(self) -> str:
        """In folders and reports."""
        if self.sigma:
            return f"wrong_{self.sigma:g}"
        return f"stale_{self.rounds}" if self.rounds else "true"


TRUTH: Final = Told()


@dataclass(frozen=True)
class Match:
    """Where all pieces of a league are played.

    Attributes:
        model: The pair.
        split: Of requests and links.
        seed: Decides requests, links and noise; equal for all.
    """

    model: ModelSettings
    split: str
    seed: int


@dataclass(frozen=True)
class Piece:
    """Sessions to play.

    Attributes:
        match: Where.
        controller: Who, its constants known; an oracle by its name among ``BOUNDS``.
        member: Training seed of a learned controller; 0 for others.
        regime: Name of the regime.
        scenario: Of the regime.
        sessions: How many; fewer are the first of more.
        told: What the controller is told of its link.
    """

    match: Match
    controller: ControllerSettings | str
    member: int
    regime: str
    scenario: Scenario
    sessions: int
    told: Told = TRUTH

    @property
    def name(self) -> str:
        """Name of the controller."""
        return self.controller if isinstance(self.controller, str) else self.controller.name

    @property
    def identity(self) -> str:
        """Changes with everything that the scores depend on, but for the code."""
        model, own = self.match.model, repr(self.controller)
        if isinstance(self.controller, ControllerSettings) and self.controller.kind == "learned":
            own = digest(str(Path(self.controller.values["path"]) / "network.npz"))
        parts = (repr(self.match), digest(model.recording), own, repr(self.scenario),
                 self.sessions, self.told)  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def path(self, folder: Path) -> Path:
        """File of the scores."""
        place = folder / "pieces" / self.told.name / self.name / str(self.member)
        return place / f"{self.regime}.npz"


class Todo(NamedTuple):
    """A piece and the folder for it, as another process takes it."""

    piece: Piece
    folder: Path


def stored(piece: Piece, folder: Path) -> Scores | None:
    """Scores of a piece that was played with the same settings; ``None`` if there are none."""
    path = piece.path(folder)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["identity"]) != piece.identity:
            return None
        return Scores(*(file[field.name] for field in fields(Scores)))


def play(todo: Todo) -> float:
    """Play a piece and keep its scores, whole or not at all; mean speed-up."""
    piece, folder = todo
    scores = judge(_world(piece), _controller(piece), piece.sessions, piece.match.seed)
    path = piece.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{piece.regime}.partial.npz")
    columns = {field.name: getattr(scores, field.name) for field in fields(Scores)}
    np.savez(partial, identity=np.array(piece.identity), **columns)
    partial.replace(path)
    return float(scores.speedup.mean())


def oracle_refuses(name: str, scenario: Scenario, match: Match) -> str | None:
    """Why there is no such bound in a regime; ``None`` if there is."""
    try:
        BOUNDS[name](load(scenario, match), 1, match.seed)
    except InvalidSetting as error:
        return str(error)
    return None


def load(scenario: Scenario, match: Match, split: str | None = None) -> World:
    """A regime's links and requests; of the split that is judged unless named otherwise."""
    return World.load(scenario, split or match.split, recording(match.model), match.seed)


@cache
def recording(model: ModelSettings) -> Recording:
    """The pair's recording, read once a process."""
    return model.recorded()


_WORLDS: dict[str, World] = {}


def _world(piece: Piece) -> World:
    """The world of a piece; realised once for neighbours in the order of the pieces."""
    key = repr((piece.scenario, piece.match))
    if key not in _WORLDS:
        if len(_WORLDS) >= MOST_WORLDS:
            _WORLDS.clear()
        _WORLDS[key] = load(piece.scenario, piece.match)
    return _WORLDS[key]


MOST_WORLDS: Final = 16
"""Kept at once in a process; bounds the memory."""


def _controller(piece: Piece) -> Controller:
    if isinstance(piece.controller, str):
        return BOUNDS[piece.controller](_world(piece), piece.sessions, piece.match.seed)
    made = make_controller(piece.controller, piece.scenario, piece.match.seed, _untuned)
    if piece.told.sigma:
        return WrongLink(made, piece.told.sigma, piece.match.seed)
    return StaleLink(made, piece.told.rounds) if piece.told.rounds else made


def _untuned(rule: str = "rule") -> Mapping[str, Any]:
    raise AssertionError(f"constants of {rule} must be known before it plays")
