"""What a bridge's host asks of the server that runs its waiting threads."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from batch_bridge._core.models import JSON
from batch_bridge._server.threads.view import ParkedWait, ThreadView


class ThreadBusyError(Exception):
    """A thread runs, or does not wait any more; it is looked at again."""


class ThreadServer(Protocol):
    """Runs the threads of one bridge. Six verbs; `tidy` is housekeeping.

    A LangGraph server is one (`LangGraphServer`), Aegra another (`AegraServer`); so is a pool of processes on Postgres
    (`batch_bridge.pool`).
    """

    async def look(
        self, ids: Sequence[str], *, closely: bool = False, doubted: Container[str] = ()
    ) -> dict[str, ThreadView]:
        """Read where threads are parked. One that is not there, or that the caller may not see, is left out.

        Args:
            ids: Threads.
            closely: Tell threads that are stranded from those in which a node has failed.
            doubted: Those that may have taken already what they show that they ask for.
        """
        ...

    async def parked(self, offset: int, since: datetime | None) -> tuple[list[ThreadView], bool]:
        """Read a page of the threads that wait for something, newest first, and return whether it was the last one.

        Args:
            offset: How many threads to pass over.
            since: Those that have not changed since then are of no interest.
        """
        ...

    async def present(self, ids: Sequence[str]) -> set[str]:
        """Return which threads are there."""
        ...

    async def resume(
        self,
        thread: ThreadView,
        interrupts: Sequence[ParkedWait],
        answers: Mapping[str, JSON],
        strikes: int,
        user: str | None = None,
    ) -> None:
        """Resume a thread with answers. It continues later, perhaps in another process.

        Args:
            thread: As it was seen last.
            interrupts: Those of its interrupts that are answered.
            answers: An envelope for each, by the interrupt's id.
            strikes: How often in a row it has taken nothing, and asked for something new.
            user: Its user, if that was recorded a moment ago.

        Raises:
            ConflictError, ThreadBusyError: The thread runs; it is looked at again.
            BridgeUnreachableError: It must not be resumed by this bridge.
        """
        ...

    async def is_under_way(self, thread: str) -> bool:
        """Return whether a thread that reads busy runs, is about to, or is its owner's to run because a node failed."""
        ...

    async def wake(self, after: timedelta, *, until: float, why: str) -> None:
        """See to it that a tick begins in a while.

        Args:
            after: In how long.
            until: Seconds since 1970. A tick that is due by then already is enough.
            why: Shown where ticks are shown: `timer` or `insurance`.
        """
        ...

    async def tidy(self) -> None:
        """Forget what the bridge's own ticks have left."""
        ...
