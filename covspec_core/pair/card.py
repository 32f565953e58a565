"""Writes the pair's model card: ``python -m covspec_core.pair.card``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from covspec_core.ending import clear_end
from covspec_core.models.small import N_VISUAL
from covspec_core.pair.folders import TRAINING
from covspec_core.pair.measure import FEW, KEPT, UNSEEN, Measured, measure
from covspec_core.pairs import models_of
from covspec_core.provenance import provenance
from covspec_core.reduction import REDUCTIONS

TEXT: Final = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# The embedded pair

Two small models of the InternVL architecture with one vocabulary, trained on a drawn world: a
*target* of {target:,} parameters and a *draft* of {draft:,}. They let the engine, the recordings
and the environment run, be tested and be learned on without a download. They know coloured shapes
and nothing else. Images have 96 x 96 pixels and become 144 visual tokens. Either folder loads with
`from_pretrained`.

## Goals
{goals}

## Right answers
Greedy decoding with all visual tokens, {n_test} questions of the test split, kinds in turn. An
answer is right if every claim in it is true, its evidence is complete, and a description mentions
every thing with all its attributes.

{right}

Out of distribution, {n_unseen} questions each: `combinations` has pairs of shape and colour that
training never showed; `rare` has shapes and colours that make up 0.3 % of the things in training;
`subtle` asks for left, right, above and below of centres 3 to 10 pixels apart in the same column
or row; `crowded` scenes hold 8 or 9 things, training ones 3 to 7.

{unseen}

## Acceptance
Mean over positions of `sum(min(p, q))` at temperature 1 on {n_accepted} answers sampled from the
target, which always sees all visual tokens; the draft sees as many as the column says, chosen by
the reduction in the row.

{accepted}

## Training
`python -m covspec_core.pair.train` trains the target on the world's own answers, then the draft on
the target's laws, both with visual tokens dropped at random and with an extra loss that teaches
every visual token what its patch shows.

{training}

## Acceptance head
From the draft's last hidden state `acceptance_head.safetensors` foresees how far the target will
follow. {head}

## Limits
Not a model of natural images or of free language; the words it knows are those of the tokenizer.
Out of distribution the share of right answers falls as the tables say.

## Provenance
Commit {commit}, `{command}`, seed {seed}, {hardware}, torch {torch},
transformers {transformers}, Python {python}.
"""

SCORES: Final = {
    "brier": "Brier score",
    "log_score": "log score, nats",
    "calibration_error": "calibration error",
}
PREDICTORS: Final = ("true chance", "head", "margin", "entropy", "base rate")
SCORED: Final = """
Scores of the chance that the next n drafted tokens stand, at {positions:,} positions of {requests}
{split} requests and all shares of visual tokens; lower is better, the true chance is the least.
Training requests turn margin and entropy into chances, by the best monotone map for every n and
share, and give the base rate; the head is as it is. Intervals are 95 %, over requests.

{table}

![What is said against what is true]({figure})

Once a token is drawn, a second network says whether it will stand, and whether one more behind it
would where it does. Scores at the same positions; the true chance is known before the draw.

{drawn}

Commit {commit}, `{command}`, seed {seed}, {hardware}."""


def goals(measured: Measured) -> list[tuple[str, str, bool]]:
    """What the pair must reach: wording, figure, reached."""
    target, draft = (measured.right[name, "test", "all"] for name in ("target", "draft"))
    full, blind = measured.accepted["covspec", N_VISUAL], measured.accepted["covspec", 0]
    few, by_chance = measured.accepted["covspec", FEW], measured.accepted["random", FEW]
    lower = "draft alone clearly worse, by at least 10 points"
    most = f"`covspec` with {FEW} tokens at least 90 % of that with all"
    return [
        ("target right on the test set, at least 95 %", f"{target:.1%}", target >= 0.95),
        (lower, f"{draft:.1%}", target - draft >= 0.1),
        ("acceptance with all visual tokens, 0.80 to 0.95", f"{full:.3f}", 0.80 <= full <= 0.95),
        ("without any visual token at least 0.2 lower", f"{blind:.3f}", full - blind >= 0.2),
        (most, f"{few:.3f}, {few / full:.1%}", few >= 0.9 * full),
        (
            f"and at least 0.05 above {FEW} random tokens",
            f"{by_chance:.3f}",
            few - by_chance >= 0.05,
        ),
    ]


def card(measured: Measured, training: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """The model card.

    Args:
        measured: Every figure.
        training: What ``pair.train`` wrote about its runs, by model.
        made: Provenance of the figures.
    """
    rows = [[goal, figure, "yes" if reached else "no"] for goal, figure, reached in goals(measured)]
    return TEXT.format(
        target=measured.parameters["target"],
        draft=measured.parameters["draft"],
        goals=_table(["goal", "measured", "reached"], rows),
        right=_right_table(measured),
        unseen=_unseen_table(measured),
        accepted=_accepted_table(measured),
        n_test=measured.questions[0],
        n_unseen=measured.questions[1],
        n_accepted=measured.questions[2],
        training="\n".join(_trained(name, training[name]) for name in ("target", "draft")),
        head=_foreseen(training["acceptance_head"]),
        commit=made["commit"][:7],
        **{name: made[name] for name in ("command", "seed", "hardware")},
        **{name: made["versions"][name] for name in ("torch", "transformers", "python")},
    )


def _trained(name: str, run: Mapping[str, Any]) -> str:
    before = f"{_trained(name, run['before'])}\n" if "before" in run else ""
    onward = ", onward" if before else ""
    return before + (
        f"- {name}{onward}: {run['steps']:,} steps of {run['scenes']} scenes in "
        f"{run['minutes']:.0f} minutes on {run['threads']} threads, "
        f"learning rate {run['learning_rate']:g}, seed {run['seed']}, "
        f"`{run['command']}`. {run.get('remark', '')}".rstrip()
    )


def _foreseen(head: Mapping[str, Any]) -> str:
    rows = [[n, f"{found:.3f}"] for n, found in head["correlation"].items()]
    return (
        f"`{head['command']}` fits it on {head['requests']:,} training requests. Correlation with "
        "the true chance that\nthe next n drafted tokens all stand, on validation requests:\n\n"
        + _table(["n", *(n for n, _ in rows)], [["head", *(found for _, found in rows)]])
        + f"\n\nFor the next token the draft's margin reaches {head['correlation_of_margin']:.3f}, "
        f"its entropy {head['correlation_of_entropy']:.3f};\nthe head's calibration error is "
        f"{head['calibration_error']:.3f}. That a drawn token stands correlates with\n"
        f"{head['correlation_of_drawn']:.3f} with what is said of it, and with "
        f"{head['correlation_of_drawn_before']:.3f} with what was said before it was drawn.\n"
        f"{_scored(head['scores'])}"
    )


def _scored(scores: Mapping[str, Any]) -> str:
    by_n, made = scores["by_n"], scores["provenance"]
    rows = [
        [
            label,
            n,
            *(f"{own[score][name]:.4f}" if name in own[score] else "" for name in PREDICTORS),
            _below(own, score),
        ]
        for score, label in SCORES.items()
        for n, own in by_n.items()
    ]
    return SCORED.format(
        **{name: scores[name] for name in ("split", "requests", "positions", "figure")},
        table=_table(["", "n", *PREDICTORS, "head below the better of the two"], rows),
        drawn=_drawn(scores["of_drawn"]),
        commit=made["commit"][:7],
        **{name: made[name] for name in ("command", "seed", "hardware")},
    )


def _below(own: Mapping[str, Any], score: str) -> str:
    """By how much the head's score is below that of margin or entropy, whichever is lower."""
    if f"{score}_over_margin" not in own:
        return ""
    better = min(("margin", "entropy"), key=lambda rival: own[score][rival])
    return _interval(own[f"{score}_over_{better}"])


def _interval(gain: Mapping[str, Any]) -> str:
    low, high = gain["ci95"]
    return f"{gain['mean']:.4f} ({low:.4f} to {high:.4f})"


def _drawn(scores: Mapping[str, Any]) -> str:
    predictors = list(next(iter(scores.values()))["brier"])
    rows = [
        [
            SCORES[score],
            what,
            *(f"{own[score][name]:.4f}" for name in predictors),
            _interval(own[f"{score}_below_before"]),
        ]
        for score in ("brier", "log_score")
        for what, own in scores.items()
    ]
    return _table(["", "the token", *predictors, "below that before"], rows)


def _right_table(measured: Measured) -> str:
    kinds = [kind for model, split, kind in measured.right if (model, split) == ("target", "test")]
    rows = [
        [name, *(f"{measured.right[name, 'test', kind]:.1%}" for kind in kinds)]
        for name in ("target", "draft")
    ]
    return _table(["", *kinds], rows)


def _unseen_table(measured: Measured) -> str:
    rows = [
        [name, *(f"{measured.right[name, split, 'all']:.1%}" for split in UNSEEN)]
        for name in ("target", "draft")
    ]
    return _table(["", *UNSEEN], rows)


def _accepted_table(measured: Measured) -> str:
    rows = [
        [name, *(f"{measured.accepted[name, keep]:.3f}" for keep in KEPT)] for name in REDUCTIONS
    ]
    return _table(["visual tokens", *map(str, KEPT)], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


@clear_end("card")
def main(arguments: list[str] | None = None) -> None:
    """Measure and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pair", type=Path, default=Path("assets/pair"), help="folder of target and draft"
    )
    parser.add_argument(
        "--questions",
        type=int,
        nargs=3,
        default=(600, 300, 300),
        help="test, unseen sets, acceptance",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    models_of(args.pair)
    training = json.loads((args.pair / TRAINING).read_text())
    if "scores" not in training["acceptance_head"]:
        parser.error("the head must be scored first: python -m policies.head_scores")
    measured = measure(args.pair, tuple(args.questions), args.seed)
    made = provenance(args.seed)
    (args.pair / "README.md").write_text(card(measured, training, made))
    for goal, figure, reached in goals(measured):
        print(f"{'yes' if reached else 'NO '}  {goal}: {figure}")


if __name__ == "__main__":
    main()
