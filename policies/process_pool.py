"""Processes beside this one: none outlives it, none gets more threads than its share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any, Final

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def process_pool(
    workers: int, begin: Callable[..., None] | None = None, *shared: Any
) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes, which end with this one, however it ends, and at once if it is interrupted.

    Each has one thread unless its work asks for more: there are several to fill the processors.

    Args:
        workers: How many.
        begin: Called in each of them before its first piece of work.
        shared: What ``begin`` is given.
    """
    others = set(active_children())
    # Spawned, not forked: torch and its threads do not survive a fork.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_follow, initargs=(begin, *shared)
    )
    try:
        with _one_thread():
            yield pool
    except BaseException:
        # Whoever is interrupted must not wait for what they have in hand.
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started here find one thread set for their libraries, which read it only once."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _follow(begin: Callable[..., None] | None, *shared: Any) -> None:
    """Leave interrupts to the process that started this one, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*shared)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
