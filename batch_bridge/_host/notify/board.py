"""Which notices were sent: rows in the file or the store, so that each thing is told of once, over restarts too.

A row is written after its notice was sent. A process that dies in between sends it again, in its next life: a notice
may come twice, and none is left out, unless its service cannot be reached, or nobody runs the same command again.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from langgraph.store.base import GetOp, PutOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._host.notify.channel import Notifier
from batch_bridge._host.notify.text import Notice
from batch_bridge._ledger.ledger import Rows

logger = logging.getLogger("batch_bridge")

T = TypeVar("T")

_SENT: Final = ("batch_bridge_notices",)
_PATIENCE: Final = 60.0
"""Seconds that an end waits for notices that are on their way."""


class Board:
    """Sends each notice once. What cannot be sent, or written down, harms nothing.

    Args:
        notifiers: Who sends.
        rows: Where is written down what was sent.
    """

    def __init__(self, notifiers: Sequence[Notifier], rows: Rows) -> None:
        self._notifiers = notifiers
        self._rows = rows
        self._sending: set[asyncio.Task[None]] = set()

    async def tell(self, notice: Notice, *, is_kept: bool = True) -> None:
        """Send a notice, unless the same was sent before. One that is not kept is always sent. Raises nothing."""
        try:
            if is_kept and await self._was_sent(notice):
                return
            sent = [await each.send(notice) for each in self._notifiers]
            if all(sent) and is_kept:
                await self._put(notice.key, {"what": notice.what, "at": _clock.now().timestamp()})
        except Exception as error:  # noqa: BLE001  # the store: the run goes on
            logger.warning("it could not be written down that a notice was sent: %s", _logged.said(error))

    def tell_soon(self, notice: Coroutine[Any, Any, None]) -> None:
        """Have a notice sent while the rest goes on."""
        sending = asyncio.get_running_loop().create_task(notice, name="batch_bridge notice")
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def forget(self, key: str) -> None:
        """Tell of a thing again, should it happen again. Raises nothing."""
        try:
            (item,) = await self._rows.abatch([GetOp(_SENT, key)])
            if item is not None:
                await self._put(key, None)
        except Exception as error:  # noqa: BLE001  # as in `tell`
            logger.warning("it could not be written down that a notice is over: %s", _logged.said(error))

    async def begin(self, scope: str) -> bool:
        """Return whether nobody was told of such things here before. The next time somebody was."""
        (item,) = await self._rows.abatch([GetOp(_SENT, scope)])
        if item is None:
            await self._put(scope, {"what": "begun", "at": _clock.now().timestamp()})
        return item is None

    async def note(self, keys: Sequence[str], what: str) -> None:
        """Write down that things need not be told of."""
        at = _clock.now().timestamp()
        for key in keys:
            await self._put(key, {"what": what, "at": at})

    async def unsent(self, things: Mapping[str, T]) -> list[T]:
        """Return the things, by their keys, of which nobody was told."""
        if not things:
            return []
        found = await self._rows.abatch([GetOp(_SENT, key) for key in things])
        return [thing for thing, item in zip(things.values(), found, strict=True) if item is None]

    async def close(self) -> None:
        """Wait for the notices that are on their way, for a while."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_PATIENCE)
            for each in late:
                each.cancel()

    async def _was_sent(self, notice: Notice) -> bool:
        (item,) = await self._rows.abatch([GetOp(_SENT, notice.key)])
        return item is not None and item.value.get("what") == notice.what

    async def _put(self, key: str, row: dict[str, Any] | None) -> None:
        await self._rows.abatch([PutOp(_SENT, key, row, index=False)])
