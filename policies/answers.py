"""Answers of live pairs to the drawn world's questions, graded, side by side in processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from covspec_core.engine import generate
from covspec_core.randomness import mix
from covspec_core.request import Pair, Request
from covspec_core.rounds import RoundResult
from policies.model_settings import ModelSettings
from policies.process_pool import process_pool
from policies.systems import System

SETS: Final = ("test", "combinations", "rare", "subtle", "crowded")
"""Sets of the drawn world that no model has seen; all but the first are out of distribution."""
NOISE, SESSION = range(2)
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Some questions for one system.

    Attributes:
        system: Who answers.
        model: The pair, and how it decodes.
        set: Which questions, a name of ``SETS``.
        indices: Which of them.
        seed: Of questions, noise, links and hardware factors; no system changes any of them.
    """

    system: System
    model: ModelSettings
    set: str
    indices: tuple[int, ...]
    seed: int


def answered(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, list[Row]]]:
    """Rows of every task as :func:`play` gives them, in the order of the tasks.

    Args:
        tasks: What to do.
        workers: Processes of one thread each; 0 works in this one.
    """
    if workers == 0:
        yield from ((task, play(task)) for task in tasks)
        return
    with process_pool(workers) as pool:
        yield from zip(tasks, pool.map(play, tasks), strict=True)


def play(task: Task) -> list[Row]:
    """Answer the questions of a task; what each of them brought and cost."""
    from covspec_core.pair.grading import is_right

    pair, rows = pair_of(task.model), []
    for index in task.indices:
        case, request = asked(task.set, index, task.seed)
        row = _answer(task, pair, request, index)
        right = is_right(case.scene, case.question, row["answer"])
        rows.append({"set": task.set, "index": index, "kind": case.question.kind,
                     "question": case.question.text, "right": right, **row})  # fmt: skip
    return rows


def _answer(task: Task, pair: Pair, request: Request, index: int) -> Row:
    unchecked = 0

    def count(result: RoundResult) -> None:
        nonlocal unchecked
        unchecked += int(result.skipped[0])

    seed = int(mix(task.seed, SETS.index(task.set), index, SESSION))
    controller, scenario = task.system.controller(seed)
    model = task.model
    done = generate(
        scenario, pair, request, controller, model.temperature, model.limit, seed, count,
        model.truncation,
    )  # fmt: skip
    names = ("answer", "tokens", "rounds", "seconds", "seconds_edge_only", "deviations")
    values = {name: getattr(done, name) for name in names}
    return values | {"unchecked": unchecked, "bytes": done.bytes_up + done.bytes_down}


def asked(name: str, index: int, seed: int) -> tuple[Any, Request]:
    """Case and request number ``index`` of a set; the image is what its JPEG decodes to."""
    from covspec_core.pair.requests import request_of

    case = _cases(name, _block_of(index), seed)[index]
    key = int(mix(seed, SETS.index(name), index, NOISE) >> np.uint64(1))
    return case, request_of(case, key)


def _block_of(index: int) -> int:
    """How many questions to draw for one of them: fewer draw the same, so few sizes do."""
    return 1 << max(index, 63).bit_length()


@cache
def _cases(name: str, count: int, seed: int) -> list[Any]:
    from covspec_core.pair.evaluate import cases

    return cases(name, count, seed)


@cache
def pair_of(model: ModelSettings) -> Pair:
    """The pair, loaded once a process; one thread each, as several run side by side."""
    import torch

    from covspec_core.models.loading import hide_progress
    from covspec_core.pairs import load_pair

    hide_progress()
    torch.set_num_threads(1)
    return load_pair(
        model.draft,
        model.target,
        model.reduction,
        model.head,
        model.device,
        model.dtype,
        model.decoder,
    )
