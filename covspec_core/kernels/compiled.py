"""How functions are compiled: strict floating point, and on disk until a source file changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

Function = Callable[..., Any]
_CORE = Path(__file__).resolve().parents[1]
_ALSO = (
    "acceptance.py", "profile.py", "randomness.py", "rounds.py", "status.py", "wire/frame.py",
    "wire/sizes.py",
)  # fmt: skip
"""Files outside this package whose functions or constants are compiled in."""
_FREE = {"reassoc", "contract"}
"""What a sum taken freely may do; NaN and infinity stay what they are."""


@cache
def sources_digest() -> str:
    """Of all files whose arithmetic is compiled."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), *(_CORE / name for name in _ALSO)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no stubs
    """Compiled loops on disk; numba itself overlooks changes in files that a loop calls into."""

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), sources_digest())


def inner(function: Function, freely: bool = False) -> Function:
    """Compile a scalar function for use in others; sums keep their order, unless taken freely.

    Nothing is allocated in compiled code, so references to arrays are not counted there: that took
    a third of a round's time.

    A function of plain arithmetic can be given that also serves arrays elsewhere, and a method of
    a class whose attributes are fields of the record that stands in for ``self``.
    """
    free = _FREE if freely else False
    compiled: Function = njit(error_model="numpy", _nrt=False, fastmath=free)(function)
    return compiled


def loop(function: Function, freely: bool = False) -> Function:
    """Compile a function that Python calls, and keep it on disk.

    Args:
        function: Compiled when it is first called with a kind of arguments.
        freely: Sums may be taken in any order, which vectors of a processor need.
    """
    free = _FREE if freely else False
    compiled: Any = njit(error_model="numpy", nogil=True, _nrt=False, fastmath=free)(function)
    compiled._cache = _Cache(function)
    return compiled
