"""The inside of a Batcher: an engine on another thread, and the submissions of its callers."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Collection
from datetime import timedelta
from functools import partial

from batch_bridge._core import clock as _clock
from batch_bridge._core.closing import Closing
from batch_bridge._core.models import Request
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine import Engine
from batch_bridge._engine.standstill import Standstill
from batch_bridge._host.batch_notices import batch_notices
from batch_bridge._host.callbacks import Callbacks, listen
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.eta import EtaClock
from batch_bridge._host.file_commands import FileCommands
from batch_bridge._host.loop_thread import LoopThread
from batch_bridge._host.report import Report
from batch_bridge._host.uncollected import warn_of_uncollected
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.make import durable, ledger_in
from batch_bridge._ledger.patience import Patience, PatientRows
from batch_bridge._ledger.rows import Rows
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge._sqlite.file import open_file
from batch_bridge._status.journal import Journal, Look
from batch_bridge.batcher._inside import USUAL, Inside
from batch_bridge.batcher._retained import Retained
from batch_bridge.batcher._submission import Ended, Submission, hand_back
from batch_bridge.batcher._worker.backlog import Backlog
from batch_bridge.batcher._worker.deliveries import Deliveries
from batch_bridge.batcher._worker.hands import Hands
from batch_bridge.batcher._worker.look import look_at_items, progress_of, whereabouts_of
from batch_bridge.batcher._worker.pending_callers import PendingCallers
from batch_bridge.batcher._worker.queued_items import QueuedItems
from batch_bridge.batcher._worker.report_figures import NOTHING, ReportFigures, figures_of
from batch_bridge.batcher._worker.thread import WorkerThread
from batch_bridge.bridge import Bridge
from batch_bridge.errors import BatcherClosedError
from batch_bridge.events import Progress

_NO_CALLBACKS = Callbacks()

logger = logger_of(__name__)


class Worker:
    """Takes submissions from any thread and any event loop, and hands their outcomes back there.

    Submissions cross between threads many at once: a crossing costs more than all else that a submission needs.

    Args:
        bridge: Whose engine it runs.
        path: The file that its ledger is kept in, or `None` for memory.
        retained: Keeps the outcomes of answered requests in the ledger, until a clean `close` at the longest. Without
            it they are deleted when they are delivered.
        peek: No caller waits: a submission is answered at once with what is known, and what is new is written down
            first. The outcomes stay in the ledger for good, but for failures that may pass: those are told once.
        shows_items: Have the items of what is queued at hand, for `queued_items`.
        callbacks: What the user wants to be told.
        give_up_after: How long nothing may move until it ends; `None`: forever.
        relax_gc: Relax the garbage collector while many requests wait.
        inside: How it works inside.

    Attributes:
        thread: Where it answers.
    """

    def __init__(
        self,
        bridge: Bridge,
        path: str | os.PathLike[str] | None,
        *,
        retained: Retained | None = None,
        peek: bool = False,
        shows_items: bool = False,
        callbacks: Callbacks = _NO_CALLBACKS,
        give_up_after: timedelta | None = None,
        relax_gc: bool = True,
        inside: Inside = USUAL,
    ) -> None:
        self._listeners = listen(callbacks, self._look)
        self._eta: EtaClock | None = None
        self._opened_at = _clock.now().timestamp()
        self._bridge = bridge
        self._path = path
        self._retained = retained
        self._give_up_after = give_up_after
        self._peek = peek
        self._items = QueuedItems() if shows_items else None
        self._sent = threading.Event()
        self._flush_asked = False
        self._backlog = Backlog(relax_gc=relax_gc)
        self._deliveries = Deliveries(bridge.name, self._backlog, self._listeners, retained, self._delivery_failed)
        self._pending: PendingCallers | None = None
        self._scheduled = threading.Lock()
        self._gate = threading.Lock()
        self._engine_loop: EngineLoop | None = None
        self._broken: BaseException | None = None
        self._patience: Patience | None = None
        self._last = NOTHING
        self._is_clean = False
        self._has_warned = False
        self._inside = inside
        self.thread = WorkerThread(inside.place or LoopThread(f"batcher {bridge.name}"), inside.patience)

    @property
    def bridge(self) -> Bridge:
        """Whose engine it runs."""
        return self._bridge

    @property
    def is_idle(self) -> bool:
        """Whether no caller waits for an answer, and nothing was handed in."""
        return self._backlog.idle.is_set()

    def open(self) -> None:
        """Start the thread, and return once the file is open; on an event loop at once. Called once, before all else.

        Raises:
            RunFileError: The file is broken, open elsewhere, or out of reach. On an event loop `opened` raises it, as
                does every submission.
        """
        self.thread.start(self._run, self._ended)
        if not is_on_loop():
            self.opened()

    def opened(self) -> None:
        """Wait until the file is open.

        Raises:
            RunFileError: As `open`.
        """
        self.thread.opened.wait()
        if self._broken is not None:
            raise self._broken

    # -- called from any thread ------------------------------------------------------------------------------

    def hand_in(self, submission: Submission) -> None:
        """Take a submission. Its future is resolved when every request of it has ended.

        Raises:
            BatcherClosedError: The worker is closed, or belongs to another process.
        """
        if self.thread.is_elsewhere:
            raise BatcherClosedError(
                f"this Batcher belongs to process {self.thread.process}, which was forked: its thread does not exist "
                "here, so no request would be answered; create a Batcher in each process, after the fork"
            )
        if self._broken is not None:
            raise self._broken
        backlog = self._backlog
        with self._gate:
            if self.thread.is_closed:
                raise BatcherClosedError("this Batcher is closed; create another one, or call before close()")
            if backlog.idle.is_set():
                backlog.idle.clear()
            backlog.inbox.append(submission)
        self._call_take_in()

    def flush(self) -> None:
        """Send what has been handed in before this call."""
        self.hand_in(Submission([], concurrent.futures.Future(), flush=True))

    def hear(self, names: Collection[str] | None) -> None:
        """Look at batches at once that have news. From any thread; what is not open yet looks at all when it opens."""
        if self._engine_loop is not None and not self.thread.is_elsewhere:
            self._engine_loop.hear(names)

    def close(self, *, wait: bool) -> None:
        """End the thread. With `wait`, flush and wait until every submission has been answered. Idempotent.

        Without a waiting caller it takes a minute at most. In a forked process it does nothing.
        """
        if self.thread.is_elsewhere:
            return
        self.thread.opened.wait()
        was_open = not self.thread.is_closed
        deadline = time.monotonic() + self._inside.patience
        if wait and was_open:
            flushed: concurrent.futures.Future[list[Ended]] = concurrent.futures.Future()
            self._sent.clear()
            self.hand_in(Submission([], flushed, flush=True))
            flushed.result()
            self._backlog.idle.wait(self._inside.patience if self._peek else None)
            if self._peek and not self._sent.wait(max(deadline - time.monotonic(), 0)):
                logger.warning(
                    "%s: not every request could be sent; the rest is stored, and sent when the file is opened again",
                    self._bridge.name,
                    extra=about(bridge=self._bridge.name),
                )
            self._is_clean = self._broken is None
        self.thread.end_soon()
        if not self.thread.join(max(deadline - time.monotonic(), self._inside.leave) if self._peek else None):
            logger.warning(
                "%s: a call to the provider is still under way; its result is looked up when the file is opened again",
                self._bridge.name,
                extra=about(bridge=self._bridge.name),
            )
        if wait and was_open and self._broken is not None:  # perhaps no caller has seen it yet
            raise self._broken

    def end_soon(self) -> None:
        """Do what `close(wait=False)` does, without blocking: for callers on any thread, such as a finalizer."""
        if not self.thread.is_elsewhere:
            self.thread.end_soon()

    def warn_of_uncollected(self) -> None:
        """Log which batches no later process collects: those of a Batcher without a file. From any thread, once."""
        if self._path is not None or self.thread.is_elsewhere or self._engine_loop is None:
            return
        if not self._has_warned and self._bridge.mode != "realtime":
            self._has_warned = True
            engine = self._engine_loop.engine
            cure = 'With Batcher(…, path="batcher.db"), the next run with the same requests collects them'
            warn_of_uncollected(engine.sent() if engine.is_open else {}, cure)

    def queued_items(self) -> list[object]:
        """Return the items that wait to be sent, oldest first; called on the worker's own thread."""
        if self._engine_loop is None or self._items is None:
            return []
        return self._items.waiting(self._engine_loop.engine)

    def cancel(self) -> int:
        """End as cancelled all that is not answered, and return how many requests that is. Durable when it returns.

        Raises:
            RuntimeError: It was called on the worker's own thread, by a callback.
        """
        thread = self.thread
        thread.wait_opened()
        if thread.loop is None or thread.is_closed or thread.is_elsewhere:
            return 0
        if thread.is_here:
            raise RuntimeError(
                "Batcher.cancel() was called by a callback on the Batcher's own thread, and would wait for itself; "
                "use callback_workers=1, or cancel from another thread"
            )
        return thread.ask(self._cancel) or 0

    def report(self) -> Report:
        """Return what was done and what it cost; of a worker that has closed, how it was then.

        Raises:
            RuntimeError: It was called on the worker's own thread, by a callback.
        """
        thread = self.thread
        thread.wait_opened()
        if thread.is_here:
            raise RuntimeError(
                "Batcher.report() was called by a callback on the Batcher's own thread, and would wait for itself; "
                "give the Batcher callback_workers=1, or ask from another thread"
            )
        is_there = thread.loop is not None and not thread.is_elsewhere and thread.is_alive
        figures = (thread.ask(self._figures) if is_there else None) or self._last
        return figures.report(self._bridge.prices, self._backlog.waiters.answered)

    def _call_take_in(self) -> None:
        loop = self.thread.loop
        if loop is not None and self._scheduled.acquire(blocking=False):
            try:
                loop.call_soon_threadsafe(self._take_in)
            except RuntimeError:
                self._scheduled.release()
                raise BatcherClosedError("this Batcher is closed; create another one, or call before close()") from None

    # -- on the worker's own thread ------------------------------------------------------------------------------

    async def _figures(self) -> ReportFigures:
        assert self._engine_loop is not None  # noqa: S101  # set before the loop takes calls
        return await figures_of(self._engine_loop.engine)

    async def _cancel(self) -> int:
        assert self._engine_loop is not None  # noqa: S101  # set before the loop takes calls
        return len(await self._engine_loop.cancel(None if self._peek else self._backlog.waiters.ids))

    def _take_in(self) -> None:
        self._scheduled.release()
        if self.thread.opened.is_set():  # else they are taken in once it is open
            self._take()

    def _take(self) -> None:
        assert self._engine_loop is not None  # noqa: S101  # it is open
        taken: list[Request] = []
        inbox, waiters = self._backlog.inbox, self._backlog.waiters
        while inbox:
            submission = inbox.popleft()
            self._flush_asked = self._flush_asked or submission.flush
            waiters.add(submission)
            taken += submission.requests
            if self._listeners is None:
                submission.requests.clear()  # the list that its caller holds, too
            if not submission.places:
                hand_back([submission], Submission.resolve)
        self._engine_loop.collect(taken)
        self._backlog.relax()
        if self._flush_asked or self._peek:
            self._engine_loop.wake()
        self._backlog.look()

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self._broken = error  # raised to every waiting caller
        with self._gate:  # nothing is handed in behind our back
            self.thread.is_closed = True
        self._fail_all()
        self._backlog.idle.set()
        self._sent.set()
        self.thread.opened.set()

    def _fail_all(self) -> None:
        reason = self._broken or BatcherClosedError(
            "this Batcher was closed before the batch had ended; with path= the next equal request gets the answer"
        )
        hand_back(self._backlog.clear(), lambda submission: submission.fail(reason))

    def _delivery_failed(self, error: BaseException) -> None:
        self._broken = error
        self.thread.stop.set()

    async def _run(self) -> None:
        self.thread.loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            file: Rows | None = None
            rows: Rows = MemoryRows()
            if self._path is not None:
                _, own = await stack.enter_async_context(open_file(self._path))
                file = own
                tell = None if self._listeners is None else self._listeners.tell
                self._patience = Patience("ledger", tell=tell)
                rows = PatientRows(file, self._patience)
            name = self._bridge.name
            ledger = durable(rows, name) if self._peek else ledger_in(rows, name, most_closed=self._inside.most_closed)
            engine = self._bridge.engine(ledger)
            engine.standstill = Standstill(self._give_up_after)
            self._engine_loop = self._loop_of(engine)
            self._eta = EtaClock("batcher", [engine], lambda: whereabouts_of(self._backlog.waiters))
            self._deliveries.open(rows, self._engine_loop, self._pending)
            if self._retained is not None:
                self._engine_loop.tidy = partial(self._retained.tidy, rows, ledger, self._deliveries.forget)
            if self._listeners is not None:
                self._listeners.follow(engine)
                stack.push_async_exit(Closing((self._listeners.close,)))
            await self._engine_loop.open()
            if file is not None:
                await self._keep_journal(file, stack)
            if self._items is not None:
                await self._items.read(ledger)
            await self._open_notices(engine, rows, stack)
            stack.push_async_exit(Closing([provider.aclose for provider in self._bridge.providers]))
            self.thread.opened.set()
            self._take()
            if self.thread.is_closed:  # meanwhile, on an event loop that did not wait
                self.thread.stop.set()
            await self._drive(self._engine_loop)
            await self._deliveries.finish()
            await self._engine_loop.finish()
            if self._is_clean and self._retained is not None:
                await self._retained.clear(rows, self._deliveries.forget)
            self._last = await self._figures()

    def _loop_of(self, engine: Engine) -> EngineLoop:
        engine_loop = EngineLoop(
            engine, self._deliveries.settled, self._is_flush_asked, lambda _: None, self._bridge.linger
        )
        if self._peek:
            self._pending = PendingCallers(self._backlog, engine)
        if self._peek or self._items is not None:
            engine_loop.on_collected = self._collected
            engine_loop.on_turn = self._turned
            engine_loop.collects_meanwhile = self._peek
        return engine_loop

    async def _drive(self, engine_loop: EngineLoop) -> None:
        """Answer what comes until it is closed, or cannot continue."""
        driving = asyncio.create_task(engine_loop.run())
        stopping = asyncio.create_task(self.thread.stop.wait())
        await asyncio.wait((driving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self.thread.is_closed = True
        if self._patience is not None:
            self._patience.hurry()
        engine_loop.stop()  # a submission that is cut off leaves a batch that no ledger knows
        if not driving.done():
            self._fail_all()  # callers need not wait for that
        await driving
        self.warn_of_uncollected()

    async def _keep_journal(self, file: Rows, stack: contextlib.AsyncExitStack) -> None:
        """Write its state for observers of its file, and carry out their commands."""
        assert self._engine_loop is not None  # noqa: S101  # it is open
        journal = Journal(file, "batcher", self._shown, FileCommands(file, Hands(self._engine_loop)))
        stack.push_async_exit(Closing((journal.close,)))
        await journal.open()

    async def _open_notices(self, engine: Engine, rows: Rows, stack: contextlib.AsyncExitStack) -> None:
        """Send notices of batches that end, if the bridge has a notifier."""
        file = "" if self._path is None else os.fspath(self._path)
        notices = batch_notices(self._bridge.name, engine, self._bridge.notifier, rows, file)
        if notices is not None:
            stack.push_async_exit(Closing((notices.close,)))
            await notices.open()
            notices.send_soon()

    def _is_flush_asked(self) -> timedelta | None:
        asked, self._flush_asked = self._flush_asked, False
        return timedelta(0) if asked else None

    def _collected(self, requests: list[Request]) -> None:
        if self._items is not None:
            self._items.add(requests)
        if self._pending is not None:
            self._pending.collected(requests)

    def _turned(self) -> None:
        assert self._engine_loop is not None  # noqa: S101  # it is open
        engine = self._engine_loop.engine
        if self._items is not None:
            self._items.drop_sent(engine)
        if self._pending is not None:
            self._pending.tell_all()
            if not engine.queued and not engine.unsent and not self._flush_asked and not self._backlog.inbox:
                self._sent.set()
            self._backlog.look()

    def _look(self) -> Progress:
        if self._engine_loop is None:
            return Progress(0, 0, 0, 0, 0)
        return progress_of(
            self._backlog.waiters, self._engine_loop.engine, None if self._eta is None else self._eta.eta
        )

    def _shown(self) -> Look:
        assert self._engine_loop is not None  # noqa: S101  # it is open
        return look_at_items(self._bridge, self._engine_loop, self._backlog.waiters, begun_at=self._opened_at)
