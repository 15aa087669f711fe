"""Notices of a bridge's batches: each has one when it has ended, and a bridge that stands still has one."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from batch_bridge._core import clock as _clock
from batch_bridge._core.models import Closed
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._engine import Engine
from batch_bridge._host.notify import KEPT, Board, Notifier, Trouble, of_batch, of_trouble
from batch_bridge._ledger.rows import Rows
from batch_bridge._money import AccountLine, Cost, receipt
from batch_bridge.events import DeadLetter, Event, ResultsExpiring, Settled, Stalled

logger = logging.getLogger("batch_bridge")

_PATIENCE: Final = 60.0
"""Seconds that an end waits for notices that are on their way."""


class BatchNotices:
    """Sends notices of an engine's batches. The ledger's rows record which were sent; see `Board`.

    What is answered in realtime has no notices: there is no batch.

    Args:
        name: The bridge.
        engine: Its engine. What is told of its events by now is told still.
        board: Sends.
        file: Where to look, for who reads a notice.
    """

    def __init__(self, name: str, engine: Engine, board: Board, file: str = "") -> None:
        self._name, self._engine, self._board, self._file = name, engine, board, file
        self._ended: list[str] = []
        self._causes: list[Trouble] = []
        self._is_open = False
        self._has_moved = False
        self._sends_itself = False
        self._sending: asyncio.Task[None] | None = None
        self._told = engine.on_event
        engine.on_event = self._hear

    def _hear(self, event: Event) -> None:
        if self._told is not None:
            self._told(event)
        match event:
            case Settled(batch=str(key), ended=True):
                self._ended.append(key)
            case Stalled() | ResultsExpiring() | DeadLetter():
                self._causes.append(event)
            case _:
                return
        if self._sends_itself:
            self.send_soon()

    def send_soon(self) -> None:
        """Start to send notices in the background: those that wait, and all later ones, one at a time."""
        self._sends_itself = True
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._keep_sending(), name="batch_bridge notices")

    async def _keep_sending(self) -> None:
        try:
            while self._ended or self._causes:
                await self.send()
        except Exception as error:  # noqa: BLE001  # the ledger: the run continues
            logger.warning("%s: notices could not be sent: %s", self._name, _logged.said(error))
        finally:
            self._sending = None

    async def close(self) -> None:
        """Wait for the notices that are on their way, for a while."""
        self._sends_itself = False
        if (sending := self._sending) is not None:
            await asyncio.wait((sending,), timeout=_PATIENCE)
            sending.cancel()

    async def open(self) -> None:
        """Find batches that an earlier process ended without sending their notices. Call it once, before any tick.

        A file that had no notifier then sends no notices of its earlier batches.
        """
        if self._is_open:
            return
        since = _clock.now() - KEPT
        every = await self._engine.closed_batches()
        closed = {f"batch:{self._name}:{each.key}": each for each in every if each.ended_at > since}
        if not await self._board.begin(f"batches:{self._name}", closed):
            self._ended += [each.key for each in await self._board.unsent(closed)]
        self._is_open = True

    async def send(self) -> None:
        """Send the notices of what has happened since the last time. Raises nothing but what the ledger raises."""
        ended, self._ended = self._ended, []
        causes, self._causes = self._causes, []
        if ended and not self._has_moved:
            self._has_moved = True
            await self._board.forget(f"stall:{self._name}")
        for event in causes:
            self._has_moved = self._has_moved and not isinstance(event, Stalled)
            await self._board.tell(of_trouble(event, self._file))
        if ended:
            await self._tell(await self._engine.closed_among(ended))

    async def _tell(self, closed: Sequence[Closed]) -> None:
        for batch in closed:
            lines = await self._engine.lines_in(batch.key)
            if batch.handle is None or (lines and all(line.lane != "batch" for line in lines)):
                continue
            await self._board.tell(of_batch(self._name, batch, await self._cost(lines)))

    async def _cost(self, lines: Sequence[AccountLine]) -> Cost:
        return await asyncio.to_thread(receipt, [(self._engine.prices, lines)])


def batch_notices(
    name: str, engine: Engine, notifier: Notifier | None, rows: Rows, file: str = ""
) -> BatchNotices | None:
    """Return the notices of a bridge's batches; `None` without a notifier."""
    return None if notifier is None else BatchNotices(name, engine, Board([notifier], rows), file)
