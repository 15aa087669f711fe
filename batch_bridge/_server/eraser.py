"""Erases what a bridge's rows hold of a user, or of threads: items, answers, notes, commands and cached answers.

Idempotent; a crash in between is repaired by a repetition: the command stays in the store until all of it is done, and
the users of threads are forgotten last.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from batch_bridge._core.models import Cancelled
from batch_bridge._node.platform.inbox import read_notes, remove_notes
from batch_bridge._server import commands as command_log
from batch_bridge._server.parts import HostParts
from batch_bridge._server.port.threads import ThreadServer

WHY: Final = "the request was erased, with all that was held of its user"


class Eraser:
    """Erases, for one bridge. Its owner holds the lease.

    Args:
        parts: The parts of the host.
    """

    def __init__(self, parts: HostParts) -> None:
        self._bridge, self._store, self._records = parts.bridge, parts.store, parts.records
        self._engine, self._renew, self._users = parts.engine, parts.renew, parts.users

    async def find(self, what: Mapping[str, Iterable[str]]) -> tuple[set[str], set[str]]:
        """Return the requests and the threads that a command means."""
        threads = set(what.get("thread_id", ()))
        ids: set[str] = set()
        for user in what.get("user", ()):
            threads |= await self._users.threads_of(user)
            ids |= await self._records.held_of(user, threads, self._renew)
        return ids | await self._records.held_of("", threads, self._renew), threads

    async def erase(
        self, server: ThreadServer, what: Mapping[str, Iterable[str]], ids: set[str], threads: set[str]
    ) -> set[str]:
        """Erase requests that are neither queued nor on their way, and all else that is held of users and threads.

        Returns:
            The requests that a thread which is there still waits for: it is told that they were erased.
        """
        records, users = self._records, set(what.get("user", ()))
        there = await server.present(sorted(threads))
        told = {each for each in ids if (thread := records.outbox.get(each)) and thread in there}
        await records.learn(told)
        await records.replace(dict.fromkeys(told, Cancelled(WHY)))
        gone = ids - told
        await self._engine.forget(sorted(gone))
        await records.erase(gone)
        self._engine.forget_who(threads, users)
        await records.blank_accounts(threads, users)
        notes, _ = await read_notes(self._store, self._bridge)
        left = [
            each.key for each in notes if each.thread not in there and (each.thread in threads or each.user in users)
        ]
        await remove_notes(self._store, self._bridge, left)
        for user in users:
            await command_log.erase_of(self._store, self._bridge, user)
            await self._engine.erase_shared(user)
        await self._users.forget(threads - there)
        return told
