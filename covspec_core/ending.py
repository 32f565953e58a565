"""How every command ends that cannot do what it was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from covspec_core.errors import CoVSpecError


@contextmanager
def clear_end(name: str) -> Iterator[None]:
    """Bad input ends with one line and exit status 2, a full disk with one line and 1.

    Also a decorator, for the function that is the command.

    Args:
        name: Of the command, with which the line begins.
    """
    try:
        yield
    except CoVSpecError as error:
        _end(name, str(error), 2)
    except OSError as error:
        _end(name, f"{error.strerror or error}: {error.filename or ''}", 1)
    except KeyboardInterrupt:
        _end(name, "stopped at once", 130)


def _end(name: str, why: str, status: int) -> None:
    print(f"{name}: {why}", file=sys.stderr, flush=True)
    sys.exit(status)
