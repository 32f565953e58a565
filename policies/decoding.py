"""One request with live models under a controller, from a composed configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from covspec_core.engine import Answer, Controller, generate
from covspec_core.errors import InvalidSetting, LinkTimeout
from covspec_core.images import load_image, make_request
from covspec_core.recording import load_recording
from covspec_core.scenario import Scenario
from env.play import World
from env.presets import build
from policies.baselines import changed
from policies.factory import TunedOnce, make_controller
from policies.settings import (
    ControllerSettings,
    ModelSettings,
    TuningSettings,
    read_output,
    read_scenarios,
    read_seed,
)


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
    """

    scenario: Scenario
    model: ModelSettings
    controller: Controller
    image: Image.Image
    question: str
    seed: int

    def run(self, say: Callable[[str], None]) -> Answer:
        """Load the models and answer."""
        # Imported here: transformers takes seconds that a wrong setting should not cost.
        from covspec_core.models.hf import hide_progress
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
            return generate(
                self.scenario, pair, request, self.controller,
                model.temperature, model.limit, self.seed, truncation=model.truncation,
            )  # fmt: skip
        except LinkTimeout as error:
            written = pair.target.decode(np.array(error.tokens, dtype=np.int64))
            raise LinkTimeout(f"{error}; written so far: {written!r}", error.tokens) from error


def read_decoding(config: Mapping[str, Any]) -> Decoding:
    """Check a composed configuration; models are not loaded yet.

    Raises:
        CoVSpecError: If a setting, the image or the controller cannot be used.
    """
    read_output(config)
    scenario, _ = read_scenarios(config)
    model = build(ModelSettings, config["model"], "model")
    chosen = ControllerSettings.of(config["controller"], "controller")
    tuning, seed = build(TuningSettings, config["tuning"], "tuning"), read_seed(config)
    image = load_image(str(config["image"]))
    recording = load_recording(model.recording)
    tuned = TunedOnce(
        lambda: World.load(scenario, "train", recording, seed), tuning, seed, lambda line: None
    )
    controller = make_controller(chosen, scenario, seed, tuned)
    if model.head is None and getattr(controller, "foresees", False):
        raise InvalidSetting(
            f"model.head must name an acceptance head, which a {chosen.kind} controller goes by; "
            "got null"
        )
    return Decoding(
        scenario=changed(scenario, controller),
        model=model,
        controller=controller,
        image=image,
        question=str(config["question"]),
        seed=seed,
    )
