"""Visual token reduction without training: in which order an image's tokens are worth keeping.

Every reduction returns an *order*, so that every keep count is a prefix of it and one computation
serves all of them. Merging, an option of every one, mixes dropped tokens into some of the kept.
"""

from covspec_core.reduction.merging import Merged, Merging, merge
from covspec_core.reduction.registry import (
    METHODS,
    REDUCTIONS,
    Reduction,
    ReductionSettings,
    merging,
    reduction,
)
from covspec_core.reduction.signals import covspec, saliency
from covspec_core.reduction.states import Order, VisualStates, activity

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "Merged",
    "Merging",
    "Order",
    "Reduction",
    "ReductionSettings",
    "VisualStates",
    "activity",
    "covspec",
    "merge",
    "merging",
    "reduction",
    "saliency",
]
