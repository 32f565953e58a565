"""An embedded pair of the smallest widths with drawn weights, as folders to load."""

from __future__ import annotations

import torch

from covspec_core.models.small import WIDTHS, build_model
from covspec_core.pair.folders import export
from covspec_core.pair.tokenizer import vocabulary


def export_pair(place):
    """Folders ``target`` and ``draft`` in a place, with unlike weights; the place."""
    for seed, name in enumerate(("target", "draft")):
        torch.manual_seed(seed)
        export(build_model(WIDTHS["debug"], vocabulary()), place / name)
    return place
