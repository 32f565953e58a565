"""Makes recordings: the target writes every answer once, the draft reads it at every keep level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core import verification as ver
from covspec_core.acceptance import AcceptanceHead, standing, token_features
from covspec_core.blocks import Sampler
from covspec_core.edge import Edge
from covspec_core.errors import InvalidSetting
from covspec_core.forecast import Forecast
from covspec_core.head_fit import Examples
from covspec_core.models.protocol import Outputs, Prompt, VisionLanguageModel
from covspec_core.randomness import REST
from covspec_core.recording import (
    FAR,
    FORMAT,
    LEVEL_COLUMNS,
    REQUEST_COLUMNS,
    SPLITS,
    TOKEN_COLUMNS,
    Recording,
)
from covspec_core.reduction import VisualStates
from covspec_core.request import Pair, Request, statistics
from covspec_core.wire import PROTOCOLS

Row = dict[str, NDArray[Any]]
FRESH, REFUSED = REST + 1, REST + 2
"""What an addressed uniform number decides here, beside what it decides in a round."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request to record.

    Attributes:
        request: Image, question and noise key.
        split: Name of its split.
        scene: Number of its case in the split of the drawn world, or -1.
    """

    request: Request
    split: str
    scene: int = -1


def record(
    pair: Pair,
    jobs: Sequence[Job],
    keep_levels: Sequence[float],
    temperature: float,
    limit: int,
    meta: dict[str, Any],
    progress: Callable[[int], None] = lambda done: None,
    truncation: ver.Truncation = ver.WHOLE,
    top: int = PROTOCOLS["progressive"].top,
) -> Recording:
    """Record requests at every keep level.

    Args:
        pair: Models, and the head whose forecasts become a column.
        jobs: What to record; at least one.
        keep_levels: Shares of visual tokens, ascending.
        temperature: Of both laws; 0 is greedy.
        limit: Most answer tokens.
        meta: Provenance to store along.
        progress: Called with the number of finished requests.
        truncation: Which tokens may be drawn.
        top: Largest entries that the protocol ``progressive`` sends first.
    """
    if not jobs:
        raise InvalidSetting("a recording needs at least one request, got none")
    rows: list[Row] = []
    for done, job in enumerate(jobs, start=1):
        reading = read(pair, job.request, keep_levels, temperature, limit, truncation)
        rows.append(_columns(pair, job, keep_levels, reading, top))
        progress(done)
    columns = {
        name: np.concatenate([row[name] for row in rows], axis=int(name in LEVEL_COLUMNS)).astype(
            dtype
        )
        for name, dtype in (TOKEN_COLUMNS | LEVEL_COLUMNS).items()
    }
    columns |= {
        name: np.stack([row[name] for row in rows]).astype(dtype)
        for name, dtype in REQUEST_COLUMNS.items()
    }
    head = {
        "format": FORMAT,
        "keep_levels": list(keep_levels),
        "temperature": temperature,
        "top_k": truncation.top_k,
        "top_p": truncation.top_p,
        "top": top,
        "limit": limit,
    }
    return Recording(
        meta=head | meta,
        questions=np.array([job.request.question for job in jobs]),
        **columns,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One answer of the target, and what the draft says all along it.

    Attributes:
        sampler: Draws of the answer.
        prompt: Of the draft.
        states: Signals from which its visual tokens are ranked.
        tokens: The answer.
        target: Laws of the target, ``[tokens, vocab]``.
        drafts: Outputs of the draft at every keep level, leading shape ``[tokens]``.
    """

    sampler: Sampler
    prompt: Prompt
    states: VisualStates
    tokens: list[int]
    target: ver.Law
    drafts: list[Outputs]


def read(
    pair: Pair,
    request: Request,
    keep_levels: Sequence[float],
    temperature: float,
    limit: int,
    truncation: ver.Truncation = ver.WHOLE,
) -> Reading:
    """Let the target answer and the draft read along; arguments as for :func:`record`."""
    sampler = Sampler(request.key, temperature, shared=True, truncation=truncation)
    prompt = pair.draft.prompt(request.image, request.question)
    target_prompt = pair.target.prompt(request.image, request.question)
    edge = Edge(pair.target, PROTOCOLS["coupled"])
    edge.start(target_prompt, sampler)
    tokens = edge.decode([], limit)
    target = sampler.law(_along(pair.target, target_prompt, None, tokens).logits)
    states = pair.draft.visual_states(prompt)
    order = pair.order(states)
    seen = [pair.seen(prompt, states, order, keep) for keep in keep_levels]
    drafts = [_along(pair.draft, *each, tokens) for each in seen]
    return Reading(sampler, prompt, states, tokens, target, drafts)


def head_examples(reading: Reading, keep_levels: Sequence[float]) -> Examples:
    """What an acceptance head learns along one answer, at all keep levels."""
    pairs = zip(keep_levels, reading.drafts, strict=True)
    return Examples.joined([_examples(reading, keep, outputs) for keep, outputs in pairs])


def _examples(reading: Reading, keep: float, outputs: Outputs) -> Examples:
    sampler, target, places = reading.sampler, reading.target, np.arange(len(reading.tokens))
    law, signal = sampler.law(outputs.logits), sampler.signal(outputs.logits)
    fresh, emitted = _drawn(sampler, law, FRESH), np.array(reading.tokens)
    overlap = ver.overlap(target, law)
    came = ver.accept_probability(law[places, emitted], target[places, emitted])
    stands = ver.accept_probability(target[places, fresh], law[places, fresh])
    columns = (
        Forecast(None, outputs.hidden, signal, keep).features,
        standing(overlap, np.array([len(emitted)])),
        token_features(signal, fresh),
        stands,
        token_features(signal, emitted),
        np.append(came[:-1], 0.0),
        np.append(overlap[1:], 0.0),
    )
    return Examples(*(column.astype(np.float32) for column in columns))


def _drawn(sampler: Sampler, laws: ver.Law, purpose: int) -> NDArray[np.int64]:
    """A token of every law, drawn independently."""
    alone = replace(sampler, shared=False)
    return np.array([alone.draw(law, t, purpose) for t, law in enumerate(laws)])


def _columns(pair: Pair, job: Job, keep_levels: Sequence[float], reading: Reading, top: int) -> Row:
    levels = [
        _level(pair.head, reading, keep, outputs, top)
        for keep, outputs in zip(keep_levels, reading.drafts, strict=True)
    ]
    columns = {name: np.stack([level[name] for level in levels]) for name in LEVEL_COLUMNS}
    tokens = reading.tokens
    return columns | {
        "tokens": np.array(tokens),
        "p": reading.target[np.arange(len(tokens)), tokens],
        "length": np.array(len(tokens)),
        "key": np.array(job.request.key, dtype=np.uint64),
        "split": np.array(SPLITS.index(job.split)),
        "image_bytes": np.array(job.request.image_bytes),
        "statistics": statistics(reading.prompt, reading.states),
        "scene": np.array(job.scene),
    }


def _along(
    model: VisionLanguageModel, prompt: Prompt, kept: NDArray[np.int64] | None, tokens: list[int]
) -> Outputs:
    """Outputs at every answer position at the true prefix, leading shape ``[tokens]``."""
    context, first = model.prefill(prompt, kept)
    parts = [Outputs(first.logits[None], first.hidden[None])]
    if len(tokens) > 1:
        parts.append(context.extend(np.array(tokens[:-1])))
    return Outputs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _level(
    head: AcceptanceHead | None, reading: Reading, keep: float, outputs: Outputs, top: int
) -> Row:
    sampler, tokens = reading.sampler, reading.tokens
    law, signal = sampler.law(outputs.logits), sampler.signal(outputs.logits)
    forecast = Forecast(head, outputs.hidden, signal, keep)
    draw = np.array([sampler.draw(law[t], t) for t in range(len(tokens))])
    # Seen from the draft, the two laws change places.
    refused = _drawn(sampler, ver.residual(law, reading.target), REFUSED)
    plain = replace(sampler, shared=False)
    places = range(len(tokens))
    return {
        "q": law[places, tokens],
        "margin": forecast.margin,
        "entropy": forecast.entropy,
        "overlap": ver.overlap(reading.target, law),
        "draw": draw,
        "rank": _ranks(plain, outputs.logits, tokens),
        "rank_shared": _ranks(sampler, outputs.logits, tokens),
        "chances": forecast.chances,
        "drawn": forecast.of_drawn(np.array(tokens)),
        "drawn_shared": forecast.of_drawn(draw),
        "drawn_refused": forecast.of_drawn(refused),
        "agreement": ver.agreement(outputs.logits, np.array(tokens)),
        "settled": _settled(reading, law, top),
    }


def _settled(reading: Reading, law: ver.Law, top: int) -> NDArray[np.float64]:
    rows = zip(reading.target, law, ver.largest(reading.target, top), reading.tokens, strict=True)
    return np.array([ver.settled(*row) for row in rows])


def _ranks(sampler: Sampler, logits: NDArray[np.float32], tokens: list[int]) -> NDArray[np.int64]:
    ranks = [ver.rank(sampler.scores(row, t), tokens[t]) for t, row in enumerate(logits)]
    return np.minimum(ranks, FAR)
