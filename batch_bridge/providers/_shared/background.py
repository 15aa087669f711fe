"""Looks at batches that may take long, without blocking: each runs in the background of its event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from batch_bridge._core.models import Ended, InProgress

GRACE: Final = 2.0
"""Seconds that a look is waited for: nearly all are done by then."""

Look = Callable[[], Coroutine[Any, Any, InProgress | Ended]]


class Background:
    """The looks of one provider that are on their way, one for each batch at most."""

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._tasks: dict[str, asyncio.Task[InProgress | Ended]] = {}

    async def look(self, batch: str, look: Look) -> InProgress | Ended:
        """Return what a look shows; where it takes longer, that it is on its way, and later what it has shown.

        A look belongs to the loop that began it. Another loop waits for it as long as that one runs.

        Raises:
            Exception: What the look has raised.
        """
        loop = asyncio.get_running_loop()
        task = self._tasks.get(batch)
        if task is not None and not task.done() and not task.get_loop().is_running():
            task = None  # its loop has ended, and it will not continue
        is_new = task is None
        if task is None:
            task = self._tasks[batch] = loop.create_task(look())
        is_own = task.get_loop() is loop
        if is_new:
            try:
                await asyncio.wait((task,), timeout=self._grace)
            except asyncio.CancelledError:
                task.cancel()
                raise
        if task.done():
            self._tasks.pop(batch, None)
            if task.cancelled():  # by `close`, of another loop perhaps: nothing is known
                return InProgress(looking=True)
            return task.result()
        return InProgress(looking=True, news=_news(task) if is_own else None)

    def forget(self, batch: str) -> None:
        """Cancel a look whose result no caller will ask for."""
        task = self._tasks.pop(batch, None)
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            task.cancel()

    async def close(self) -> None:
        """End the looks of the running loop."""
        loop = asyncio.get_running_loop()
        mine = {batch: task for batch, task in self._tasks.items() if task.get_loop() is loop}
        for batch, task in mine.items():
            del self._tasks[batch]
            task.cancel()
        await asyncio.gather(*mine.values(), return_exceptions=True)


def _news(task: "asyncio.Task[InProgress | Ended]") -> "asyncio.Future[None]":
    news: asyncio.Future[None] = task.get_loop().create_future()

    def tell(_: object) -> None:
        if not news.done():
            news.set_result(None)

    task.add_done_callback(tell)
    return news
