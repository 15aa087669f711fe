"""Carries out the commands that others have written into the file of an open host."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Protocol

from langgraph.store.base import GetOp, PutOp, SearchOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge._status.commands import FileCommand, read_command
from batch_bridge._status.names import COMMANDS, STATUS
from batch_bridge._status.wake import POLL, named_in

logger = logger_of(__name__)

_KEPT: Final = 86400.0
"""Seconds for which a command that was carried out can still be looked up."""
_MOST: Final = 1000
_PAUSED: Final = "paused"


class Commanded(Protocol):
    """A host that takes commands. Each returns how many requests or threads it has done something to."""

    async def flush(self) -> int:
        """Send what waits."""
        ...

    async def cancel(self, *, thread_id: str | None = None, run_id: str | None = None, batch: str | None = None) -> int:
        """End requests as cancelled."""
        ...

    async def retry(self, *, thread_id: str | None = None, run_id: str | None = None) -> int:
        """Run threads again that have failed."""
        ...

    def hear(self, names: Collection[str] | None) -> None:
        """Look at batches at once that have news, by their provider's ids; `None`: at all."""
        ...

    def pause(self, *, paused: bool) -> None:
        """Pause sending, or resume it."""
        ...


class FileCommands:
    """Carries out commands, oldest first, and records the results in their rows.

    Args:
        rows: The file's store.
        host: The host that carries them out.
    """

    def __init__(self, rows: Rows, host: Commanded) -> None:
        self._rows = rows
        self._host = host
        self.paused = False
        """Whether a command has paused sending. The file keeps it, so that the next owner obeys it too."""
        self._verbs: Mapping[str, Callable[[FileCommand], Awaitable[str]]] = {
            "flush": self._flush,
            "cancel": self._cancel,
            "retry": self._retry,
            "pause": self._pause,
            "resume": self._pause,
        }

    async def open(self) -> None:
        """Be paused, if the owner before this one was."""
        (item,) = await self._rows.abatch([GetOp((STATUS,), _PAUSED)])
        if item is not None:
            self.paused = True
            self._host.pause(paused=True)

    async def obey(self) -> None:
        """Carry out what was asked since the last time. Repeating it is harmless."""
        (found,) = await self._rows.abatch([SearchOp((COMMANDS,), limit=_MOST)])
        for item in sorted(found, key=lambda each: each.value.get("at", 0.0)):
            if item.value.get("verb") == POLL:
                self._host.hear(named_in(item.value))
                await self._rows.abatch([PutOp((COMMANDS,), item.key, None)])  # no caller asks for its result
            elif item.value.get("state") == "asked":
                await self._do(item.key, item.value)
            elif _clock.now().timestamp() - item.value.get("done_at", 0.0) > _KEPT:
                await self._rows.abatch([PutOp((COMMANDS,), item.key, None)])

    async def _do(self, key: str, row: dict[str, Any]) -> None:
        state, said = "done", ""
        try:
            command = read_command(key, row)
            said = await self._verbs[command.verb](command)
        except Exception as error:  # noqa: BLE001  # the caller receives it
            state, said = "refused", f"{type(error).__name__}: {error}"
            logger.warning("the command %s was refused: %s", _logged.handle(row.get("verb")), _logged.said(error))
        else:
            logger.info("the command %r was carried out: %s", command.verb, said)
        row = {**row, "state": state, "said": said, "done_at": _clock.now().timestamp()}
        await self._rows.abatch([PutOp((COMMANDS,), key, row, index=False)])

    async def _flush(self, _: FileCommand) -> str:
        count = await self._host.flush()
        return f"{count} requests that waited are sent" + (" once it is resumed" if self.paused else "")

    async def _cancel(self, command: FileCommand) -> str:
        names = {"thread": "thread_id", "run": "run_id", "batch": "batch"}
        count = await self._host.cancel(**{names[name]: value for name, value in command.target.items()})
        return f"{count} requests are cancelled"

    async def _retry(self, command: FileCommand) -> str:
        names = {"thread": "thread_id", "run": "run_id"}
        count = await self._host.retry(**{names[name]: value for name, value in command.target.items()})
        if not count:
            return (
                "nothing that has failed can be run again here now; what has, is by the next call with the same run_id"
            )
        return f"{count} threads that had failed are run again"

    async def _pause(self, command: FileCommand) -> str:
        self.paused = command.verb == "pause"
        value = {"at": _clock.now().timestamp()} if self.paused else None
        await self._rows.abatch([PutOp((STATUS,), _PAUSED, value, index=False)])
        self._host.pause(paused=self.paused)
        return (
            "nothing is sent until it is resumed; what is on its way is collected" if self.paused else "it sends again"
        )
