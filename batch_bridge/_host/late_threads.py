"""An event loop that can still send what is queued when its program ends, on the Pythons that start no threads by then.

Python 3.12.0 and 3.12.1 refuse each new thread from the moment a program begins to end ("can't create new thread at
interpreter shutdown"), before `threading` waits for those that run. Older ones do not, and newer ones wait first
(https://github.com/python/cpython/issues/113964). An upload needs threads, so there they are started beforehand.
"""

import asyncio
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

REFUSES_LATE_THREADS: Final = (3, 12, 0) <= sys.version_info[:3] <= (3, 12, 1)
_THREADS: Final = 8


def run(main: Coroutine[Any, Any, None], *, beforehand: bool = REFUSES_LATE_THREADS) -> None:
    """Do what `asyncio.run` does; what it runs may use threads until the program has ended.

    Args:
        main: What is run.
        beforehand: Start the threads now: there may be no others later.
    """
    with asyncio.Runner(loop_factory=_loop if beforehand else None) as runner:
        runner.run(main)


def is_refused(error: BaseException) -> bool:
    """Return whether Python has refused to start a thread."""
    return isinstance(error, RuntimeError) and "new thread" in str(error)


def _loop() -> asyncio.AbstractEventLoop:
    """Return a loop with an executor whose threads run already."""
    loop, pool = asyncio.new_event_loop(), ThreadPoolExecutor(_THREADS, "batch_bridge")
    all_run = threading.Barrier(_THREADS)
    for _ in range(_THREADS):
        pool.submit(all_run.wait)

    async def shut_down(_: float | None = None) -> None:  # asyncio's own starts a thread
        pool.shutdown(wait=False)

    loop.set_default_executor(pool)
    loop.shutdown_default_executor = shut_down  # type: ignore[method-assign]
    return loop
