"""What the owner of a file writes down of itself, so that others can see it: one row, at most once a second."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Protocol

from langgraph.store.base import GetOp, PutOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.process import machine, started
from batch_bridge._ledger.rows import Rows
from batch_bridge._status.names import BEAT, OWNER, STATUS, VERSION

logger = logger_of(__name__)

_PERIOD: Final = 0.5
"""Seconds between two looks at whether something has changed."""
_MOST_RUNS: Final = 100
"""Runs that have ended and are remembered."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What an owner shows of itself.

    Attributes:
        runs: Rows of runs, by their ids: those under way, and those that have ended since the last look.
        bridges: A row for each bridge, by its name.
    """

    runs: Mapping[str, Row] = field(default_factory=dict)
    bridges: Mapping[str, Row] = field(default_factory=dict)


class Commands(Protocol):
    """Carries out what others have asked the owner to do."""

    @property
    def paused(self) -> bool:
        """Whether nothing is to be sent."""
        ...

    async def open(self) -> None:
        """Carry out the lasting commands that earlier owners received. Call it first."""
        ...

    async def obey(self) -> None:
        """Carry out what was asked since the last time."""
        ...


class Journal:
    """Writes one row about the owner of a file, as long as that is open. A row that cannot be written harms nothing.

    Args:
        rows: The file's store. Only its owner writes there.
        kind: What the owner is.
        look: Returns how the owner is now. It is called on the event loop, and quick.
        commands: Carries out what others have asked the owner to do, about twice a second.
    """

    def __init__(
        self,
        rows: Rows,
        kind: Literal["runner", "batcher"],
        look: Callable[[], Look],
        commands: Commands,
    ) -> None:
        self._rows = rows
        self._look = look
        self._commands = commands
        self._runs: dict[str, Row] = {}
        self._who: Row = {
            "version": VERSION,
            "kind": kind,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": machine(),
            "started": started(),
            "opened_at": _clock.now().timestamp(),
        }
        self._written: Row = {}
        self._written_at = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._has_warned = False

    async def open(self) -> None:
        """Record the owner of the file, and keep its state up to date."""
        await self._tried(self._remember)
        await self._tried(self._commands.open)
        await self._tried(self._write)
        self._beating = asyncio.get_running_loop().create_task(self._beat(), name="batch_bridge journal")

    async def close(self) -> None:
        """Record the final state, and that the owner ended by itself."""
        if self._beating is None:
            return
        self._beating.cancel()
        await asyncio.wait((self._beating,))
        await self._tried(partial(self._write, closed_at=_clock.now().timestamp()))

    async def _remember(self) -> None:
        (item,) = await self._rows.abatch([GetOp((STATUS,), OWNER)])
        if item is not None and item.value.get("version") == VERSION:
            self._runs = {run["id"]: {**run, "running": 0} for run in item.value.get("runs", ())}

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD)
            await self._tried(self._write)
            await self._tried(self._commands.obey)

    async def _write(self, closed_at: float | None = None) -> None:
        row = self._row(self._look(), closed_at)
        if row != self._written or _clock.now().timestamp() - self._written_at >= BEAT:
            at = _clock.now().timestamp()
            await self._rows.abatch([PutOp((STATUS,), OWNER, {**row, "at": at}, index=False)])
            self._written, self._written_at = row, at

    def _row(self, look: Look, closed_at: float | None) -> Row:
        for run_id, run in look.runs.items():
            self._runs.pop(run_id, None)  # the newest one stands last
            self._runs[run_id] = run
        for run_id in list(self._runs)[:-_MOST_RUNS]:
            del self._runs[run_id]
        runs, bridges = list(self._runs.values()), dict(look.bridges)
        row = {**self._who, "runs": runs, "bridges": bridges, "paused": self._commands.paused}
        return row if closed_at is None else {**row, "closed_at": closed_at}

    async def _tried(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # the run continues, and the next row is another try
            if not self._has_warned:
                self._has_warned = True
                logger.warning("what others see of this run could not be written: %s", _logged.said(error))
