"""The drawn world as requests: what a recording holds, and what live models answer again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from covspec_core.images import make_request
from covspec_core.pair.evaluate import Case, cases
from covspec_core.pair.render import render
from covspec_core.randomness import mix
from covspec_core.recorder import Job
from covspec_core.recording import SPLITS, Recording
from covspec_core.request import Request


def request_of(case: Case, key: int, tokens: int | None = None) -> Request:
    """One case as it travels."""
    return make_request(render(case.scene), case.question.text, key, tokens)


def jobs(counts: dict[str, int], seed: int) -> list[Job]:
    """Requests to record: the first cases of each split, under noise keys of their own."""
    made: list[Job] = []
    for split, count in counts.items():
        for index, case in enumerate(cases(split, count)):
            key = int(mix(seed, SPLITS.index(split), index) >> np.uint64(1))
            made.append(Job(request_of(case, key), split, index))
    return made


def recorded_requests(recording: Recording) -> Callable[[int], Request]:
    """The request behind a key as a replay picks it, image and all.

    Args:
        recording: Requests of one split of the drawn world.
    """
    split = SPLITS[int(recording.split[0])]
    known: Sequence[Case] = cases(split, int(recording.scene.max()) + 1)

    def request(key: int) -> Request:
        row = key % len(recording.length)
        case, length = known[int(recording.scene[row])], int(recording.length[row])
        return request_of(case, int(recording.key[row]), length)

    return request
