"""Visual token reduction without training: in which order an image's tokens are worth keeping.

Every reduction returns an *order*, so that every keep count is a prefix of it and one computation
serves all of them.
"""

from covspec_core.reduction.registry import (
    METHODS,
    REDUCTIONS,
    Reduction,
    ReductionSettings,
    reduction,
)
from covspec_core.reduction.signals import covspec, saliency
from covspec_core.reduction.states import Order, VisualStates, activity

__all__ = [
    "METHODS",
    "REDUCTIONS",
    "Order",
    "Reduction",
    "ReductionSettings",
    "VisualStates",
    "activity",
    "covspec",
    "reduction",
    "saliency",
]
