"""The user of a thread: the user of the run in which it first waited, as long as the thread exists.

A row for each thread, below `("batch_bridge", "threads", "users")`, which all bridges of a deployment share::

    thread id -> user                       empty where the deployment knows no users

What a run says later, or what an interrupt carries, changes nothing: an interrupt's value may be a user's own text.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph_sdk.errors import NotFoundError

from batch_bridge._core.models import Request
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.platform.client import Access, identity_in
from batch_bridge._server.threads.view import present
from batch_bridge._server.unreadable import is_text

_NAMESPACE: Final = ("batch_bridge", "threads", "users")
_SIDE_BY_SIDE: Final = 16
_PAGE: Final = 1000
"""Threads of which it is looked at once whether they are there still."""


class Users:
    """Whose the threads are that wait for a bridge.

    Args:
        store: The deployment's.
        access: How the server is reached. With a service, a thread of which nothing is written down is looked up.
    """

    def __init__(self, store: Rows, access: Access) -> None:
        self._store = store
        self._access = access
        self._offset = 0

    async def note(self, said: Mapping[str, str]) -> dict[str, str]:
        """Write down whose threads are; what is written down already stays. Returns whose they are.

        Args:
            said: Threads, and the user that the server ran them for when they said that they park.
        """
        told = {thread: user for thread, user in said.items() if user or self._access.service is not None}
        known = await self._read(told)
        await self._write({thread: user for thread, user in told.items() if thread not in known})
        return told | known

    async def of(self, threads: Iterable[str]) -> dict[str, str]:
        """Return whose threads are, as far as that is known."""
        wanted = set(threads)
        known = await self._read(wanted)
        if self._access.service is not None and (missing := wanted - known.keys()):
            gate = asyncio.Semaphore(_SIDE_BY_SIDE)
            found = await asyncio.gather(*(self._look_up(thread, gate) for thread in sorted(missing)))
            fresh = dict(each for each in found if each is not None)
            await self._write(fresh)
            known |= fresh
        return known

    async def threads_of(self, user: str) -> set[str]:
        """Return the threads that are written down as a user's. Reads all rows."""
        found: set[str] = set()
        start = 0
        while True:
            (rows,) = await self._store.abatch([SearchOp(_NAMESPACE, limit=_PAGE, offset=start)])
            found.update(row.key for row in rows if row.value.get("user") == user)
            start += len(rows)
            if len(rows) < _PAGE:
                return found

    async def forget(self, threads: Iterable[str]) -> None:
        """Delete the users of threads that are gone."""
        if ops := [PutOp(_NAMESPACE, thread, None) for thread in sorted(threads)]:
            await self._store.abatch(ops)

    async def known(self, threads: Collection[str]) -> dict[str, str]:
        """Return whose threads are, as far as that is written down."""
        return await self._read(threads)

    async def owned(self, requests: Collection[Request], known: Mapping[str, str] | None = None) -> list[Request]:
        """Return requests with the users of their threads, whatever user they name themselves.

        Where a thread's user is not known, but its requests name one, no other user gets them.

        Args:
            requests: What threads ask for.
            known: The users of some threads, as recorded a moment ago.
        """
        users = dict(known or {})
        if unknown := {each.thread for each in requests} - users.keys():
            users |= await self.of(unknown)
        return [
            replace(each, tenant=users.get(each.thread, f"thread {each.thread}" if each.tenant else ""))
            for each in requests
        ]

    async def forget_departed(self) -> None:
        """Forget deleted threads, a page at a time. A caller that may not see all threads forgets none."""
        if self._access.service is None:
            return
        (rows,) = await self._store.abatch([SearchOp(_NAMESPACE, limit=_PAGE, offset=self._offset)])
        there = await present(self._access.client(), [row.key for row in rows])
        gone = [row.key for row in rows if row.key not in there]
        self._offset = self._offset + len(rows) - len(gone) if len(rows) == _PAGE else 0
        if gone:
            await self._store.abatch([PutOp(_NAMESPACE, thread, None) for thread in gone])

    async def _read(self, threads: Collection[str]) -> dict[str, str]:
        held = sorted(threads)
        rows = await self._store.abatch([GetOp(_NAMESPACE, thread) for thread in held]) if held else []
        users = {thread: row.value.get("user") for thread, row in zip(held, rows, strict=True) if row is not None}
        return {thread: user for thread, user in users.items() if is_text(user, empty=True)}

    async def _write(self, users: Mapping[str, str]) -> None:
        if users:
            await self._store.abatch(
                [PutOp(_NAMESPACE, each, {"user": users[each]}, index=False) for each in sorted(users)]
            )

    async def _look_up(self, thread: str, gate: asyncio.Semaphore) -> tuple[str, str] | None:
        """Return whose the oldest run of a thread is, as the server wrote it down."""
        async with gate:
            try:
                runs: Any = await self._access.client().runs.list(thread, limit=_PAGE)
            except NotFoundError:
                return None
        oldest = min(runs, key=lambda run: str(run["created_at"]), default=None)
        return thread, identity_in(oldest) or ""
