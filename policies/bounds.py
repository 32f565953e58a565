"""Upper bounds by name: exact where links stand still.

Where they change, the law's is planned on a clock's grid, and the outcome's found by a search that
may miss the best (:mod:`policies.changing`, :mod:`policies.clairvoyant`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from covspec_core.engine import Controller
from covspec_core.errors import InvalidSetting
from env.play import World
from policies.changing import timed_law_oracle
from policies.clairvoyant import outcome_search
from policies.known import refuse_changing
from policies.oracles import law_oracle, outcome_oracle

Bound = Callable[[World, int, int], Controller]


def _with_all_lengths(world: World) -> World:
    """The same world with every draft length to choose from, as blocks may end by a stop."""
    lengths = tuple(range(world.scenario.draft_lengths[-1] + 1))
    return replace(world, scenario=replace(world.scenario, draft_lengths=lengths))


def _stands_still(world: World) -> bool:
    try:
        refuse_changing(world)
    except InvalidSetting:
        return False
    return True


def _law(world: World, sessions: int, seed: int) -> Controller:
    solver = law_oracle if _stands_still(world) else timed_law_oracle
    return solver(_with_all_lengths(world), sessions, seed)


def _outcome(world: World, sessions: int, seed: int) -> Controller:
    solver = outcome_oracle if _stands_still(world) else outcome_search
    return solver(_with_all_lengths(world), sessions, seed)


BOUNDS: Final[dict[str, Bound]] = {"law_oracle": _law, "outcome_oracle": _outcome}
"""Makers of a controller for the first sessions of a world under a seed; never deployable."""
