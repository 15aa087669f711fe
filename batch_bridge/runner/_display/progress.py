"""The progress bar of a Runner, in a terminal."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batch_bridge._core import clock as _clock
from batch_bridge._money import shown as money
from batch_bridge._status.text import eta_short
from batch_bridge.events import BatchProgress
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.session import Session

_INTERVAL = 0.2
"""Seconds between two looks."""
_COUNT_EVERY = 5.0
"""Seconds between two counts of the money."""
_COUNT_PAUSE = 50
"""Adding up takes longer the more there is: a pause of so many times its length keeps it below two percent."""


def is_wanted(progress: bool | None) -> bool:  # noqa: FBT001
    """Return whether to show a bar in a terminal: as asked, else where there is one."""
    return sys.stderr.isatty() if progress is None else progress


def _waves(parked: Mapping[int, int]) -> str:
    """Return which of their answers the parked threads wait for."""
    return f"wave {'+'.join(map(str, sorted(parked)))} " if parked else ""


def _answered(batches: tuple[BatchProgress, ...]) -> str:
    """Return how many requests the providers have done, as far as they report it."""
    told = [each for each in batches if each.done is not None and each.total]
    if not told:
        return ""
    return f": {sum(each.done or 0 for each in told)}/{sum(each.total or 0 for each in told)} done"


@contextlib.asynccontextmanager
async def bar(session: Session, call: Run, total: int | None) -> AsyncIterator[None]:
    """Show a bar for a call while the block runs. `total` is `None` where the inputs are read lazily."""
    columns = (
        TextColumn("[bold]threads"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[before]}{task.fields[waiting]} queued"),
        TextColumn("{task.fields[flying]} in {task.fields[batches]} batches{task.fields[answered]}"),
        TextColumn("{task.fields[wave]}{task.fields[money]}{task.fields[eta]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(
            "threads", total=total, before="", waiting=0, flying=0, batches=0, answered="", wave="", money="", eta=""
        )

        def look() -> None:
            shown.update(
                task,
                completed=call.done,
                before=f"{call.ended_before} ended before, " if call.ended_before else "",
                waiting=session.traffic.queued,
                flying=session.traffic.in_flight,
                batches=session.traffic.batches,
                answered=_answered(session.traffic.in_batches),
                wave=_waves(+call.waves),
                eta=eta_short(session.traffic.eta, _clock.now().timestamp()),
            )

        async def keep_looking() -> None:
            while True:
                look()
                await asyncio.sleep(_INTERVAL)

        async def count() -> None:
            cost = await session.books.cost()
            if cost.requests and cost.paid is not None:
                shown.update(task, money=f"{money(cost.paid, cost.currency)} paid ")

        async def keep_counting() -> None:
            counted = -1
            while True:
                took = 0.0
                if session.books.settlements != counted:
                    counted = session.books.settlements
                    began = perf_counter()
                    await count()
                    took = perf_counter() - began
                await asyncio.sleep(max(_COUNT_EVERY, _COUNT_PAUSE * took))

        counting = asyncio.get_running_loop().create_task(keep_counting())
        looking = asyncio.get_running_loop().create_task(keep_looking())
        try:
            yield
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            await count()
        finally:
            looking.cancel()
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            look()
