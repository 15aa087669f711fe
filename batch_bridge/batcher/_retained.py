"""The answers of a durable Batcher, kept for a retention time for the process after a crash.

Rows, beside those of its ledger::

    told <hour>   session and number -> request ids, contents    before callers are told; as long as the outcomes

An hour is that of UTC, so that what is too old is found without reading the rest. A crash in between leaves outcomes
whose row is gone or not there yet: at most those of one delivery.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp

from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.rows import Rows
from batch_bridge.batcher._request_ids import DurableNames

_EVERY: Final = timedelta(hours=1)
_IN_ROW: Final = 1000
"""Requests in one row."""
_PAGE: Final = 20
"""Rows that are read at once."""

Forget = Callable[[Sequence[str]], Awaitable[None]]


class Retained:
    """The delivered outcomes, and how long they stay. One caller at a time.

    Args:
        bridge: Part of every key.
        names: What this process calls its requests; a name may be given out again once its outcome is forgotten.
        period: How long an outcome stays at least.
        most: Requests of this process whose answers are kept.
    """

    def __init__(self, bridge: str, names: DurableNames, period: timedelta, *, most: int) -> None:
        self._most = most
        self._root = ("batch_bridge", bridge, "told")
        self._names = names
        self._period = period
        self._session = uuid4().hex[:16]
        self._own: deque[tuple[str, str, int]] = deque()
        self._number = self._count = 0
        self._due: datetime | None = None

    async def note(self, store: Rows, ids: Sequence[str], now: datetime) -> None:
        """Record that outcomes were delivered, or that no caller asks for them. Durable when it returns."""
        hour = _hour(now)
        puts, notes = [], []
        for start in range(0, len(ids), _IN_ROW):
            chunk = list(ids[start : start + _IN_ROW])
            self._number += 1
            key = f"{self._session}.{self._number:010}"
            row = {"ids": chunk, "contents": self._names.told(chunk)}
            puts.append(PutOp((*self._root, hour), key, row, index=False))
            notes.append((hour, key, len(chunk)))
        await store.abatch(puts)
        self._own.extend(notes)
        self._count += len(ids)

    async def tidy(self, store: Rows, ledger: Ledger, forget: Forget, now: datetime) -> None:
        """Delete old outcomes, and outcomes beyond the limit. Costs nothing until an hour has passed."""
        oldest = now - self._period
        while self._own and (self._own[0][0] < _hour(oldest) or self._count > self._most):
            await self._forget_own(store, forget)
        if self._due is not None and now < self._due:
            return
        self._due = now + _EVERY
        await self._forget_before(store, forget, _hour(oldest))
        await ledger.forget_closed(oldest)

    async def clear(self, store: Rows, forget: Forget) -> None:
        """Delete all outcomes that this process has delivered: it ends well, so an equal item is a new request."""
        while self._own:
            await self._forget_own(store, forget)

    async def _forget_own(self, store: Rows, forget: Forget) -> None:
        hour, key, count = self._own[0]
        (item,) = await store.abatch([GetOp((*self._root, hour), key)])
        if item is not None:
            await forget(item.value["ids"])
            await store.abatch([PutOp((*self._root, hour), key, None)])
            self._names.forget(item.value["contents"])
        self._own.popleft()
        self._count -= count

    async def _forget_before(self, store: Rows, forget: Forget, before: str) -> None:
        """Delete what earlier processes delivered before an hour."""
        below = MatchCondition("prefix", self._root)
        hours: list[tuple[str, ...]]
        (hours,) = await store.abatch([ListNamespacesOp((below,), max_depth=len(self._root) + 1, limit=10_000)])
        for hour in hours:
            while hour[-1] < before:
                rows: list[Any]
                (rows,) = await store.abatch([SearchOp(hour, limit=_PAGE)])
                for row in rows:
                    await forget(row.value["ids"])
                await store.abatch([PutOp(hour, row.key, None) for row in rows])
                if len(rows) < _PAGE:
                    break


def _hour(at: datetime) -> str:
    return f"{at:%Y%m%d%H}"
