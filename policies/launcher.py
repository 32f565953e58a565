"""Where independent pieces of work run: one after another, on processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from covspec_core.errors import InvalidSetting, WorkLost
from policies.process_pool import process_pool

KINDS = ("serial", "processes", "ray")

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
Ticket = TypeVar("Ticket", bound=Hashable)
Asked = TypeVar("Asked", bound=Callable[..., Any])


@dataclass(frozen=True)
class LauncherSettings:
    """Where work runs.

    Attributes:
        kind: One of ``KINDS``.
        workers: Pieces of work under way at once.
        cpus: Processors that Ray sets aside for each.
        retries: How often Ray begins a piece anew whose machine or process died.
        address: Of a running cluster, ``auto`` or ``ray://HOST:PORT``; Ray starts one on this
            machine if ``None``.
        worker_dir: Folder of runs on machines that do not see the one here; the same path if
            ``None``.
    """

    kind: str = "serial"
    workers: int = 1
    cpus: int = 1
    retries: int = 3
    address: str | None = None
    worker_dir: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidSetting(f"launcher.kind must be one of {KINDS}, got {self.kind!r}")
        if self.workers < 1 or self.cpus < 1 or self.retries < 0:
            raise InvalidSetting(
                "launcher needs workers >= 1, cpus >= 1 and retries >= 0, "
                f"got {self.workers}, {self.cpus} and {self.retries}"
            )
        if self.kind == "serial" and self.workers > 1:
            raise InvalidSetting(f"launcher.workers must be 1 when serial, got {self.workers}")


class Launcher(Protocol):
    """Runs independent pieces of work; the results do not depend on which launcher it is."""

    def each(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
    ) -> Iterator[tuple[int, Result]]:
        """Results with the place of their item, as they become ready.

        Args:
            work: A function of a module, so that another process finds it.
            shared: Its first argument, sent once.
            items: Its second one; taken one by one, as soon as there is room for another piece.

        Raises:
            WorkLost: If a piece died more often than it may begin anew.
        """

    def answering(self, answer: Asked) -> AbstractContextManager[Asked]:
        """A function that pieces of work may call, answered with what this process can see."""


class Serial:
    """One piece after another, in this process."""

    def each(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
    ) -> Iterator[tuple[int, Result]]:
        """See :class:`Launcher`."""
        for place, item in enumerate(items):
            yield place, work(shared, item)

    def answering(self, answer: Asked) -> AbstractContextManager[Asked]:
        """The function itself."""
        return nullcontext(answer)


SERIAL = Serial()


class Processes(Serial):
    """Fresh processes on this machine.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def each(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
    ) -> Iterator[tuple[int, Result]]:
        """See :class:`Launcher`."""
        with process_pool(self._workers, _receive, work, shared) as pool:
            yield from windowed(
                lambda item: pool.submit(_work_here, item), _first, _result, items, self._workers
            )


def windowed(
    submit: Callable[[Item], Ticket],
    first: Callable[[list[Ticket]], Ticket],
    result: Callable[[Ticket], Result],
    items: Iterable[Item],
    most: int,
) -> Iterator[tuple[int, Result]]:
    """Results as they become ready, with at most so many pieces under way.

    Args:
        submit: Starts a piece.
        first: Waits for one of several pieces.
        result: Its result.
        items: To work on; the next is taken after the last result was.
        most: Pieces under way at once.
    """
    source = enumerate(items)
    going = {submit(item): place for place, item in islice(source, most)}
    while going:
        ready = first(list(going))
        yield going.pop(ready), result(ready)
        room = most - len(going)
        going |= {submit(item): place for place, item in islice(source, room)}


_received: list[Any] = []
"""What the process at hand works with; filled once, when it starts."""


def _receive(work: Callable[..., Any], shared: Any) -> None:
    _received[:] = [work, shared]


def _work_here(item: Any) -> Any:
    work, shared = _received
    return work(shared, item)


def _first(going: list[Future[Any]]) -> Future[Any]:
    return next(iter(wait(going, return_when=FIRST_COMPLETED).done))


def _result(ready: Future[Any]) -> Any:
    try:
        return ready.result()
    except BrokenProcessPool as error:
        raise WorkLost("a process died while it worked; launcher=ray would try again") from error


@contextmanager
def open_launcher(settings: LauncherSettings) -> Iterator[Launcher]:
    """The launcher of a configuration, connected while in use.

    Raises:
        InvalidSetting: If Ray is asked for and not installed, or its cluster is not there.
    """
    if settings.kind == "ray":
        # Imported here: Ray is an optional extra.
        from policies.cluster import connected

        with connected(settings) as cluster:
            yield cluster
    else:
        yield Serial() if settings.kind == "serial" else Processes(settings.workers)
