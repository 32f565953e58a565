"""Makes recordings: the target writes every answer once, the draft reads it at every keep level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.device import Sampler
from covspec_core.edge import Edge
from covspec_core.errors import InvalidSetting
from covspec_core.forecast import Forecast, fit_forecast
from covspec_core.live import Pair, Request, kept_tokens, statistics
from covspec_core.models.protocol import Prompt, VisionLanguageModel
from covspec_core.recording import (
    FORMAT,
    LEVEL_COLUMNS,
    REQUEST_COLUMNS,
    SPLITS,
    TOKEN_COLUMNS,
    Recording,
)
from covspec_core.wire import PROTOCOLS

FAR = 255
"""Rank that stands for itself and everything beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request to record.

    Attributes:
        request: Image, question and noise key.
        split: Name of its split.
        scene: Seed of the drawn scene, or -1.
    """

    request: Request
    split: str
    scene: int = -1


def record(
    pair: Pair,
    jobs: Sequence[Job],
    temperature: float,
    limit: int,
    meta: dict[str, Any],
    progress: Callable[[int], None] = lambda done: None,
) -> Recording:
    """Record requests at every keep level of the pair.

    Args:
        pair: Models; their forecast table is fitted anew on the training requests.
        jobs: What to record; at least one of the training split.
        temperature: Of both laws; 0 is greedy.
        limit: Most answer tokens.
        meta: Provenance to store along.
        progress: Called with the number of finished requests.
    """
    if not any(job.split == "train" for job in jobs):
        raise InvalidSetting("a recording needs at least one training request, got none")
    rows: list[dict[str, NDArray[Any]]] = []
    for done, job in enumerate(jobs, start=1):
        rows.append(_record_one(pair, job, temperature, limit))
        progress(done)
    columns = {
        name: np.concatenate([row[name] for row in rows], axis=-1).astype(dtype)
        for name, dtype in (TOKEN_COLUMNS | LEVEL_COLUMNS).items()
    }
    columns |= {
        name: np.stack([row[name] for row in rows]).astype(dtype)
        for name, dtype in REQUEST_COLUMNS.items()
    }
    head = {"format": FORMAT, "keep_levels": list(pair.keep_levels)}
    forecast = _forecast(columns)
    return Recording(
        meta=head | {"temperature": temperature, "limit": limit} | meta,
        questions=np.array([job.request.question for job in jobs]),
        forecast_keys=forecast.keys,
        forecast_values=forecast.values,
        **columns,
    )


def _forecast(columns: dict[str, NDArray[Any]]) -> Forecast:
    train = columns["split"] == SPLITS.index("train")
    tokens = np.repeat(train, columns["length"])
    return fit_forecast(
        columns["tokens"][tokens], columns["overlap"][:, tokens], columns["length"][train]
    )


def _record_one(pair: Pair, job: Job, temperature: float, limit: int) -> dict[str, NDArray[Any]]:
    request = job.request
    sampler = Sampler(request.key, temperature, shared=True)
    prompt = pair.draft.prompt(request.image, request.question)
    target_prompt = pair.target.prompt(request.image, request.question)
    edge = Edge(pair.target, PROTOCOLS["coupled"])
    edge.start(target_prompt, sampler)
    tokens = edge.decode([], limit)
    target = sampler.law(_logits_along(pair.target, target_prompt, None, tokens))
    states = pair.draft.visual_states(prompt)
    order = pair.order(states)
    levels = [
        _level(pair.draft, prompt, kept_tokens(order, keep), tokens, target, sampler)
        for keep in pair.keep_levels
    ]
    columns = {name: np.stack([level[name] for level in levels]) for name in LEVEL_COLUMNS}
    return columns | {
        "tokens": np.array(tokens),
        "p": target[np.arange(len(tokens)), tokens],
        "length": np.array(len(tokens)),
        "key": np.array(request.key, dtype=np.uint64),
        "split": np.array(SPLITS.index(job.split)),
        "image_bytes": np.array(request.image_bytes),
        "statistics": statistics(prompt, states),
        "scene": np.array(job.scene),
    }


def _logits_along(
    model: VisionLanguageModel, prompt: Prompt, kept: NDArray[np.int64] | None, tokens: list[int]
) -> NDArray[np.float32]:
    """Logits of every answer position at the true prefix, shape ``[tokens, vocab]``."""
    context, first = model.prefill(prompt, kept)
    if len(tokens) == 1:
        return first[None]
    return np.concatenate([first[None], context.extend(np.array(tokens[:-1]))])


def _level(
    draft: VisionLanguageModel,
    prompt: Prompt,
    kept: NDArray[np.int64],
    tokens: list[int],
    target: ver.Law,
    sampler: Sampler,
) -> dict[str, NDArray[Any]]:
    logits = _logits_along(draft, prompt, kept, tokens)
    law, signal = sampler.law(logits), sampler.signal(logits)
    plain = Sampler(sampler.key, sampler.temperature, shared=False)
    places = range(len(tokens))
    return {
        "q": law[places, tokens],
        "margin": ver.margin(signal),
        "entropy": ver.entropy(signal),
        "overlap": ver.overlap(target, law),
        "draw": np.array([sampler.draw(law[t], t) for t in places]),
        "rank": _ranks(plain, logits, tokens),
        "rank_shared": _ranks(sampler, logits, tokens),
    }


def _ranks(sampler: Sampler, logits: NDArray[np.float32], tokens: list[int]) -> NDArray[np.int64]:
    ranks = [ver.rank(sampler.scores(row, t), tokens[t]) for t, row in enumerate(logits)]
    return np.minimum(ranks, FAR)
