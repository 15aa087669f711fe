"""An event loop on a thread, for one Batcher or for many: the thread is most of what an idle Batcher costs."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from batch_bridge._host import late_threads as _threads

Main: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Ended: TypeAlias = Callable[[BaseException | None], None]


class Work:
    """What runs on the loop, seen from other threads.

    Args:
        main: Makes the coroutine that runs there.
        ended: Called there once it has ended, with what it raised; or with why it could not be begun.
        is_alone: Whether it has the thread for itself, which ends with it.

    Attributes:
        thread: Where it runs.
    """

    def __init__(self, main: Main, ended: Ended, *, is_alone: bool) -> None:
        self._main = main
        self._ended = ended
        self._is_alone = is_alone
        self._over = threading.Event()
        self.thread = threading.current_thread()  # until it is begun

    async def run(self) -> None:
        """Run it. Called on the loop."""
        try:
            await self._main()
        except BaseException as error:  # noqa: BLE001  # it is handed on
            self.end(error)
        else:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Mark it as ended."""
        try:
            self._ended(error)
        finally:
            self._over.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended; so many seconds at most."""
        if self._is_alone:
            self.thread.join(timeout)
        else:
            self._over.wait(timeout)

    def is_alive(self) -> bool:
        """Return whether it has not ended yet."""
        return self.thread.is_alive() if self._is_alone else not self._over.is_set()

    @property
    def is_here(self) -> bool:
        """Whether this is the thread that it runs on."""
        return threading.current_thread() is self.thread


class LoopThread:
    """A thread with an event loop, for as long as something runs on it; the next piece of work starts another one.

    Args:
        name: What the thread is called.
        is_shared: More than one thing is run on it.
        beforehand: Its pool of threads is started with it: there may be no others later.
    """

    def __init__(self, name: str, *, is_shared: bool = False, beforehand: bool = _threads.REFUSES_LATE_THREADS) -> None:
        self._beforehand = beforehand
        self._name = name
        self._is_shared = is_shared
        self._lock = threading.Lock()
        self._new: list[Work] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event | None = None
        self._process = os.getpid()

    def start(self, main: Main, ended: Ended) -> Work:
        """Run something beside what runs already. From any thread.

        Raises:
            RuntimeError: No thread can be started.
        """
        work = Work(main, ended, is_alone=not self._is_shared)
        with self._lock:
            if self._process != os.getpid():  # forked: the thread did not come along
                self._process, self._thread, self._loop, self._new = os.getpid(), None, None, []
            self._new.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                work.thread = self._thread
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread, self._new = None, []
                    raise
            else:
                work.thread = self._thread
                if self._loop is not None and self._news is not None:
                    self._loop.call_soon_threadsafe(self._news.set)
        return work

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            _threads.run(self._serve(), beforehand=self._beforehand)
        except BaseException as caught:  # noqa: BLE001  # it is handed on
            error = caught
        with self._lock:
            if self._thread is not threading.current_thread():
                return
            left, self._new, self._thread, self._loop = self._new, [], None, None
        for work in left:  # the loop could not be made
            work.end(error)

    async def _serve(self) -> None:
        news = asyncio.Event()
        running: set[asyncio.Task[None]] = set()
        while True:
            news.clear()
            with self._lock:
                self._loop, self._news = asyncio.get_running_loop(), news
                new, self._new = self._new, []
                if not new and not running:
                    self._thread = self._loop = None
                    return
            running |= {asyncio.create_task(work.run()) for work in new}
            waiting = asyncio.create_task(news.wait())
            done, _ = await asyncio.wait((*running, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            running -= done
