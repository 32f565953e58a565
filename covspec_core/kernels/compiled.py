"""How functions are compiled: strict floating point, and on disk until a source file changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])
_CORE = Path(__file__).resolve().parents[1]
_ALSO = (
    "acceptance.py", "profile.py", "randomness.py", "rounds.py", "status.py", "wire/frame.py",
    "wire/sizes.py",
)  # fmt: skip
"""Files outside this package whose functions or constants are compiled in."""


@cache
def sources_digest() -> str:
    """Of all files whose arithmetic is compiled."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), *(_CORE / name for name in _ALSO)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Cache(FunctionCache):
    """Compiled loops on disk; numba itself overlooks changes in files that a loop calls into."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), sources_digest())


def inner(function: F) -> F:
    """Compile a scalar function for use in others; no fast mathematics, so sums keep their order.

    A function of plain arithmetic can be given that also serves arrays elsewhere, and a method of
    a class whose attributes are fields of the record that stands in for ``self``.
    """
    return cast(F, njit(error_model="numpy")(function))


def loop(function: F) -> F:
    """Compile a function that Python calls, and keep it on disk."""
    dispatcher = njit(error_model="numpy", nogil=True)(function)
    dispatcher._cache = _Cache(function)
    return cast(F, dispatcher)
