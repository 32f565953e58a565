"""Every rule by its kind: how it is made, its constants, and where those are searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from covspec_core.engine import Controller
from covspec_core.rounds import RoundAction
from covspec_core.scenario import Scenario
from policies import search
from policies.bandits import Bandit, BanditSettings, SpecStop, SpecStopSettings
from policies.goodput import Goodput, GoodputSettings
from policies.rivals import (
    AdaptiveSteps,
    AdaptiveStepsSettings,
    HuggingFace,
    HuggingFaceSettings,
    Threshold,
    ThresholdSettings,
)
from policies.rules import AdaptiveRule, Fixed, Foresight, ForesightSettings, RuleSettings
from policies.stops import (
    AdaEdl,
    AdaEdlSettings,
    ForesightStop,
    ForesightStopSettings,
    SpecDecPP,
    SpecDecPPSettings,
    Svip,
    SvipSettings,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of rule.

    Attributes:
        make: A controller for a scenario with these constants.
        constants: Dataclass of the constants.
        suggest: Constants of a trial, where they are searched at random.
        grid: All constants, where there are few enough to try each.
    """

    make: Callable[[Scenario, Any], Controller]
    constants: type
    suggest: Callable[[Any, Scenario], Any] | None = None
    grid: Callable[[Scenario], list[Any]] | None = None


RULES: dict[str, Rule] = {
    "fixed": Rule(lambda scenario, action: Fixed(action), RoundAction, grid=search.fixed),
    "rule": Rule(AdaptiveRule, RuleSettings, search.rule),
    "foresight": Rule(Foresight, ForesightSettings, search.foresight),
    "foresight_stop": Rule(ForesightStop, ForesightStopSettings, search.foresight_stop),
    "hugging_face": Rule(HuggingFace, HuggingFaceSettings, search.hugging_face),
    "goodput": Rule(Goodput, GoodputSettings, search.goodput),
    "adaptive_steps": Rule(AdaptiveSteps, AdaptiveStepsSettings, search.adaptive_steps),
    "svip": Rule(Svip, SvipSettings, search.svip),
    "ada_edl": Rule(AdaEdl, AdaEdlSettings, search.ada_edl),
    "threshold": Rule(Threshold, ThresholdSettings, search.threshold),
    "specdec_pp": Rule(SpecDecPP, SpecDecPPSettings, search.specdec_pp),
    "bandit": Rule(Bandit, BanditSettings, search.bandit),
    "spec_stop": Rule(SpecStop, SpecStopSettings, search.spec_stop),
}
