"""Records which notices were sent: rows in the file or the store, so that each is sent once, over restarts too.

A row is written before its notice is sent, and again after. A process that dies in between does not know whether it was
sent: its next life sends it again, with a line that says so, and at most three times in all, however often it dies
there. So a notice comes once; up to three times where processes die while they send it; and not at all if its service
cannot be reached, or the same command is not run again. Rows are kept for 60 days, and nothing older causes a notice.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from langgraph.store.base import GetOp, PutOp, SearchOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._host.notify.channel import Notifier
from batch_bridge._host.notify.text import Notice
from batch_bridge._ledger.rows import Rows

logger = logging.getLogger("batch_bridge")

T = TypeVar("T")

_SENT: Final = ("batch_bridge_notices",)
_PATIENCE: Final = 60.0
"""Seconds that an end waits for notices that are on their way."""
KEPT: Final = timedelta(days=60)
"""How long sent notices are remembered. No provider keeps the results of a batch for that long."""
_SWEEP_EVERY: Final = timedelta(days=1)
_MOST_ROWS: Final = 1_000_000
_MOST_ATTEMPTS: Final = 3
"""How often a notice is begun to be sent by processes that die of it."""
_BEGUN: Final = "begun"
"""The value of a scope's row, which is kept forever. A job's row goes with its job."""
_AGAIN: Final = "This notice may have come before: the process that sent it has ended meanwhile."


class Board:
    """Sends each notice once. What cannot be sent, or written down, harms nothing.

    Args:
        notifiers: They send the notices.
        rows: Where is written down what was sent.
    """

    def __init__(self, notifiers: Sequence[Notifier], rows: Rows) -> None:
        self._notifiers = notifiers
        self._rows = rows
        self._sending: set[asyncio.Task[None]] = set()
        self._swept: datetime | None = None

    async def tell(self, notice: Notice, *, is_kept: bool = True) -> None:
        """Send a notice, unless the same was sent before. One that is not kept is always sent. Raises nothing."""
        try:
            if not is_kept:
                await self._send(notice)
                return
            (item,) = await self._rows.abatch([GetOp(_SENT, notice.key)])
            before = item.value if item is not None and item.value.get("what") == notice.what else None
            if before is not None and _is_sent(before):
                return
            attempts = before.get("attempts", 0) if before is not None else 0
            if attempts >= _MOST_ATTEMPTS:
                logger.warning("a notice is not sent again: %d processes have ended while they sent it", attempts)
                await self._put(notice.key, _row(notice.what))
                return
            await self._put(notice.key, {**_row(notice.what), "sent": False, "attempts": attempts + 1})
            if await self._send(replace(notice, body=f"{notice.body}\n{_AGAIN}") if attempts else notice):
                await self._put(notice.key, _row(notice.what))
            else:  # the process lives: the attempt did not kill the process
                await self._put(notice.key, {**_row(notice.what), "sent": False, "attempts": attempts})
            await self._sweep()
        except Exception as error:  # noqa: BLE001  # the store: the run continues
            logger.warning("it could not be written down that a notice was sent: %s", _logged.said(error))

    async def _send(self, notice: Notice) -> bool:
        return all([await each.send(notice) for each in self._notifiers])

    def tell_soon(self, notice: Coroutine[Any, Any, None]) -> None:
        """Send a notice in the background."""
        sending = asyncio.get_running_loop().create_task(notice, name="batch_bridge notice")
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def forget(self, key: str) -> None:
        """Allow a notice to be sent again if its event happens again. Raises nothing."""
        try:
            (item,) = await self._rows.abatch([GetOp(_SENT, key)])
            if item is not None:
                await self._put(key, None)
        except Exception as error:  # noqa: BLE001  # as in `tell`
            logger.warning("it could not be written down that a notice is over: %s", _logged.said(error))

    async def begin(self, scope: str, keys: Iterable[str]) -> bool:
        """Return whether this is the first call for a scope here. Each later call returns false.

        Args:
            scope: The kind of thing.
            keys: What exists already at the first call, and needs no notice.
        """
        (item,) = await self._rows.abatch([GetOp(_SENT, scope)])
        if item is None:
            old = [PutOp(_SENT, key, _row("before"), index=False) for key in keys]
            await self._rows.abatch([*old, PutOp(_SENT, scope, _row(_BEGUN), index=False)])
        return item is None

    async def unsent(self, things: Mapping[str, T]) -> list[T]:
        """Return the things, given by their keys, of which no notice was sent."""
        if not things:
            return []
        found = await self._rows.abatch([GetOp(_SENT, key) for key in things])
        return [
            thing
            for thing, item in zip(things.values(), found, strict=True)
            if item is None or not _is_sent(item.value)
        ]

    async def close(self) -> None:
        """Wait for the notices that are on their way, for a while."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_PATIENCE)
            for each in late:
                each.cancel()

    async def _sweep(self) -> None:
        """Delete the rows of old notices, once a day."""
        now = _clock.now()
        if self._swept is not None and now - self._swept < _SWEEP_EVERY:
            return
        self._swept = now
        (found,) = await self._rows.abatch([SearchOp(_SENT, limit=_MOST_ROWS)])
        before = (now - KEPT).timestamp()
        old = [item.key for item in found if _is_old(item.key, item.value, before)]
        if old:
            await self._rows.abatch([PutOp(_SENT, key, None, index=False) for key in old])

    async def _put(self, key: str, row: dict[str, Any] | None) -> None:
        await self._rows.abatch([PutOp(_SENT, key, row, index=False)])


def _row(what: str) -> dict[str, Any]:
    return {"what": what, "at": _clock.now().timestamp()}


def _is_sent(row: Mapping[str, Any]) -> bool:
    """Return whether a row's notice was sent; earlier versions wrote the row only after that."""
    return row.get("sent") is not False


def _is_old(key: str, row: Mapping[str, Any], before: float) -> bool:
    at = row.get("at")
    is_lasting = row.get("what") == _BEGUN or key.startswith("job:")
    return isinstance(at, int | float) and at < before and not is_lasting
