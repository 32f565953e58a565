"""Calibrates gates: ``python -m covspec_core.calibrate --quantile 0.15 --keep 0.0833``.

The threshold of a gate is a quantile of the draft's confidence on training requests: that share of
tokens stays below it and is checked. CoVSpec's tables imply 13 to 18 % (papers' calibration); for
U-HLM 25 % uploads are one less the 75 % quantile of its uncertainty. Beside the threshold stands
what it lets pass wrongly, as far as a recording knows: tokens that the target would not have
written, at the true text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covspec_core.ending import clear_end
from covspec_core.errors import InvalidSetting
from covspec_core.provenance import provenance
from covspec_core.recording import SPLITS, Recording, load_recording

CONFIDENCES = {"margin": ("block", "token"), "agreement": ("uncertainty",)}
"""Columns of a recording, and the gates (``covspec_core.scenario.GATES``) that read them. The
agreement is that of the emitted token; a live gate looks at the drafted one, and passes a little
more."""


def thresholds(recording: Recording, keep: float, quantile: float) -> dict[str, dict[str, float]]:
    """Threshold of every gate, and what passes it.

    Args:
        recording: Requests to calibrate on.
        keep: Share of visual tokens that the draft sees, a recorded level.
        quantile: Share of the tokens that shall be checked, in [0, 1].

    Returns:
        By gate: ``threshold``; ``passed``, the share of tokens at or above it; ``wrong``, the mean
        chance of the passed that a check would refuse the draft's own token, ``1 - sum min(p, q)``.

    Raises:
        InvalidSetting: If the level is not recorded or the quantile no share.
        BrokenRecording: If the recording lacks a column.
    """
    if not 0 <= quantile <= 1:
        raise InvalidSetting(f"quantile must lie in [0, 1], got {quantile}")
    level = _level(recording, keep)
    refused = 1.0 - recording.overlap[level].astype(np.float64)
    found: dict[str, dict[str, float]] = {}
    for column, gates in CONFIDENCES.items():
        confidence = recording.column(column)[level].astype(np.float64)
        found |= dict.fromkeys(gates, _passing(confidence, refused, quantile))
    return found


def _level(recording: Recording, keep: float) -> int:
    levels = np.array(recording.keep_levels)
    level = int(np.abs(levels - keep).argmin())
    if abs(levels[level] - keep) > 1e-3:
        raise InvalidSetting(f"keep must be a recorded level {recording.keep_levels}, got {keep}")
    return level


def _passing(
    confidence: NDArray[np.float64], refused: NDArray[np.float64], quantile: float
) -> dict[str, float]:
    threshold = float(np.quantile(confidence, quantile))
    passed = confidence >= threshold
    return {
        "threshold": threshold,
        "passed": float(passed.mean()),
        "wrong": float(refused[passed].mean()),
    }


@clear_end("calibrate")
def main(arguments: list[str] | None = None) -> None:
    """Print the thresholds as one JSON object."""
    args = _parser().parse_args(arguments)
    recording = load_recording(args.recording).only(args.split)
    found: dict[str, Any] = thresholds(recording, args.keep, args.quantile)
    print(json.dumps({"gates": found, "provenance": provenance(0)}, indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recording", type=Path, default=Path("assets/recording.npz"))
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--keep", type=float, default=1 / 12, help="share of visual tokens")
    parser.add_argument("--quantile", type=float, default=0.15, help="share of tokens to check")
    return parser


if __name__ == "__main__":
    main()
