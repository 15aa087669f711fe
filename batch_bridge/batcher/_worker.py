"""The inside of a Batcher: an engine on another thread, and the submissions of its callers."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeAlias, TypeVar

from batch_bridge._core import clock as _clock
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.closing import Closing
from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import Closed, Errored, Outcome, Request, Succeeded
from batch_bridge._core.wording.log import about, logger_of
from batch_bridge._engine import Engine
from batch_bridge._engine.standstill import Standstill
from batch_bridge._host.batch_notices import batch_notices
from batch_bridge._host.callbacks import Callbacks, listen
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.eta import EtaClock, Whereabouts
from batch_bridge._host.file_commands import FileCommands
from batch_bridge._host.garbage_collector import relaxed
from batch_bridge._host.loop_thread import LoopThread, Work
from batch_bridge._host.report import Report, of_batches
from batch_bridge._host.uncollected import warn_of_uncollected
from batch_bridge._ledger.in_memory import MemoryRows
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.make import durable, ledger_in
from batch_bridge._ledger.patience import Patience, PatientRows
from batch_bridge._ledger.rows import Rows
from batch_bridge._money import Account, Cost, receipt
from batch_bridge._node.running_loop import is_on_loop
from batch_bridge._sqlite.file import open_file
from batch_bridge._status.journal import Journal, Look
from batch_bridge._status.models import Threads
from batch_bridge.batcher._hands import Hands
from batch_bridge.batcher._inside import USUAL, Inside
from batch_bridge.batcher._look import look_at_items
from batch_bridge.batcher._retained import Retained
from batch_bridge.batcher._submission import Ended, PendingRequest, Status, Submission, hand_back
from batch_bridge.batcher._waiters import Waiters
from batch_bridge.bridge import Bridge
from batch_bridge.errors import BatcherClosedError
from batch_bridge.events import Delivered, Progress

_CHUNK = 1000
"""Outcomes that are read at once."""
_LOOK = 5.0
"""Seconds that a caller that does not wait for a batch still waits for one look at it."""

_GLANCE = 1.0
"""Seconds after which a caller that waits for the worker's thread checks whether it is alive."""

_MANY = 1000
"""Requests that wait, from which on the garbage collector is relaxed."""

_NO_CALLBACKS = Callbacks()

T = TypeVar("T")
Figures: TypeAlias = tuple[list[Closed], Callable[[], list[Account]], tuple[str, ...]]
"""What a report is made of: ended batches, what returns what each request has used, and what is wrong now."""

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
        self._relax_gc = relax_gc
        self._is_relaxed = False
        self._relaxing = contextlib.ExitStack()
        self._listeners = listen(callbacks, self._look)
        self._eta: EtaClock | None = None
        self._opened_at = _clock.now().timestamp()
        self._bridge = bridge
        self._path = path
        self._retained = retained
        self._give_up_after = give_up_after
        self._peek = peek
        self._process = os.getpid()
        self._items: dict[str, object] | None = {} if shows_items else None
        self._ready: set[str] = set()
        self._untold: set[str] = set()
        self._sent = threading.Event()
        self._inbox: deque[Submission] = deque()
        self._flush_asked = False
        self._waiters = Waiters()
        self._rows: Rows = MemoryRows()
        self._scheduled = threading.Lock()
        self._gate = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine_loop: EngineLoop | None = None
        self._stop = asyncio.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        self._patience: Patience | None = None
        self._last: Figures = ([], list, ())
        self._closed = False
        self._is_clean = False
        self._has_warned = False
        self._opened = threading.Event()
        self._inside = inside
        self._place = inside.place or LoopThread(f"batcher {bridge.name}")
        self._work: Work | None = None

    @property
    def bridge(self) -> Bridge:
        """Whose engine it runs."""
        return self._bridge

    @property
    def is_idle(self) -> bool:
        """Whether no caller waits for an answer, and nothing was handed in."""
        return self._idle.is_set()

    def open(self) -> None:
        """Start the thread, and return once the file is open; on an event loop at once. Called once, before all else.

        Raises:
            RunFileError: The file is broken, open elsewhere, or out of reach. On an event loop `opened` raises it, as
                does every submission.
        """
        self._work = self._place.start(self._run, self._ended)
        if not is_on_loop():
            self.opened()

    def opened(self) -> None:
        """Wait until the file is open.

        Raises:
            RunFileError: As `open`.
        """
        self._opened.wait()
        if self._broken is not None:
            raise self._broken

    # -- called from any thread ------------------------------------------------------------------------------

    def hand_in(self, submission: Submission) -> None:
        """Take a submission. Its future is resolved when every request of it has ended.

        Raises:
            BatcherClosedError: The worker is closed, or belongs to another process.
        """
        if self._is_elsewhere:
            raise BatcherClosedError(
                f"this Batcher belongs to process {self._process}, which was forked: its thread does not exist here, "
                "so no request would be answered; create a Batcher in each process, after the fork"
            )
        if self._broken is not None:
            raise self._broken
        with self._gate:
            if self._closed:
                raise BatcherClosedError("this Batcher is closed; create another one, or call before close()")
            if self._idle.is_set():
                self._idle.clear()
            self._inbox.append(submission)
        self._call(self._take_in)

    def flush(self) -> None:
        """Send what has been handed in before this call."""
        self.hand_in(Submission([], concurrent.futures.Future(), flush=True))

    def hear(self, names: Collection[str] | None) -> None:
        """Look at batches at once that have news. From any thread; what is not open yet looks at all when it opens."""
        if self._engine_loop is not None and not self._is_elsewhere:
            self._engine_loop.hear(names)

    def close(self, *, wait: bool) -> None:
        """End the thread. With `wait`, flush and wait until every submission has been answered. Idempotent.

        Without a waiting caller it takes a minute at most. In a forked process it does nothing.
        """
        if self._is_elsewhere:
            return
        self._opened.wait()
        was_open = not self._closed
        deadline = time.monotonic() + self._inside.patience
        if wait and was_open:
            flushed: concurrent.futures.Future[list[Ended]] = concurrent.futures.Future()
            self._sent.clear()
            self.hand_in(Submission([], flushed, flush=True))
            flushed.result()
            self._idle.wait(self._inside.patience if self._peek else None)
            if self._peek and not self._sent.wait(max(deadline - time.monotonic(), 0)):
                logger.warning(
                    "%s: not every request could be sent; the rest is stored, and sent when the file is opened again",
                    self._bridge.name,
                    extra=about(bridge=self._bridge.name),
                )
            self._is_clean = self._broken is None
        self._closed = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)
        assert self._work is not None  # noqa: S101  # it is open
        self._work.join(max(deadline - time.monotonic(), self._inside.leave) if self._peek else None)
        if self._work.is_alive():
            logger.warning(
                "%s: a call to the provider is still under way; its result is looked up when the file is opened again",
                self._bridge.name,
                extra=about(bridge=self._bridge.name),
            )
        if wait and was_open and self._broken is not None:  # perhaps no caller has seen it yet
            raise self._broken

    def end_soon(self) -> None:
        """Do what `close(wait=False)` does, without blocking: for callers on any thread, such as a finalizer."""
        if self._is_elsewhere:
            return
        self._closed = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)

    def warn_of_uncollected(self) -> None:
        """Log which batches no later process collects: those of a Batcher without a file. From any thread, once."""
        if self._path is not None or self._is_elsewhere or self._engine_loop is None or self._bridge.mode == "realtime":
            return
        if not self._has_warned:
            self._has_warned = True
            engine = self._engine_loop.engine
            cure = 'With Batcher(…, path="batcher.db"), the next run with the same requests collects them'
            warn_of_uncollected(engine.sent() if engine.is_open else {}, cure)

    def on_loop(self, function: Callable[[], T]) -> T:
        """Call a function on the worker's own event loop, and return what it returns; what it raises passes."""
        if not self._is_elsewhere:
            self._opened.wait()
        if not self._can_call:
            return function()
        return self._call_there(function).result(self._inside.patience)

    async def aon_loop(self, function: Callable[[], T]) -> T:
        """Do what `on_loop` does, without blocking."""
        if not self._opened.is_set() and not self._is_elsewhere:
            await asyncio.to_thread(self._opened.wait)
        if not self._can_call:
            return function()
        return await asyncio.wrap_future(self._call_there(function))

    @property
    def _can_call(self) -> bool:
        return self._loop is not None and not self._closed and not self._is_elsewhere and not self._is_here

    @property
    def _is_here(self) -> bool:
        """Whether this is the thread that answers."""
        return self._work is not None and self._work.is_here

    def _call_there(self, function: Callable[[], T]) -> "concurrent.futures.Future[T]":
        async def call() -> T:
            return function()

        assert self._loop is not None  # noqa: S101  # `_can_call`
        return asyncio.run_coroutine_threadsafe(call(), self._loop)

    def queued_items(self) -> list[object]:
        """Return the items that wait to be sent, oldest first; called on the worker's own thread."""
        if self._engine_loop is None or self._items is None:
            return []
        return [self._items[request_id] for request_id in self._engine_loop.engine.waiting]

    def cancel(self) -> int:
        """End as cancelled all that is not answered, and return how many requests that is. Durable when it returns.

        Raises:
            RuntimeError: It was called on the worker's own thread, by a callback.
        """
        if not self._is_elsewhere:
            self._opened.wait()
        if self._loop is None or self._closed or self._is_elsewhere:
            return 0
        if self._is_here:
            raise RuntimeError(
                "Batcher.cancel() was called by a callback on the Batcher's own thread, and would wait for itself; "
                "use callback_workers=1, or cancel from another thread"
            )
        work = self._cancel()
        try:
            cancelling = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop has ended meanwhile
            work.close()
            return 0
        while True:
            try:
                return cancelling.result(_GLANCE)
            except concurrent.futures.CancelledError:  # the worker has closed meanwhile
                return 0
            except TimeoutError:
                if cancelling.done():
                    raise
                if self._work is None or not self._work.is_alive():
                    return 0

    def report(self) -> Report:
        """Return what was done and what it cost; of a worker that has closed, how it was then.

        Raises:
            RuntimeError: It was called on the worker's own thread, by a callback.
        """
        if not self._is_elsewhere:
            self._opened.wait()
        if self._is_here:
            raise RuntimeError(
                "Batcher.report() was called by a callback on the Batcher's own thread, and would wait for itself; "
                "give the Batcher callback_workers=1, or ask from another thread"
            )
        closed, accounts, problems = self._ask_figures() or self._last
        lines = [line for account in accounts() for line in account.each()]
        return of_batches(
            closed, receipt([(self._bridge.prices, lines)]), threads=self._waiters.answered, problems=problems
        )

    def _ask_figures(self) -> Figures | None:
        """Return what a report is made of; `None` where the worker's loop has ended."""
        if self._loop is None or self._is_elsewhere or self._work is None or not self._work.is_alive():
            return None
        work = self._figures()
        try:
            asking = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop has ended meanwhile
            work.close()
            return None
        while not asking.done() and self._work.is_alive():
            concurrent.futures.wait((asking,), timeout=_GLANCE)
        return asking.result(0) if asking.done() and not asking.cancelled() else None

    async def _figures(self) -> Figures:
        assert self._engine_loop is not None  # noqa: S101  # set before the loop takes calls
        engine = self._engine_loop.engine
        return await engine.closed_batches(), await engine.accounts_unread(), engine.problems

    async def _cancel(self) -> int:
        assert self._engine_loop is not None  # noqa: S101  # set before the loop takes calls
        return len(await self._engine_loop.cancel(None if self._peek else self._waiters.ids))

    @property
    def _is_elsewhere(self) -> bool:
        """Whether this is a process that was forked off the one whose thread answers."""
        return os.getpid() != self._process

    # -- on the worker's own thread ------------------------------------------------------------------------------

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None and self._scheduled.acquire(blocking=False):
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:
                self._scheduled.release()
                raise BatcherClosedError("this Batcher is closed; create another one, or call before close()") from None

    def _take_in(self) -> None:
        self._scheduled.release()
        if self._opened.is_set():  # else they are taken in once it is open
            self._take()

    def _take(self) -> None:
        assert self._engine_loop is not None  # noqa: S101  # it is open
        taken: list[Request] = []
        while self._inbox:
            submission = self._inbox.popleft()
            self._flush_asked = self._flush_asked or submission.flush
            self._waiters.add(submission)
            taken += submission.requests
            if self._listeners is None:
                submission.requests.clear()  # the list that its caller holds, too
            if not submission.places:
                hand_back([submission], Submission.resolve)
        self._engine_loop.collect(taken)
        self._relax()
        if self._flush_asked or self._peek:
            self._engine_loop.wake()
        self._look_whether_idle()

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self._broken = error  # raised to every waiting caller
        with self._gate:  # nothing is handed in behind our back
            self._closed = True
        self._fail_all()
        self._idle.set()
        self._sent.set()
        self._opened.set()

    def _fail_all(self) -> None:
        reason = self._broken or BatcherClosedError(
            "this Batcher was closed before the batch had ended; with path= the next equal request gets the answer"
        )
        submissions = {*self._waiters.clear(), *self._inbox}
        self._inbox.clear()
        self._relax()
        hand_back(submissions, lambda submission: submission.fail(reason))

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            file: Rows | None = None
            if self._path is not None:
                _, kept = await stack.enter_async_context(open_file(self._path))
                file = kept
                tell = None if self._listeners is None else self._listeners.tell
                self._patience = Patience("ledger", tell=tell)
                self._rows = PatientRows(file, self._patience)
            rows, name = self._rows, self._bridge.name
            ledger = durable(rows, name) if self._peek else ledger_in(rows, name, most_closed=self._inside.most_closed)
            engine = self._bridge.engine(ledger)
            engine.standstill = Standstill(self._give_up_after)
            self._engine_loop = EngineLoop(
                engine, self._settled, self._is_flush_asked, lambda _: None, self._bridge.linger
            )
            self._eta = EtaClock("batcher", [engine], self._whereabouts)
            if self._peek or self._items is not None:
                self._engine_loop.on_collected = self._collected
                self._engine_loop.on_turn = self._turned
                self._engine_loop.collects_meanwhile = self._peek
            if self._retained is not None:
                self._engine_loop.tidy = partial(self._retained.tidy, rows, ledger, self._forget)
            if self._listeners is not None:
                self._listeners.follow(engine)
                stack.push_async_exit(Closing((self._listeners.close,)))
            await self._engine_loop.open()
            if file is not None:
                await self._keep_journal(file, stack)
            await self._read_items(ledger)
            await self._open_notices(engine, stack)
            stack.push_async_exit(Closing([provider.aclose for provider in self._bridge.providers]))
            self._opened.set()
            self._take()
            if self._closed:  # meanwhile, on an event loop that did not wait
                self._stop.set()
            await self._drive(self._engine_loop)
            await asyncio.gather(*self._deliveries)
            await self._engine_loop.finish()
            if self._is_clean and self._retained is not None:
                await self._retained.clear(rows, self._forget)
            self._last = await self._figures()

    async def _drive(self, engine_loop: EngineLoop) -> None:
        """Answer what comes until it is closed, or cannot continue."""
        driving = asyncio.create_task(engine_loop.run())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((driving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._closed = True
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

    async def _open_notices(self, engine: Engine, stack: contextlib.AsyncExitStack) -> None:
        """Send notices of batches that end, if the bridge has a notifier."""
        file = "" if self._path is None else os.fspath(self._path)
        notices = batch_notices(self._bridge.name, engine, self._bridge.notifier, self._rows, file)
        if notices is not None:
            stack.push_async_exit(Closing((notices.close,)))
            await notices.open()
            notices.send_soon()

    async def _read_items(self, ledger: Ledger) -> None:
        """Have the items at hand that a process before this one has left queued."""
        if self._items is not None:
            kept = await ledger.requests([waiting.id for waiting in await ledger.queue()])
            self._items.update((request.id, _messages.decode(request.item)) for request in kept)

    def _is_flush_asked(self) -> timedelta | None:
        asked, self._flush_asked = self._flush_asked, False
        return timedelta(0) if asked else None

    def _settled(self, request_ids: Iterable[str]) -> None:
        ended = tuple(request_ids)
        wanted = self._waiters.waited_for(ended)
        if wanted:
            if self._peek:
                self._ready.update(wanted)
            self._start(self._deliver(wanted))
        if self._retained is not None and len(wanted) < len(ended):  # of a process before this one
            asked = set(wanted)
            self._start(self._retained.note(self._rows, [each for each in ended if each not in asked], _clock.now()))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        delivery = asyncio.get_running_loop().create_task(work)
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._delivered_to)

    async def _forget(self, request_ids: Sequence[str]) -> None:
        """Delete outcomes that no caller has asked for meanwhile. In a turn, so that no lookup runs beside it."""
        assert self._engine_loop is not None  # noqa: S101
        await self._engine_loop.engine.forget([each for each in request_ids if each not in self._waiters])

    def _collected(self, requests: list[Request]) -> None:
        """Answer callers that do not wait that their requests are queued; look first at those on their way."""
        assert self._engine_loop is not None  # noqa: S101
        if self._items is not None:
            self._items.update((request.id, _messages.decode(request.item)) for request in requests)
        if not self._peek:
            return
        engine = self._engine_loop.engine
        taken_in = [request.id for request in requests]
        self._untold.update(taken_in)
        self._tell_pending(request_id for request_id in taken_in if not engine.is_sent(request_id))
        if self._untold:
            asyncio.get_running_loop().call_later(_LOOK, self._tell_pending, taken_in)

    def _tell_pending(self, request_ids: Iterable[str]) -> None:
        """Answer callers that do not wait that there is no outcome yet, unless one is about to be delivered."""
        assert self._engine_loop is not None  # noqa: S101
        engine = self._engine_loop.engine
        done = []
        for request_id in request_ids:
            if request_id in self._untold and request_id not in self._ready:
                self._untold.discard(request_id)
                submission = self._waiters.pop(request_id)
                status: Status = "in_flight" if engine.is_sent(request_id) else "queued"
                if submission is not None and submission.put(((request_id, PendingRequest(status)),)):
                    done.append(submission)
        hand_back(done, Submission.resolve)
        self._look_whether_idle()

    def _turned(self) -> None:
        """Answer callers that do not wait, after due batches have been looked at; drop items that are sent."""
        assert self._engine_loop is not None  # noqa: S101
        engine = self._engine_loop.engine
        if self._items is not None and len(self._items) > engine.queued:
            unsent = {each for each in self._items if engine.knows(each) and not engine.is_sent(each)}
            self._items = {each: item for each, item in self._items.items() if each in unsent}
        if not self._peek:
            return
        self._tell_pending(tuple(self._untold))
        if not engine.queued and not engine.unsent and not self._flush_asked and not self._inbox:
            self._sent.set()
        self._look_whether_idle()

    async def _deliver(self, request_ids: list[str]) -> None:
        assert self._engine_loop is not None  # noqa: S101
        for start in range(0, len(request_ids), _CHUNK):
            chunk = request_ids[start : start + _CHUNK]
            outcomes = await self._engine_loop.engine.outcomes(chunk)
            done = []
            told: list[tuple[Request, Outcome]] = []
            for submission, ended in self._waiters.share_out(outcomes):
                if submission.put(ended.items()):
                    done.append(submission)
                if self._listeners is not None:
                    told += [(submission.requests[submission.places[each]], ended[each]) for each in ended]
            if self._peek:
                self._ready.difference_update(chunk)
                self._untold.difference_update(outcomes)
                self._tell_pending(each for each in chunk if each not in outcomes)
                passing = [request_id for request_id, outcome in outcomes.items() if is_transient(outcome)]
                await self._engine_loop.engine.forget(passing)  # before delivery: the next equal item asks again
            elif self._retained is not None:  # a process that dies may ask again, except for passing failures
                self._engine_loop.forget(each for each, outcome in outcomes.items() if is_transient(outcome))
                if answered := [each for submission in done for each in submission.places]:
                    await self._retained.note(self._rows, answered, _clock.now())
            else:
                self._engine_loop.forget(outcomes)
            self._look_whether_idle()  # before they are told: who closes it then finds it idle
            hand_back(done, Submission.resolve)
            await self._tell(told)
        self._look_whether_idle()

    async def _tell(self, told: list[tuple[Request, Outcome]]) -> None:
        if self._listeners is None or not told:
            return
        self._listeners.tell(Delivered(bridge=self._bridge.name, requests=tuple(request.id for request, _ in told)))
        for request, outcome in told:
            cost = await self._cost_of(request.id)
            self._listeners.item(_messages.decode(request.item), _result(request.id, outcome), cost)
        if not self._waiters and not self._inbox:
            self._listeners.complete()

    async def _cost_of(self, request_id: str) -> Cost | None:
        """Return what a request has cost, and forget it; `None` if no callback wants it."""
        assert self._engine_loop is not None  # noqa: S101  # it is open
        engine = self._engine_loop.engine
        if self._listeners is None or not self._listeners.wants_item_cost:
            return None
        lines = engine.lines_of(request_id)
        engine.forget_asker(request_id)
        return await asyncio.to_thread(receipt, [(engine.prices, lines)])

    def _look(self) -> Progress:
        if self._engine_loop is None:
            return Progress(0, 0, 0, 0, 0)
        engine = self._engine_loop.engine
        return Progress(
            self._waiters.answered,
            self._waiters.asked,
            engine.queued,
            engine.in_flight,
            engine.batches_in_flight,
            0,
            engine.progress,
            None if self._eta is None else self._eta.eta,
        )

    def _whereabouts(self) -> Whereabouts:
        return (
            Threads(self._waiters.asked, self._waiters.answered, 0, self._waiters.asked - self._waiters.answered, 0),
            (),
            None,
        )

    def _shown(self) -> Look:
        assert self._engine_loop is not None  # noqa: S101  # it is open
        return look_at_items(
            self._bridge,
            self._engine_loop,
            asked=self._waiters.asked,
            ended=self._waiters.answered,
            failures=self._waiters.failures,
            begun_at=self._opened_at,
        )

    def _delivered_to(self, delivery: asyncio.Task[None]) -> None:
        self._deliveries.discard(delivery)
        if not delivery.cancelled() and (error := delivery.exception()) is not None:
            self._broken = error
            self._stop.set()

    def _look_whether_idle(self) -> None:
        if not self._waiters and not self._inbox:
            self._idle.set()
        self._relax()

    def _relax(self) -> None:
        """Relax the garbage collector while many wait."""
        if self._relax_gc and not self._is_relaxed and len(self._waiters) >= _MANY:
            self._is_relaxed = True
            self._relaxing.enter_context(relaxed())
        elif self._is_relaxed and not self._waiters:
            self._relaxing.close()
            self._is_relaxed = False


def _result(request_id: str, outcome: Outcome) -> object:
    if isinstance(outcome, Succeeded):
        return _messages.decode(outcome.answer)
    return _outcome.to_error(request_id, outcome)


def is_transient(outcome: Outcome) -> bool:
    """Return whether the same request may end another way when it is sent again."""
    return not isinstance(outcome, Succeeded | Errored) or (isinstance(outcome, Errored) and outcome.retryable)
