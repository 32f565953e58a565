"""How well the acceptance head foresees: ``python -m policies.head_scores``.

A recording holds what the head said all along its answers, and how likely a fresh draft really
stood there. Beside it margin and entropy are predictors, each turned into a chance by the best
monotone map for every ``n`` and share of visual tokens, which the head reads too, on the training
split; and the base rate, likewise. All are judged on answers that none of them has seen.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from covspec_core.acceptance import GRID, standing
from covspec_core.ending import clear_end
from covspec_core.pair.folders import known, note
from covspec_core.provenance import provenance
from covspec_core.recording import SPLITS, Recording, load_recording
from covspec_core.rounds import CHANCES
from policies.drawn_scores import drawn_scores
from policies.proper_scores import SCORES, TRUTH
from policies.shares import Floats, bootstrap_share

AHEAD = (1, 3, 5)
"""Numbers of drafted tokens that are looked at."""
RIVALS = ("margin", "entropy")
BASE = "base rate"
BINS = 10
Said = dict[str, Floats]


def true_chances(recording: Recording) -> Floats:
    """Chance that the next ``n`` tokens of a fresh draft stand, shape ``[levels, tokens, AHEAD]``.

    Behind the end of an answer nothing stands.
    """
    columns = [CHANCES.index(n) for n in AHEAD]
    levels = [standing(overlap, recording.length)[:, columns] for overlap in recording.overlap]
    return np.stack(levels).astype(np.float64)


def said_chances(recording: Recording, training: Recording) -> Said:
    """What every predictor says of a recording, shape ``[levels, tokens, AHEAD]`` each.

    Args:
        recording: What is to be foreseen.
        training: What margin, entropy and base rate learn from.
    """
    true, learned = true_chances(recording), true_chances(training)
    columns = [CHANCES.index(n) for n in AHEAD]
    said = {TRUTH: true, "head": recording.chances[..., columns] / GRID}
    for name, sign in zip(RIVALS, (1, -1), strict=True):
        own, seen = (sign * getattr(r, name).astype(np.float64) for r in (recording, training))
        said[name] = np.empty_like(true)
        for level, k in np.ndindex(len(true), len(AHEAD)):
            said[name][level, :, k] = monotone(seen[level], learned[level, :, k], own[level])
    said[BASE] = np.broadcast_to(learned.mean(axis=1, keepdims=True), true.shape)
    return said


def monotone(seen: Floats, true: Floats, asked: Floats) -> Floats:
    """The ascending map from ``seen`` to ``true`` of least squares, applied to ``asked``."""
    values, place, counts = np.unique(seen, return_inverse=True, return_counts=True)
    means = np.bincount(place, true) / counts
    return np.interp(asked, values, isotonic_regression(means, weights=counts).x)


def reliability(said: Floats, true: Floats) -> dict[str, Any]:
    """What is said and what is true, bin by bin of what is said; both of one shape.

    Returns:
        For all bins that are not empty ``said``, ``true`` and ``share`` of the positions; and the
        mean distance, ``calibration_error``.
    """
    said, true = said.ravel(), true.ravel()
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    sums = [np.bincount(bins, values, BINS)[filled] for values in (said, true)]
    means = [values / counts[filled] for values in sums]
    error = np.abs(sums[0] - sums[1]).sum() / counts.sum()
    return {
        "said": means[0].tolist(),
        "true": means[1].tolist(),
        "share": (counts[filled] / counts.sum()).tolist(),
        "calibration_error": float(error),
    }


def scores(recording: Recording, said: Said, seed: int) -> dict[str, Any]:
    """Mean scores of every predictor by ``n``, lower is better.

    Args:
        recording: What was foreseen.
        said: From :func:`said_chances`.
        seed: Of the resampling.

    Returns:
        By ``n``: scores by predictor, calibration errors, and by how much the head's scores are
        below those of its rivals, with 95 % bootstrap intervals over requests.
    """
    counts = recording.length.astype(np.float64) * len(recording.keep_levels)
    found: dict[str, Any] = {}
    for k, n in enumerate(AHEAD):
        true = said[TRUTH][..., k]
        own: dict[str, Any] = {}
        for score, of in SCORES.items():
            each = {name: of(chance[..., k], true) for name, chance in said.items()}
            own[score] = {name: float(values.mean()) for name, values in each.items()}
            for rival in RIVALS:
                sums = np.add.reduceat((each[rival] - each["head"]).sum(axis=0), recording.start)
                own[f"{score}_over_{rival}"] = bootstrap_share(sums, counts, seed)
        own["calibration_error"] = {
            name: reliability(said[name][..., k], true)["calibration_error"]
            for name in ("head", *RIVALS)
        }
        found[str(n)] = own
    return found


@clear_end("head_scores")
def main(arguments: list[str] | None = None) -> None:
    """Score the head, draw its reliability, and note both beside the pair."""
    args = _parser().parse_args(arguments)
    whole = load_recording(args.recording)
    recording, training = whole.only(args.split), whole.only("train")
    said = said_chances(recording, training)
    # Imported here: matplotlib takes a second that a wrong setting should not cost.
    from policies.head_figure import draw

    draw(said, args.figure)
    made = provenance(args.seed)
    found = {
        "split": args.split,
        "requests": len(recording.length),
        "positions": said[TRUTH][..., 0].size,
        "figure": Path(os.path.relpath(args.figure, args.pair)).as_posix(),
        "by_n": scores(recording, said, args.seed),
        "of_drawn": drawn_scores(recording, args.seed),
        "provenance": {name: made[name] for name in ("commit", "command", "seed", "hardware")},
    }
    note(args.pair, "acceptance_head", known(args.pair)["acceptance_head"] | {"scores": found})
    for n, own in found["by_n"].items():
        for score in SCORES:
            said_by = "  ".join(f"{name} {value:.4f}" for name, value in own[score].items())
            print(f"n = {n}  {score}: {said_by}")
    for what, own in found["of_drawn"].items():
        for score in SCORES:
            said_by = "  ".join(f"{name} {value:.4f}" for name, value in own[score].items())
            print(f"a drawn token {what}  {score}: {said_by}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recording", type=Path, default=Path("assets/recording.npz"))
    parser.add_argument("--pair", type=Path, default=Path("assets/pair"))
    parser.add_argument("--figure", type=Path, default=Path("assets/figures/head_reliability.png"))
    parser.add_argument("--split", choices=SPLITS[1:], default="test")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
