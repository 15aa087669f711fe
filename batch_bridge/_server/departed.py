"""Batches that nobody waits for any more, because the threads of all their requests have been deleted.

Only a deleted thread is gone for good: one that has ended, failed, or was given something else to do may be taken back
to where it waited. Nothing is asked of each thread. Of each batch one thread is remembered that was there, the witness,
and while it is, its batch is left alone; the next one is looked for only when it has gone.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError, NotFoundError

from batch_bridge._core import log_text as _logged
from batch_bridge._core.log import about, logger_of
from batch_bridge._engine import Engine
from batch_bridge._server.command_executor import CommandExecutor
from batch_bridge._server.ledger import ServerLedger
from batch_bridge._server.thread_view import present

logger = logger_of(__name__)

_FEW: Final = 10
"""Threads that are looked at in a batch that was not looked at before: one of them is there, as a rule."""
_MANY: Final = 1000
"""Threads that are looked at besides in one pass, for all batches together."""
_ASKED_ONE_BY_ONE: Final = 5
"""Threads whose absence is confirmed by a call for each before a batch is given up."""
_WHY: Final = "its thread was deleted, as those of all others in its batch"


@dataclass(slots=True)
class _Departure:
    """What is remembered of a batch: a request whose thread was there, and the threads that were not."""

    witness: str = ""
    gone: set[str] = field(default_factory=set)


class Departed:
    """Gives up the batches of one bridge whose threads have all been deleted.

    Args:
        engine: The bridge's.
        ledger: The bridge's.
        executor: Cancels.
        renew: Says that the tick still runs, and fails if it is another's by now.
        every: How long nothing is looked at after a look.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: ServerLedger,
        executor: CommandExecutor,
        *,
        renew: Callable[[], Awaitable[None]],
        every: timedelta,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._executor = executor
        self._renew = renew
        self._every = every
        self._due: datetime | None = None
        self._watches: dict[str, _Departure] = {}

    async def give_up(self, client: LangGraphClient, now: datetime) -> None:
        """Cancel the batches whose threads are all gone. What the server does not tell is asked again the next time.

        Costs a call of the server for a thousand batches whose witness is there.

        Args:
            client: Calls the server, as somebody who may see all threads.
            now: Aware UTC.
        """
        if self._due is not None and now < self._due <= now + self._every:
            return
        self._due = now + self._every
        batches = {key: ids for key in self._engine.batches if (ids := self._engine.in_batch(key))}
        self._watches = {key: self._watches.get(key) or _Departure() for key in batches}
        try:
            for key in await self._forsaken(client, batches):
                if await self._is_certain(client, batches[key]):
                    await self._cancel(key, batches[key], now)
                else:
                    del self._watches[key]
        except (APIError, httpx.HTTPError) as error:
            logger.info("could not check whether the threads of a batch exist: %s", _logged.said(error))

    async def _forsaken(self, client: LangGraphClient, batches: dict[str, tuple[str, ...]]) -> list[str]:
        """Return the batches of which no thread is there."""
        watches, thread_of = self._watches, self._ledger.thread_of
        held = {key: watch.witness for key, watch in watches.items() if watch.witness in batches[key]}
        await self._ledger.learn(held.values())
        there = await _present(client, [thread_of(witness) for witness in held.values()])
        forsaken: list[str] = []
        room = _MANY
        for key, ids in batches.items():
            watch = watches[key]
            if key in held and thread_of(held[key]) in there:
                continue
            is_new, watch.witness = not watch.witness and not watch.gone, ""
            while room > 0 and not watch.witness:
                page = await self._next(ids, watch, min(_FEW if is_new else _MANY, room))
                if not page:
                    forsaken.append(key)
                    break
                room -= len(page)
                found = await _present(client, list(page))
                watch.witness = next((request_id for thread, request_id in page.items() if thread in found), "")
                watch.gone |= page.keys() - found
                is_new = False
        return forsaken

    async def _next(self, ids: Sequence[str], watch: _Departure, most: int) -> dict[str, str]:
        """Return the next threads of a batch that are not known to be gone, with a request of each."""
        page: dict[str, str] = {}
        unseen = iter(ids)
        while len(page) < most and (some := list(islice(unseen, most))):
            await self._ledger.learn(some, self._renew)
            unknown = [each for each in some if not self._ledger.thread_of(each)]
            done = await self._ledger.settled(unknown) if unknown else set()  # by a process before this one
            for request_id in some:
                thread = self._ledger.thread_of(request_id)
                if request_id not in done and thread not in watch.gone and len(page) < most:
                    page.setdefault(thread, request_id)
        return page

    async def _is_certain(self, client: LangGraphClient, ids: Sequence[str]) -> bool:
        """Return whether the server says of some of a batch's threads, one by one, that there is no such thread."""
        threads = [thread for each in ids if (thread := self._ledger.thread_of(each))]
        for thread in _spread(threads, _ASKED_ONE_BY_ONE):
            try:
                await client.threads.get(thread)
            except NotFoundError:
                continue
            return False
        return bool(threads)

    async def _cancel(self, key: str, ids: Iterable[str], now: datetime) -> None:
        logger.warning(
            "all threads that waited for batch %s have been deleted; it is cancelled", key, extra=about(batch=key)
        )
        cancelled = await self._executor.cancel(ids, now, why=_WHY)
        await self._ledger.outbox.remove(cancelled)
        await self._engine.forget(list(cancelled))


async def _present(client: LangGraphClient, threads: Sequence[str]) -> set[str]:
    """Return which threads are there. One that is not known, since its row is lost, is taken to be."""
    return {"", *await present(client, [thread for thread in threads if thread])}


def _spread(threads: Sequence[str], count: int) -> list[str]:
    """Return some of the threads, evenly spread, the first and the last among them."""
    if len(threads) <= count:
        return list(threads)
    return [threads[place * (len(threads) - 1) // (count - 1)] for place in range(count)]
