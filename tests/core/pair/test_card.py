"""The model card says what was measured, reached or not."""

from __future__ import annotations

from covspec_core.pair.card import card, goals
from covspec_core.pair.measure import FEW, KEPT, UNSEEN, Measured
from covspec_core.provenance import provenance
from covspec_core.reduction import REDUCTIONS


def measured(few: float = 0.85) -> Measured:
    right = {(name, "test", kind): 0.96 for name in ("target", "draft") for kind in ("all", "what")}
    right |= {(name, split, "all"): 0.5 for name in ("target", "draft") for split in UNSEEN}
    right["draft", "test", "all"] = 0.4
    accepted = {(name, keep): 0.9 - (keep < 24) * 0.3 for name in REDUCTIONS for keep in KEPT}
    accepted["covspec", FEW] = few
    return Measured(right, accepted, {"target": 10, "draft": 1}, (600, 300, 300))


def test_every_goal_is_compared_with_what_was_measured():
    assert [reached for _, _, reached in goals(measured())] == [True] * 6
    assert [reached for _, _, reached in goals(measured(few=0.62))] == [True] * 4 + [False] * 2


SCORED = {"true chance": 0.04, "head": 0.05, "margin": 0.07, "entropy": 0.06, "base rate": 0.1}
DRAWN = {"true chance": 0.041, "before it was drawn": 0.052, "of the drawn token": 0.042}
SCORES = {
    "split": "test", "requests": 600, "positions": 63680,
    "figure": "../figures/head_reliability.png",
    "by_n": {
        "3": {
            "brier": SCORED, "log_score": SCORED, "calibration_error": {"head": 0.007},
            **{
                f"{score}_over_{rival}": {"mean": gain, "ci95": [gain - 0.001, gain + 0.001]}
                for score in ("brier", "log_score")
                for rival, gain in (("margin", 0.02), ("entropy", 0.01))
            },
        },
    },
    "of_drawn": {
        what: {
            "brier": DRAWN, "log_score": DRAWN,
            "brier_below_before": {"mean": 0.01, "ci95": [0.009, 0.011]},
            "log_score_below_before": {"mean": 0.01, "ci95": [0.009, 0.011]},
        }
        for what in ("stands", "follows")
    },
    "provenance": provenance(3) | {"command": "python -m policies.head_scores"},
}  # fmt: skip
TRAINED = {
    "target": {
        "steps": 4321, "scenes": 16, "minutes": 45.2, "threads": 2, "learning_rate": 1.5e-3,
        "seed": 0, "command": "python -m covspec_core.pair.train",
    },
    "acceptance_head": {
        "requests": 1200, "command": "python -m covspec_core.pair.head",
        "correlation": {"1": 0.84, "2": 0.8}, "correlation_of_margin": 0.7,
        "correlation_of_drawn": 0.76, "correlation_of_drawn_before": 0.69,
        "correlation_of_entropy": 0.71, "calibration_error": 0.012, "scores": SCORES,
    },
}  # fmt: skip
TRAINED["draft"] = TRAINED["target"]


def test_the_card_has_goals_figures_and_where_they_come_from():
    text = card(
        measured(few=0.62), TRAINED, provenance(7) | {"command": "python -m covspec_core.pair.card"}
    )
    assert "| draft alone clearly worse, by at least 10 points | 40.0% | yes |" in text
    assert "| covspec | 0.900 | 0.900 | 0.900 | 0.900 | 0.620 | 0.600 | 0.600 |" in text
    assert "`python -m covspec_core.pair.card`, seed 7" in text
    assert "| head | 0.840 | 0.800 |" in text
    assert "| Brier score | 3 | 0.0400 | 0.0500 | 0.0700 | 0.0600 | 0.1000 | 0.0100 (0.0090" in text
    assert "| calibration error | 3 |  | 0.0070 |  |  |  |  |" in text
    assert "| Brier score | stands | 0.0410 | 0.0520 | 0.0420 | 0.0100 (0.0090 to 0.0110) |" in text
    assert "0.760 with what is said of it, and with 0.690" in text
    assert "(../figures/head_reliability.png)" in text
    assert "`python -m policies.head_scores`, seed 3" in text
    assert "target: 4,321 steps of 16 scenes in 45 minutes on 2 threads" in text
