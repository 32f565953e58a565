"""Work on a Ray cluster (https://docs.ray.io); the one file that knows Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

from covspec_core.errors import InvalidSetting, WorkLost
from policies.launcher import Asked, LauncherSettings, windowed

STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster that is started here."""
CLOSED = -1

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def connected(settings: LauncherSettings) -> Iterator[Cluster]:
    """A cluster, started here if no address is given.

    Raises:
        InvalidSetting: If Ray is not installed, or nobody answers at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise InvalidSetting("launcher=ray needs Ray: pip install -e .[ray]") from error
    _connect(ray, settings)
    try:
        yield Cluster(ray, settings)
    finally:
        ray.shutdown()


def _connect(ray: Any, settings: LauncherSettings) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if settings.address is None:
        cpus = settings.workers * settings.cpus
        ray.init(
            num_cpus=cpus, object_store_memory=STORE_BYTES, include_dashboard=False, **quiet
        )  # fmt: skip
        return
    try:
        ray.init(address=settings.address, **quiet)
    except (ConnectionError, ImportError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise InvalidSetting(
            f"launcher.address must lead to a Ray cluster, got {settings.address!r}: {said}"
        ) from error


class Cluster:
    """Pieces of work as Ray tasks.

    A piece whose node dies begins anew elsewhere. A piece that raises does not.

    Args:
        ray: The connected library.
        settings: Pieces at once, processors of each, retries.
    """

    def __init__(self, ray: Any, settings: LauncherSettings) -> None:
        self._ray, self._settings = ray, settings

    def each(
        self,
        work: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Iterable[Item],
    ) -> Iterator[tuple[int, Result]]:
        """See :class:`policies.launcher.Launcher`."""
        ray, settings = self._ray, self._settings
        task = ray.remote(num_cpus=settings.cpus, max_retries=settings.retries)(work)
        sent = ray.put(shared)
        return windowed(
            lambda item: task.remote(sent, item),
            lambda going: ray.wait(going, num_returns=1)[0][0],
            self._result,
            items,
            settings.workers,
        )

    def _result(self, ready: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(ready)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            said = str(error).strip().splitlines()[0]
            raise WorkLost(
                f"work died on the cluster more than launcher.retries = {self._settings.retries} "
                f"times: {said}"
            ) from error

    @contextmanager
    def answering(self, answer: Asked) -> Iterator[Asked]:
        """Questions go through a mailbox on the cluster to a thread of this process."""
        ray = self._ray
        mailbox = ray.remote(num_cpus=0, max_concurrency=1000)(_Mailbox)
        here = ray.get_runtime_context().get_node_id()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On the node where this process is connected: no other may take the mailbox with it.
        stays = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
        actor = mailbox.options(scheduling_strategy=stays).remote()
        thread = Thread(target=_answer_all, args=(ray, actor, answer), daemon=True)
        thread.start()
        try:
            yield _Asker(actor)  # type: ignore[misc]
        finally:
            ray.get(actor.close.remote())
            thread.join()


class _Mailbox:
    """Questions on their way to the one who answers, and answers on their way back."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[tuple[int, tuple[Any, ...]]] = asyncio.Queue()
        self._waiting: list[asyncio.Future[Any]] = []

    async def ask(self, words: tuple[Any, ...]) -> Any:
        """Post a question; its answer."""
        self._waiting.append(asyncio.get_running_loop().create_future())
        number = len(self._waiting) - 1
        await self._asked.put((number, words))
        return await self._waiting[number]

    async def asked(self) -> tuple[int, tuple[Any, ...]]:
        """The next question and its number."""
        return await self._asked.get()

    async def tell(self, number: int, answer: Any, error: Exception | None) -> None:
        """Answer a question, or let it fail."""
        if error is not None:
            self._waiting[number].set_exception(error)
        else:
            self._waiting[number].set_result(answer)

    async def close(self) -> None:
        """No more questions."""
        await self._asked.put((CLOSED, ()))


class _Asker:
    """Asks through a mailbox; may be sent to any node."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def __call__(self, *words: Any) -> Any:
        import ray

        return ray.get(self._mailbox.ask.remote(words))


def _answer_all(ray: Any, mailbox: Any, answer: Callable[..., Any]) -> None:
    while True:
        number, words = ray.get(mailbox.asked.remote())
        if number == CLOSED:
            return
        try:
            mailbox.tell.remote(number, answer(*words), None)
        except Exception as error:  # Whoever asked must not wait for ever.
            mailbox.tell.remote(number, None, error)
