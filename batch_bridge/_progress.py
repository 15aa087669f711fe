"""The progress bar of a Runner, in a terminal."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_INTERVAL = 0.2
"""Seconds between two looks."""


class Watched(Protocol):
    """What the bar shows of a session."""

    @property
    def queued(self) -> int:
        """Requests that wait to be sent."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests at the providers."""
        ...

    @property
    def batches(self) -> int:
        """Batches at the providers."""
        ...


class Counted(Protocol):
    """What the bar shows of a call."""

    done: int
    ended_before: int


def is_wanted(progress: bool | None) -> bool:  # noqa: FBT001
    """Return whether to show a bar: as asked, else in a terminal only."""
    return sys.stderr.isatty() if progress is None else progress


@contextlib.asynccontextmanager
async def bar(session: Watched, call: Counted, total: int | None) -> AsyncIterator[None]:
    """Show a bar for a call while the block runs. `total` is `None` where the inputs are read lazily."""
    columns = (
        TextColumn("[bold]threads"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[before]}{task.fields[waiting]} queued"),
        TextColumn("{task.fields[flying]} in {task.fields[batches]} batches"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("threads", total=total, before="", waiting=0, flying=0, batches=0)

        def look() -> None:
            shown.update(
                task,
                completed=call.done,
                before=f"{call.ended_before} ended before, " if call.ended_before else "",
                waiting=session.queued,
                flying=session.in_flight,
                batches=session.batches,
            )

        async def keep_looking() -> None:
            while True:
                look()
                await asyncio.sleep(_INTERVAL)

        looking = asyncio.get_running_loop().create_task(keep_looking())
        try:
            yield
        finally:
            looking.cancel()
            look()
