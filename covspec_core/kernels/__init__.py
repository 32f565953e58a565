"""Compiled arithmetic of rounds: scalar functions of one session, and loops over sessions around.

One live session, a batch of thousands and the oracles run the same scalar functions, so the
arithmetic stands here and nowhere else. Its modules load numba, so they are loaded when the first
of their loops is needed.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType


@cache
def kernel() -> ModuleType:
    """The loops over sessions."""
    from covspec_core.kernels import loops

    return loops


@cache
def layer_kernel() -> ModuleType:
    """Layers of small decoders."""
    from covspec_core.kernels import layers

    return layers
