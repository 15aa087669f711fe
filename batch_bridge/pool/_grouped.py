"""Calls that come at the same time, done together: a transaction for sixteen legs costs little more than for one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

import psycopg
from langgraph.store.base import Op
from procrastinate.exceptions import ConnectorException

from batch_bridge._ledger.rows import Rows

Q = TypeVar("Q")
R = TypeVar("R")

_MOST: Final = 64
"""Calls in one group."""
_UNREACHABLE: Final = ("08", "57P", "53300")
"""How the code of an error begins that says that the database cannot be reached, and nothing of what was asked."""


class Grouped(Generic[Q, R]):
    """Does what is asked, in groups: what is asked while one group is done is the next one.

    A call's effect is there when it returns, as if it were alone. One that is cancelled may take effect all the same.

    Args:
        work: Does a group, and returns its results in order. If it fails, nothing of the group has been done, or all of
            it can be done again.
    """

    def __init__(self, work: Callable[[list[Q]], Awaitable[Sequence[R]]]) -> None:
        self._work = work
        self._asked: list[tuple[Q, asyncio.Future[R]]] = []
        self._working: asyncio.Task[None] | None = None

    async def do(self, asked: Q) -> R:
        """Do one thing, with others.

        Raises:
            Exception: What the work raised: of a group if the database was out of reach, else of this one alone.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._asked.append((asked, future))
        if self._working is None:
            self._working = loop.create_task(self._work_on(), context=Context())  # it is no caller's
        return await future

    async def settle(self) -> None:
        """Wait until nothing is done any more."""
        while self._working is not None:
            await asyncio.wait([self._working])

    async def _work_on(self) -> None:
        group: list[tuple[Q, asyncio.Future[R]]] = []
        try:
            while self._asked:
                group, self._asked = self._asked[:_MOST], self._asked[_MOST:]
                await self._do(group)
        finally:  # cancelled only with the loop
            self._working = None
            for _, future in (*group, *self._asked):
                future.cancel()
            self._asked.clear()

    async def _do(self, group: Sequence[tuple[Q, "asyncio.Future[R]"]]) -> None:
        try:
            results = await self._work([asked for asked, _ in group])
        except Exception as error:  # noqa: BLE001  # each caller is told
            if len(group) > 1 and not _is_of_all(error):  # one of them cannot be done: the others can
                half = len(group) // 2
                for part in (group[:half], group[half:]):
                    await self._do(part)
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)


def _is_of_all(error: BaseException) -> bool:
    """Return whether an error says nothing of any one call: each of them would have met it."""
    if isinstance(error, ConnectorException) and error.__cause__ is not None:  # procrastinate's, of every error
        return _is_of_all(error.__cause__)
    if isinstance(error, psycopg.OperationalError):  # without a code if the client has noticed it itself
        return error.sqlstate is None or error.sqlstate.startswith(_UNREACHABLE)
    return isinstance(error, OSError)  # also each TimeoutError


class GroupedRows:
    """Rows of a store, of which many callers ask a little each: their operations are one call of the store.

    Args:
        rows: The store's.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._calls: Grouped[list[Op], list[Any]] = Grouped(self._run)

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """See `Rows`."""
        return await self._calls.do(list(ops))

    async def settle(self) -> None:
        """Wait until no call is under way."""
        await self._calls.settle()

    async def _run(self, calls: list[list[Op]]) -> list[list[Any]]:
        results = iter(await self._rows.abatch([op for ops in calls for op in ops]))
        return [[next(results) for _ in ops] for ops in calls]
