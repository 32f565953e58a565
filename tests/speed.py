"""Real speed against transformers: one JSON line per figure; ``python -m tests.speed``.

Everyone answers the same questions about the same images with the same pair, greedily, with the
same text, on one thread; encoders and prefill are part of every request. Draft length and schedule
of each side are chosen on other questions first. Runs alternate, ratios are taken within a run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2Model
from transformers.cache_utils import DynamicCache

from covspec_core.models.hf import HFModel
from covspec_core.models.lean import LeanDecoder
from covspec_core.models.lean_context import prefill
from covspec_core.models.loading import hide_progress
from covspec_core.pair.evaluate import MAX_ANSWER, cases
from covspec_core.pair.requests import request_of
from covspec_core.pairs import load_pair
from covspec_core.provenance import provenance
from covspec_core.request import Pair, Request
from covspec_core.rounds import RoundAction
from covspec_core.scenario import Scenario
from covspec_core.wall import WallEngine
from env.presets import named_scenario
from tests.bench import ONE_CORE

GOALS = {
    "engine_over_assisted": 1.5,
    "engine_over_target": 1.8,
    "engine_over_forwards": 1.1,
    "branch_memory": 1.3,
}
DRAFT, TARGET = "assets/pair/draft", "assets/pair/target"
LENGTHS = (2, 3, 4, 5, 6, 8)
TRIES = 3
THRESHOLDS = (0.0, 0.4)
"""Confidence below which an assistant stops; 0.4 was the library's default for a while."""

Text = tuple[int, ...]
Answerer = Callable[[Request], Text]


def tell(name: str, value: float, unit: str, **more: Any) -> None:
    """Print one figure."""
    row = {"name": name, "value": float(f"{value:.4g}"), "unit": unit, "goal": GOALS.get(name)}
    print(json.dumps(row | more), flush=True)


@dataclass(frozen=True)
class Schedule:
    """How the library's assistant drafts.

    Attributes:
        tokens: Draft length, or the first one.
        kind: ``constant`` or ``heuristic`` (+2 after a whole block, else -1).
        threshold: Confidence below which it stops.
    """

    tokens: int
    kind: str
    threshold: float


class Library:
    """``generate`` of transformers on the embedded pair."""

    def __init__(self) -> None:
        self.target, self.draft = (HFModel(name, decoder="library") for name in (TARGET, DRAFT))
        self._n_visual = self.target._config.image_seq_length
        self._pixels: torch.Tensor | None = None
        self.draft._net.register_forward_pre_hook(self._inject, with_kwargs=True)

    def _inject(self, module: Any, args: Any, values: dict[str, Any]) -> Any:
        """Give the assistant's prefill the image, which transformers 5 leaves out."""
        cache = values.get("past_key_values")
        if self._pixels is None or cache.get_seq_length():
            return None
        return args, values | {"pixel_values": self._pixels}

    def _generate(self, request: Request, assistant: Any, inject: bool) -> Text:
        model = self.target
        pixels = model._images(images=request.image, return_tensors="pt")["pixel_values"]
        text, _ = model._wording.prompt(request.question, self._n_visual)
        ids = torch.from_numpy(text)[None]
        self._pixels = pixels if inject else None
        out = model._net.generate(
            input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids),
            do_sample=False, max_new_tokens=MAX_ANSWER, assistant_model=assistant,
        )  # fmt: skip
        return tuple(out[0, ids.shape[1] :].tolist())

    def alone(self, request: Request) -> Text:
        """The target alone."""
        return self._generate(request, None, False)

    def assisted(self, schedule: Schedule, inject: bool) -> Answerer:
        """With the draft as assistant."""

        def answer(request: Request) -> Text:
            config = self.draft._net.generation_config
            config.num_assistant_tokens = schedule.tokens
            config.num_assistant_tokens_schedule = schedule.kind
            config.assistant_confidence_threshold = schedule.threshold
            return self._generate(request, self.draft._net, inject)

        return answer


class Engine:
    """The engine on the wall clock."""

    def __init__(self, pair: Pair, scenario: Scenario, length: int) -> None:
        self.pair, self.scenario, self.length = pair, scenario, length
        action = RoundAction(keep=1.0, draft_length=length, branch_width=0)
        self._wall = WallEngine(scenario, pair, action, 0.0, MAX_ANSWER)

    def __call__(self, request: Request) -> Text:
        """An answer."""
        return self._wall.answer(request).ids


class Noted:
    """A model or a context that notes the forwards asked of it, for :func:`forwards`."""

    def __init__(self, inner: Any, calls: list[Callable[[], Any]], slot: list[Any]) -> None:
        self._inner, self._calls, self._slot = inner, calls, slot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def prompt(self, image: Any, question: str) -> Any:
        """Encode, noted."""
        self._calls.append(lambda: self._slot.append(self._inner.prompt(image, question)))
        return self._inner.prompt(image, question)

    def prefill(self, prompt: Any, kept: Any = None) -> Any:
        """Read a prompt, noted."""
        slot, model = self._slot, self._inner

        def again() -> None:
            slot[:] = [model.prefill(slot[-1], kept)[0]]

        self._calls.append(again)
        context, outputs = model.prefill(prompt, kept)
        return Noted(context, self._calls, slot), outputs

    def extend(self, ids: Any) -> Any:
        """Append tokens, noted with where they went."""
        slot, before = self._slot, self._inner.n_tokens

        def again() -> None:
            slot[0].rollback(before)
            slot[0].extend(ids)

        self._calls.append(again)
        return self._inner.extend(ids)


def forwards(engine: Engine, requests: list[Request]) -> Answerer:
    """The bare forwards behind the engine's answers, played again without it."""
    known = {}
    for request in requests:
        calls: list[Callable[[], Any]] = []
        draft, target = (Noted(m, calls, []) for m in (engine.pair.draft, engine.pair.target))
        pair = replace(engine.pair, draft=draft, target=target)
        noted = Engine(pair, engine.scenario, engine.length)
        known[request.key] = noted(request), calls

    def answer(request: Request) -> Text:
        text, calls = known[request.key]
        for call in calls:
            call()
        return text

    return answer


def seconds(answer: Answerer, requests: list[Request], clock: Callable[[], float]) -> float:
    """Seconds for all answers."""
    began = clock()
    for request in requests:
        answer(request)
    return clock() - began


def best(
    name: str, tried: dict[Any, Answerer], requests: list[Request], tokens: int,
    clock: Callable[[], float],
) -> Any:  # fmt: skip
    """The fastest setting on some requests; prints all of them.

    Settings take turns, and of each the best time of every request counts: a pause of the machine
    spoils one answer, not a setting.
    """
    fastest = {setting: [float("inf")] * len(requests) for setting in tried}
    for _ in range(TRIES):
        for setting, answer in tried.items():
            taken = [seconds(answer, [request], clock) for request in requests]
            fastest[setting] = list(map(min, fastest[setting], taken))
    for setting, each in fastest.items():
        value = tokens / sum(each)
        tell(f"{name}_tried_tokens_per_s", value, "1/s", setting=_plain(setting))
    return min(fastest, key=lambda setting: sum(fastest[setting]))


def _plain(setting: Any) -> Any:
    return vars(setting) if isinstance(setting, Schedule) else setting


def race(
    racers: dict[str, Answerer], requests: list[Request], runs: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of every racer in every run; who begins changes."""
    taken: dict[str, list[float]] = {name: [] for name in racers}
    for run in range(runs + 1):
        order = list(racers)[run % len(racers) :] + list(racers)[: run % len(racers)]
        for name in order:
            taken[name].append(seconds(racers[name], requests, clock))
    return {name: each[1:] for name, each in taken.items()}  # the first run warms up


def held_bytes() -> int:
    """Bytes of all tensors alive."""
    gc.collect()
    with torch.inference_mode():
        tensors = [o for o in gc.get_objects() if type(o) is torch.Tensor]
        return sum({(s := t.untyped_storage()).data_ptr(): s.nbytes() for t in tensors}.values())


def branch_memory(branches: int = 8, tokens: int = 1024, steps: int = 8) -> None:
    """Bytes of a context with its branches over those of one branch, for both decoders."""
    torch.manual_seed(0)
    library = Qwen2Model(
        Qwen2Config(
            vocab_size=128, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=256, max_position_embeddings=2048,
            pad_token_id=0,
        )
    ).eval()  # fmt: skip
    lean = LeanDecoder(library, library.embed_tokens.weight, "random")
    ids = np.arange(tokens) % 128
    held = {}
    for width in (1, branches):
        before = held_bytes()
        context, _ = prefill(lean, lean.embed(ids), torch.arange(tokens), tokens)
        forked = context.fork(width)
        for _ in range(steps):
            forked.extend(np.zeros((width, 1), dtype=np.int64))
        held[width] = held_bytes() - before
        del context, forked
    tell("branch_memory", held[branches] / held[1], "x", bytes=held)
    with torch.inference_mode():
        cache = DynamicCache(config=library.config)
        library(input_ids=torch.from_numpy(ids)[None], past_key_values=cache)
        one = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        cache.batch_repeat_interleave(branches)
        many = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    tell("branch_memory_library", (one + many) / one, "x")


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage of earlier runs out of later ones."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main(arguments: list[str] | None = None) -> None:
    """All figures."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    hide_progress()
    clock = time.process_time if args.cpu_seconds else time.perf_counter
    tuning, asked = (
        [request_of(case, key) for key, case in enumerate(cases(split, count))]
        for split, count in (("validation", args.tuning), ("test", args.requests))
    )
    branch_memory()
    library = Library()
    scenario = named_scenario("paper", protocol_name="coupled")
    pair = load_pair(DRAFT, TARGET, "covspec", None)
    schedules = [
        Schedule(n, kind, low)
        for n in LENGTHS
        for kind in ("constant", "heuristic")
        for low in THRESHOLDS
    ]
    with quiet_collector():
        tokens = sum(len(library.alone(request)) for request in tuning)
        chosen = {
            inject: best(
                name, {s: library.assisted(s, inject) for s in schedules}, tuning, tokens, clock
            )
            for name, inject in (("assisted", True), ("assisted_as_is", False))
        }
        length = best(
            "engine", {n: Engine(pair, scenario, n) for n in LENGTHS}, tuning, tokens, clock
        )
    engine = Engine(pair, scenario, length)
    racers = {
        "engine": engine,
        "assisted": library.assisted(chosen[True], True),
        "assisted_as_is": library.assisted(chosen[False], False),
        "target": library.alone,
        "lean_target": Engine(pair, scenario, 0),
        "forwards": forwards(engine, asked),
    }
    answers = {name: [racer(request) for request in asked] for name, racer in racers.items()}
    for name, texts in answers.items():
        if texts != answers["target"]:
            raise SystemExit(f"{name} wrote another text than the target alone")
    tokens = sum(map(len, answers["target"]))
    with quiet_collector():
        taken = race(racers, asked, args.runs, clock)
    settings = {"engine": length, "assisted": chosen[True], "assisted_as_is": chosen[False]}
    for name, each in taken.items():
        setting = _plain(settings.get(name))
        tell(f"{name}_tokens_per_s", tokens / median(each), "1/s", setting=setting)
    for name in ("assisted", "assisted_as_is", "target", "lean_target"):
        pairs = zip(taken[name], taken["engine"], strict=True)
        tell(f"engine_over_{name}", median(other / own for other, own in pairs), "x")
    pairs = zip(taken["engine"], taken["forwards"], strict=True)
    tell("engine_over_forwards", median(own / bare for own, bare in pairs), "x")
    tell("raced_tokens", tokens, "tokens", provenance=provenance(0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=24, help="questions that are raced")
    parser.add_argument(
        "--tuning", type=int, default=8, help="questions that settings are tried on"
    )
    parser.add_argument("--runs", type=int, default=9, help="alternating runs, at least seven")
    parser.add_argument(
        "--cpu-seconds", action="store_true",
        help="count processor seconds: on a busy machine one thread's are its idle seconds",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):
        # Libraries read them while they load, so this begins anew.
        again = [sys.executable, "-m", "tests.speed", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | ONE_CORE)
    main()
