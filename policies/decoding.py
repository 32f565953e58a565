"""One request with live models under a controller, from a composed configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from covspec_core.engine import Answer, Controller, generate
from covspec_core.errors import Interrupted, InvalidSetting
from covspec_core.images import load_image, make_request
from covspec_core.scenario import Scenario
from covspec_core.wall import WallAnswer, WallEngine
from env.play import World
from env.presets import build
from policies.baselines import changed
from policies.factory import TunedOnce, make_controller
from policies.mixes import read_scenarios
from policies.model_settings import ModelSettings
from policies.settings import (
    ControllerSettings,
    TuningSettings,
    read_output,
    read_seed,
)

CLOCKS = ("virtual", "wall")


@dataclass(frozen=True)
class Decoding:
    """Everything that ``decode.py`` needs, checked.

    Attributes:
        scenario: What is emulated.
        model: The pair.
        controller: Who decides.
        image: RGB image.
        question: Text.
        seed: Of noise, link and hardware factors.
        clock: One of ``CLOCKS``.
    """

    scenario: Scenario
    model: ModelSettings
    controller: Controller
    image: Image.Image
    question: str
    seed: int
    clock: str

    def run(self, say: Callable[[str], None]) -> Answer | WallAnswer:
        """Load the models and answer."""
        # Imported here: transformers takes seconds that a wrong setting should not cost.
        from covspec_core.models.loading import hide_progress
        from covspec_core.pairs import load_pair

        hide_progress()
        model = self.model
        say(f"loading {model.draft} and {model.target}")
        pair = load_pair(
            model.draft, model.target, model.reduction, model.head, model.device, model.dtype,
            model.decoder,
        )  # fmt: skip
        request = make_request(self.image, self.question, self.seed)
        try:
            if self.clock == "wall":
                return WallEngine(
                    self.scenario, pair, self.controller,
                    model.temperature, model.limit, model.truncation,
                ).answer(request)  # fmt: skip
            return generate(
                self.scenario, pair, request, self.controller,
                model.temperature, model.limit, self.seed, truncation=model.truncation,
            )  # fmt: skip
        except Interrupted as error:
            written = pair.target.decode(np.array(error.tokens, dtype=np.int64))
            raise type(error)(f"{error}; written so far: {written!r}", error.tokens) from error


def read_decoding(config: Mapping[str, Any]) -> Decoding:
    """Check a composed configuration; models are not loaded yet.

    Raises:
        CoVSpecError: If a setting, the image or the controller cannot be used.
    """
    read_output(config)
    if config["clock"] not in CLOCKS:
        raise InvalidSetting(f"clock must be one of {CLOCKS}, got {config['clock']!r}")
    scenario, _ = read_scenarios(config)
    model = build(ModelSettings, config["model"], "model")
    chosen = ControllerSettings.of(config["controller"], "controller")
    tuning, seed = build(TuningSettings, config["tuning"], "tuning"), read_seed(config)
    image = load_image(str(config["image"]))
    # Only a tuned controller needs the recording, which may not be of the pair that answers.
    tuned = TunedOnce(
        lambda: [World.load(scenario, "train", model.recorded(), seed)],
        tuning, seed, lambda line: None,
    )  # fmt: skip
    controller = make_controller(chosen, scenario, seed, tuned)
    if model.head is None and getattr(controller, "foresees", False):
        raise InvalidSetting(
            f"model.head must name an acceptance head, which a {chosen.kind} controller goes by; "
            "got null"
        )
    if config["clock"] == "wall" and hasattr(controller, "decide_within"):
        raise InvalidSetting(
            "clock must be virtual for a controller at token level, which drafts before its round "
            "begins, got 'wall'"
        )
    return Decoding(
        scenario=changed(scenario, controller),
        model=model,
        controller=controller,
        image=image,
        question=str(config["question"]),
        seed=seed,
        clock=config["clock"],
    )


def described(answer: Answer | WallAnswer) -> tuple[dict[str, Any], str]:
    """What an answer took: as plain values, its text included, and as a line."""
    if isinstance(answer, WallAnswer):
        values = asdict(answer) | {"tokens_per_s": answer.tokens_per_s}
        line = (
            f"{len(answer.ids)} tokens in {answer.rounds} rounds, {answer.seconds:.3f} s on this "
            f"machine ({answer.tokens_per_s:.0f} tokens/s, loading apart), "
            f"first round after {answer.ttft_s:.3f} s"
        )
        return values, line
    line = (
        f"{answer.tokens} tokens in {answer.rounds} rounds, {answer.seconds:.2f} s, "
        f"{answer.speedup:.2f}x edge-only ({answer.seconds_edge_only:.2f} s), "
        f"first token after {answer.ttft_s:.2f} s, {answer.bytes_up} B up, "
        f"{answer.bytes_down} B down, {answer.deviations} deviations"
    )
    return asdict(answer) | {"speedup": answer.speedup}, line
