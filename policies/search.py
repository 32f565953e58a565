"""Where the constants of every rule are searched. Parameters bear the names of the settings."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, TypedDict

from covspec_core.rounds import RoundAction
from covspec_core.scenario import Scenario
from policies.bandits import BanditSettings, SpecStopSettings
from policies.goodput import GoodputSettings
from policies.rivals import (
    AdaptiveStepsSettings,
    HuggingFaceSettings,
    ThresholdSettings,
)
from policies.rules import ForesightSettings, RuleSettings
from policies.stops import AdaEdlSettings, ForesightStopSettings, SpecDecPPSettings, SvipSettings

if TYPE_CHECKING:
    import optuna

    Trial = optuna.Trial | optuna.trial.FrozenTrial


def longest_range(scenario: Scenario) -> tuple[int, int]:
    """Limits, both included, between which a longest draft is searched."""
    last = scenario.draft_lengths[-1]
    least = next(length for length in scenario.draft_lengths if length > 0)
    return max(min(3, last), least), last


def rule(trial: Trial, scenario: Scenario) -> RuleSettings:
    """Constants of the adaptive rule, and of that with foresight."""
    longest = _longest(trial, scenario)
    return RuleSettings(
        **_whole(trial, scenario),
        weight=trial.suggest_float("weight", 0.01, 0.6, log=True),
        start=trial.suggest_float("start", 0.5, 0.97),
        shortest=_shortest(trial, scenario, longest),
        longest=longest,
        delay_scale=trial.suggest_float("delay_scale", 0.2, 3.0, log=True),
        law_scale=trial.suggest_float("law_scale", 0.1, 3.0, log=True),
        acceptance_scale=trial.suggest_float("acceptance_scale", 0.2, 2.0, log=True),
    )


def hugging_face(trial: Trial, scenario: Scenario) -> HuggingFaceSettings:
    """Constants of the heuristic schedule."""
    longest = _longest(trial, scenario)
    return HuggingFaceSettings(
        **_whole(trial, scenario),
        start=trial.suggest_int("start", 1, scenario.draft_lengths[-1]),
        up=trial.suggest_int("up", 1, 4),
        down=trial.suggest_int("down", 1, 4),
        shortest=_shortest(trial, scenario, longest),
        longest=longest,
    )


def goodput(trial: Trial, scenario: Scenario) -> GoodputSettings:
    """Constants of the goodput maximiser."""
    longest = _longest(trial, scenario)
    return GoodputSettings(
        **_whole(trial, scenario),
        start=trial.suggest_float("start", 0.5, 0.97),
        weight=trial.suggest_float("weight", 0.05, 1.0, log=True),
        window=trial.suggest_int("window", 1, 20, log=True),
        patience=trial.suggest_int("patience", 0, 2),
        explore=trial.suggest_float("explore", 0.0, 0.2),
        shortest=_shortest(trial, scenario, longest),
        longest=longest,
    )


def adaptive_steps(trial: Trial, scenario: Scenario) -> AdaptiveStepsSettings:
    """Constants of the adaptive steps."""
    high = _longest(trial, scenario, "high")
    middle = min(trial.suggest_int("middle", 1, 6), high)
    return AdaptiveStepsSettings(
        **_whole(trial, scenario),
        low=min(_shortest(trial, scenario, high, "low"), middle),
        middle=middle,
        high=high,
        weight=trial.suggest_float("weight", 0.05, 0.8, log=True),
        interval=trial.suggest_int("interval", 1, 10, log=True),
        warmup=trial.suggest_int("warmup", 0, 10),
        down=trial.suggest_float("down", -1.0, 1.0),
        up=trial.suggest_float("up", -1.0, 1.0),
    )


def svip(trial: Trial, scenario: Scenario) -> SvipSettings:
    """Constants of SVIP; its scale would only repeat its threshold."""
    threshold = trial.suggest_float("threshold", 0.1, 0.8)
    return SvipSettings(
        **_whole(trial, scenario), threshold=threshold, longest=_longest(trial, scenario)
    )


def ada_edl(trial: Trial, scenario: Scenario) -> AdaEdlSettings:
    """Constants of AdaEDL."""
    return AdaEdlSettings(
        **_whole(trial, scenario),
        gamma=trial.suggest_float("gamma", 0.05, 0.8, log=True),
        start=trial.suggest_float("start", 0.1, 0.8),
        target=trial.suggest_float("target", 0.5, 0.98),
        weight=trial.suggest_float("weight", 0.05, 0.8, log=True),
        step=trial.suggest_float("step", 0.001, 0.05, log=True),
        longest=_longest(trial, scenario),
    )


def threshold(trial: Trial, scenario: Scenario) -> ThresholdSettings:
    """Constants of the threshold rule."""
    longest = _longest(trial, scenario)
    return ThresholdSettings(
        **_whole(trial, scenario),
        stop=trial.suggest_float("stop", 0.1, 0.95),
        asleep=trial.suggest_int("asleep", 0, scenario.draft_lengths[-1]),
        shortest=_shortest(trial, scenario, longest),
        longest=longest,
    )


def specdec_pp(trial: Trial, scenario: Scenario) -> SpecDecPPSettings:
    """Constants of SpecDec++."""
    longest = _longest(trial, scenario)
    return SpecDecPPSettings(
        **_whole(trial, scenario),
        stop=trial.suggest_float("stop", 0.1, 0.95),
        shortest=trial.suggest_categorical("shortest", [0, 1]),
        longest=longest,
    )


def foresight(trial: Trial, scenario: Scenario) -> ForesightSettings:
    """Constants of foresight."""
    return ForesightSettings(**asdict(rule(trial, scenario)))


def foresight_stop(trial: Trial, scenario: Scenario) -> ForesightStopSettings:
    """Constants of foresight with a stop."""
    return ForesightStopSettings(
        **asdict(rule(trial, scenario)), stop=trial.suggest_float("stop", 0.1, 0.95)
    )


def bandit(trial: Trial, scenario: Scenario) -> BanditSettings:
    """Constants of the bandit."""
    longest = _longest(trial, scenario)
    return BanditSettings(
        **_whole(trial, scenario),
        explore=trial.suggest_float("explore", 0.001, 2.0, log=True),
        pulls=trial.suggest_int("pulls", 1, 3),
        shortest=_shortest(trial, scenario, longest),
        longest=longest,
    )


def spec_stop(trial: Trial, scenario: Scenario) -> SpecStopSettings:
    """Constants of UCB-SpecStop."""
    longest = _longest(trial, scenario)
    return SpecStopSettings(
        **_whole(trial, scenario),
        explore=trial.suggest_float("explore", 0.001, 2.0, log=True),
        states=trial.suggest_int("states", 1, 5),
        start=trial.suggest_float("start", 0.4, 0.97),
        prior=trial.suggest_float("prior", 0.0, 10.0),
        shortest=_shortest(trial, scenario, longest),
        longest=longest,
    )


def fixed(scenario: Scenario) -> list[RoundAction]:
    """Every fixed setting; all that leave everything to the edge are one."""
    gate = scenario.gate_threshold
    drafting = [length for length in scenario.draft_lengths if length > 0]
    alone = [RoundAction(scenario.keep_levels[0], 0, 0, gate)]
    return alone[: scenario.draft_lengths[0] == 0] + [
        RoundAction(keep, length, width, gate)
        for keep, length, width in product(scenario.keep_levels, drafting, scenario.branch_widths)
    ]


def _longest(trial: Trial, scenario: Scenario, name: str = "longest") -> int:
    return trial.suggest_int(name, *longest_range(scenario))


class _Whole(TypedDict):
    """What every rule leaves as it is."""

    keep: float
    width: int


def _whole(trial: Trial, scenario: Scenario) -> _Whole:
    return {
        "keep": trial.suggest_categorical("keep", scenario.keep_levels),
        "width": trial.suggest_categorical("width", scenario.branch_widths),
    }


def _shortest(trial: Trial, scenario: Scenario, longest: int, name: str = "shortest") -> int:
    most = max(length for length in scenario.draft_lengths if length <= longest)
    return min(trial.suggest_categorical(name, [0, 1, 2]), most)
