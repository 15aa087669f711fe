"""Executes the commands that a bridge was given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from batch_bridge._core.models import Cancelled
from batch_bridge._engine.intake import CANCELLED
from batch_bridge._server import commands as command_log
from batch_bridge._server.commands import ServerCommand
from batch_bridge._server.delivery import Outbox
from batch_bridge._server.eraser import WHY, Eraser
from batch_bridge._server.parts import HostParts

_AT_ONCE: Final = 1000
"""Requests that are cancelled between two looks at the lease."""
_REMEMBERED: Final = timedelta(days=1)
"""How long a command is remembered after it was carried out: servers repeat a run within minutes."""
SHOWN: Final = 20
"""Commands that the thread's state shows, the last ones."""
_LONGEST: Final = 200
"""Characters of a command that are shown."""


class CommandExecutor:
    """Carries out the commands of one bridge. Its owner holds the lease; commands are given without one.

    Args:
        parts: The parts of the host.
        outbox: Delivers what was cancelled, or is to be delivered again.
        eraser: Erases.
        remembered: How long a command is remembered after it was carried out.
    """

    def __init__(
        self, parts: HostParts, outbox: Outbox, eraser: Eraser, *, remembered: timedelta = _REMEMBERED
    ) -> None:
        self._bridge, self._store, self._records = parts.bridge, parts.store, parts.records
        self._engine, self._renew = parts.engine, parts.renew
        self._users, self._server = parts.users, parts.server
        self._outbox = outbox
        self._eraser = eraser
        self._remembered = remembered
        self._flushes: list[ServerCommand] = []
        self._has_learnt = False
        self._news: list[dict[str, Any]] = []
        self._forgotten: set[str] = set()
        self._tidy_at: datetime | None = None

    async def obey(self, unparked: Mapping[str, datetime], now: datetime) -> None:
        """Carry out the stored commands, except flushes, which come at the end of this pass.

        Args:
            unparked: Threads that have announced that they park, and when, but have not parked yet. Their next
                requests count as asked if the announcement came before the command.
            now: Aware UTC.
        """
        self._flushes, self._has_learnt = [], False
        done: list[ServerCommand] = []
        for command in await command_log.listed(self._store, self._bridge):
            await self._renew()
            match command.verb:
                case "flush":
                    self._flushes.append(command)
                case "replay":
                    count = await self._records.replay(await self._dead(command))
                    self._outbox.add(self._records.outbox, now)
                    done.append(replace(command, done=count))
                case "cancel":
                    count, left = await self._cancel(command, unparked, now)
                    command = replace(command, done=command.done + count)  # noqa: PLW2901
                    if left is None:
                        done.append(command)
                    else:
                        if count or left != command.what:
                            await command_log.keep(self._store, self._bridge, replace(command, what=left))
                        self._tell(command, now, waits_for=left)
                case "erase":
                    done.append(replace(command, done=await self._erase(command.what, now)))
                case _:
                    assert_never(command.verb)
        await self._finish(done, now)
        await self._tidy(now)

    async def cancel(self, ids: Iterable[str], now: datetime, *, why: str | None = None) -> set[str]:
        """End requests as cancelled, and return which; their outcomes are in the outbox."""
        held = list(ids)
        cancelled: set[str] = set()
        for start in range(0, len(held), _AT_ONCE):
            chunk = held[start : start + _AT_ONCE]
            cancelled |= await (self._engine.cancel(chunk, now, why=why) if why else self._engine.cancel(chunk, now))
            await self._renew()
        return cancelled

    @property
    def wants_flush(self) -> bool:
        """Whether all that waits is to be sent now."""
        return bool(self._flushes)

    async def flushed(self, count: int, now: datetime) -> None:
        """Note that all that waited was sent, and how many requests that was."""
        done, self._flushes = self._flushes, []
        await self._finish([replace(command, done=count) for command in done], now)

    def told(self, before: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what the thread's state shows of commands, after what it has shown before."""
        news, self._news = self._news, []
        gone, self._forgotten = self._forgotten, set()
        before = [each for each in before if each.get("by") not in gone]
        fresh = {_name(each) for each in news}
        return [*(dict(each) for each in before if _name(each) not in fresh), *news][-SHOWN:]

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _cancel(self, command: ServerCommand, unparked: Mapping[str, datetime], now: datetime) -> tuple[int, Any]:
        """Cancel what a command names; return how much that was, and the rest of it: what is about to be asked."""
        cancelled = await self.cancel(await self._own(command, await self._named(command.what)), now)
        if not command.by and isinstance(command.what, Mapping):
            for key in command.what.get("batch", ()):
                cancelled |= await self._records.ledger.give_up(key, Cancelled(CANCELLED))
        self._outbox.add(cancelled, now)
        late = {thread for thread, said_at in unparked.items() if said_at <= command.at}
        left: Any = None
        match command.what:
            case "all" if late:
                left = {"thread_id": sorted(late)}
            case {"thread_id": threads} if still := [thread for thread in threads if thread in late]:
                left = {"thread_id": still}
            case {"request_id": ids} if late and (still := [each for each in ids if each not in cancelled]):
                left = {"request_id": still}
        return len(cancelled), left

    async def _erase(self, what: Mapping[str, list[str]], now: datetime) -> int:
        """Erase what is held of users or threads, and return of how many requests; what is waited for is cancelled."""
        ids, threads = await self._eraser.find(what)
        cancelled = await self.cancel(ids, now, why=WHY)
        told = await self._eraser.erase(self._server, what, ids, threads)
        self._outbox.drop(ids - told)
        self._outbox.add(cancelled & told, now)
        self._forgotten.update(what.get("user", ()))
        return len(ids)

    async def _named(self, what: Any) -> Iterable[str]:
        """Return the requests that wait to be sent or are on their way, and that a cancellation means."""
        engine = self._engine
        match what:
            case {"request_id": ids}:
                return list(ids)
            case {"batch": keys}:
                return [each for key in keys for each in engine.in_batch(key)]
            case {"thread_id": threads}:
                if not self._has_learnt:
                    sent = [each for key in engine.batches for each in engine.in_batch(key)]
                    await self._records.learn(sent, self._renew)
                    self._has_learnt = True
                return [each for thread in threads for each in sorted(self._records.owners.requests_of(thread))]
            case _:
                return [*engine.waiting, *(each for key in engine.batches for each in engine.in_batch(key))]

    async def _own(self, command: ServerCommand, ids: Iterable[str]) -> list[str]:
        """Return the requests that the command's user may command."""
        held = list(ids)
        if not command.by:
            return held
        await self._records.learn(held, self._renew)
        users = await self._users.of({thread for each in held if (thread := self._records.owners.thread_of(each))})
        return [each for each in held if users.get(self._records.owners.thread_of(each)) == command.by]

    async def _dead(self, command: ServerCommand) -> list[str] | None:
        """Return the dead letters that a command names; `None`: all of them."""
        if not command.by:
            return None if command.what == "all" else command.what
        dead: dict[str, Any] = dict(self._records.dead.items())
        threads = {each: str(dead[each][0]) for each in command.what if each in dead}
        users = await self._users.of(threads.values())
        return [each for each, thread in threads.items() if users.get(thread) == command.by]

    async def _finish(self, commands: Sequence[ServerCommand], now: datetime) -> None:
        await command_log.obeyed(self._store, self._bridge, commands, now)
        for command in commands:
            self._tell(command, now)

    def _tell(self, command: ServerCommand, now: datetime, *, waits_for: Mapping[str, list[str]] | None = None) -> None:
        what = "erased" if command.verb == "erase" else str(command.what)  # of a name nothing is kept here
        shown: dict[str, Any] = {
            "id": command.id,
            "verb": command.verb,
            "what": what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…",
            "at": now.isoformat(timespec="seconds"),
            "requests": command.done,
        }
        if command.by:
            shown["by"] = command.by
        if waits_for is not None:
            shown["waits_for"] = {name: ids[:SHOWN] for name, ids in waits_for.items()}
        self._news.append(shown)

    async def _tidy(self, now: datetime) -> None:
        if self._tidy_at is None or now >= self._tidy_at:
            self._tidy_at = now + self._remembered / 24
            await command_log.forget_obeyed(self._store, self._bridge, now - self._remembered)


def _name(shown: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return an id of a command that is shown."""
    return shown.get("id"), shown.get("verb"), shown.get("by")
