"""Settings of a league: who plays where; checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from covspec_core.errors import InvalidSetting
from policies.bounds import BOUNDS
from policies.league_pieces import Told
from policies.league_report import RULE

LEARNED: Final = "learned"
"""Name of the controller that a league trains itself."""


@dataclass(frozen=True)
class OracleSettings:
    """Bounds.

    Attributes:
        names: Among ``BOUNDS``.
        sessions: Per regime, the first ones.
    """

    names: tuple[str, ...]
    sessions: int

    def __post_init__(self) -> None:
        unknown = sorted(set(self.names) - set(BOUNDS))
        if unknown or self.sessions < 1:
            raise InvalidSetting(
                f"experiment.oracles needs names among {sorted(BOUNDS)} and sessions >= 1, "
                f"got {self.names} and {self.sessions}"
            )


@dataclass(frozen=True)
class SensitivitySettings:
    """Who is told wrong things about the link.

    Attributes:
        controllers: Names of the league.
        sigma: Of a log-normal error of the reported rates.
        rounds: Ages of the link report.
        sessions: Per regime, the first ones.
    """

    controllers: tuple[str, ...]
    sigma: tuple[float, ...]
    rounds: tuple[int, ...]
    sessions: int

    def __post_init__(self) -> None:
        if min((*self.sigma, *self.rounds), default=1) <= 0 or self.sessions < 1:
            raise InvalidSetting(
                "experiment.sensitivity needs sigma > 0, rounds > 0 and sessions >= 1, "
                f"got {self.sigma}, {self.rounds} and {self.sessions}"
            )

    @property
    def told(self) -> tuple[Told, ...]:
        """Everything wrong that is told."""
        wrong = tuple(Told(sigma=sigma) for sigma in self.sigma)
        return wrong + tuple(Told(rounds=rounds) for rounds in self.rounds)


@dataclass(frozen=True)
class LeagueSettings:
    """Who plays where; values of ``conf/experiment/league.yaml``.

    Attributes:
        name: Of the experiment.
        controllers: Names of the group ``controller``.
        oracles: Bounds.
        sensitivity: Who is told wrong things.
        seeds: Trainings of the learned controller.
        first_seed: Of them.
        finished: Folders of controllers that were trained before, by name.
        held_out: Scenarios that nobody was trained on, by group; ``None`` strikes one out.
        publish: Whether the report goes to ``path``, too.
        path: There, from the repository's root.
        resume: Folder of an interrupted league.
    """

    name: str
    controllers: tuple[str, ...]
    oracles: OracleSettings
    sensitivity: SensitivitySettings
    seeds: int = 10
    first_seed: int = 1
    finished: Mapping[str, Any] = field(default_factory=dict)
    held_out: Mapping[str, Any] = field(default_factory=dict)
    publish: bool = False
    path: str = "results/league.json"
    resume: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("seeds", 0), ("first_seed", 0)):
            if getattr(self, name) < least:
                raise InvalidSetting(
                    f"experiment.{name} must be >= {least}, got {getattr(self, name)}"
                )
        if RULE not in self.controllers:
            raise InvalidSetting(f"experiment.controllers must hold {RULE}, got {self.controllers}")
        taken = {LEARNED} if self.seeds else set()
        double = sorted(set(self.finished) & (taken | set(self.controllers)))
        if double:
            raise InvalidSetting(f"experiment.finished needs names of its own, got {double}")
        unknown = sorted(set(self.sensitivity.controllers) - set(self.names))
        if unknown:
            raise InvalidSetting(
                f"experiment.sensitivity.controllers must be among {self.names}, got {unknown}"
            )

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of learned controllers."""
        return (*((LEARNED,) if self.seeds else ()), *self.finished)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all who play."""
        return (*self.learned, *self.controllers)
