"""A queue with a provider behind it, for code without a graph: a call returns when a batch has answered it."""

import asyncio
import concurrent.futures
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Literal, Self, Unpack, get_args, overload

from batch_bridge._cache import ResponseCache
from batch_bridge._core.durations import Duration, Within, duration
from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import Outcome
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.lanes import LaneName
from batch_bridge._core.provider import Provider
from batch_bridge._engine import POLL_PATIENCE
from batch_bridge._host.callbacks import Callbacks, OnEvent, OnItem, OnProgress
from batch_bridge._host.notify import Notify
from batch_bridge._host.report import Report
from batch_bridge._money import Budget, Quote
from batch_bridge._node.given_items import check_item, check_items
from batch_bridge.batcher._atexit import close_at_exit, closed, watch_at_exit
from batch_bridge.batcher._callers import Callers
from batch_bridge.batcher._described_bridge import bridge_of, when_flushed
from batch_bridge.batcher._inside import USUAL, Inside
from batch_bridge.batcher._request_ids import DurableNames, Names, ReturnedNames
from batch_bridge.batcher._request_maker import RequestMaker
from batch_bridge.batcher._retained import Retained
from batch_bridge.batcher._submission import Ended
from batch_bridge.batcher._types import AnswerT, BatcherOptions, ItemT, OnPending, Results, ShouldFlush
from batch_bridge.batcher._worker.worker import Worker
from batch_bridge.bridge import Bridge, Deadline
from batch_bridge.bridge._mode_switch import AnyMode
from batch_bridge.errors import BatchBridgeError
from batch_bridge.providers._callables import Poll, Submit


class Batcher(Generic[ItemT, AnswerT]):
    """Pools the items of many callers, threads and event loops, and answers each from a batch.

    ::

        with Batcher(OpenAIBatch(model="gpt-4o-mini")) as batcher:
            answers = batcher.map(items)

    It runs on its own thread, which also calls the user's async functions; other functions run in worker threads.

    With `path=` it is durable: what was asked and not yet answered is in the file. After a crash, or a
    `close(wait=False)`, the next process that asks for an equal item owns the answer, instead of a new request: the
    first equal item asked gets the first one's, the second the second one's. Within one process an equal item is a new
    request each time. What was answered is forgotten after `retention`, and after a clean `close`: then an equal item
    counts as new.

    With `on_pending="raise"` no call waits: a call without an answer raises `ResultPending` once the
    request is stored. Stored requests are sent as usual, at the latest by `close` and at the end of the
    program. The same call later, in this process or the next, returns the answer or raises `ResultPending`; nothing is
    sent twice. Only equal items that are requested at the same time are several requests. Answers stay in the file;
    a temporary failure is raised once, and the next call sends the request again.

    Two items are equal if their content and their provider are equal. If the provider says what decides an answer
    (`identity`, as the built-in ones do), another model or default makes another request. After you change a function
    of your own, use another `name` or another file.

    For a type checker it is a `Batcher[Item, Answer]`, as its two functions say; with a provider both are `Any`, unless
    they are written down: `batcher: Batcher[str, str] = …`.

    Args:
        provider: Answers the requests; instead of `submit_func` and `poll_func`. Or a `Bridge`, for all else that a
            bridge takes (`Batcher(Bridge(OpenAIBatch(…), attempts=1))`). A bridge has its own name, flush policy and
            so on: of the arguments below it is given those from `give_up_after` on.
        submit_func: `submit_func(items) -> handle` sends a batch; see `Bridge`.
        poll_func: `poll_func(handle) -> None | list | dict` returns the results of an ended batch; see `Bridge`.
        max_batch_size: So many waiting items are sent at once, and no batch holds more.
        max_batch_age: No item waits longer for others (a duration). `None`: forever.
        should_flush_func: `should_flush_func(items, last_flushed) -> bool`, your own reason to send what waits,
            besides size and age. Asked when an item arrives and at every poll interval. `last_flushed` is a naive
            local datetime. What it raises is logged once, with its traceback, and is taken as "no".
        flush: A `FlushPolicy` in place of these three, which also sends after a pause (`max_idle`) or by bytes.
        name: Part of every stored key: a durable Batcher that is renamed does not find its batches again.
        poll_interval: The longest pause between two polls of one batch (a duration).
        poll_patience: How long a batch is left in flight while every look at it fails; see `Bridge`.
        cache: Answers items that were answered before; see `ResponseCache`.
        dedupe: Send equal items as one line, and deliver the answer to each; see `Bridge`.
        mode: A lane, such as `"batch"` or `"flex"`; `"auto"`; or `None` for the mode in the environment. See `Bridge`.
        realtime_below, ladder, deadline, fallback: See `Bridge`.
        budget: What may be spent; see `Budget`. What would pass it ends as `BudgetExceeded`. Without `path=` it counts
            what this Batcher has sent. That of a `Bridge` counts for each Batcher, or Runner, that uses the bridge.
        notify: A URL of apprise, or several, to which a notice goes when a batch has ended or nothing moves: counts and
            the receipt. One that cannot be sent harms nothing. It needs the extra `notify`.
        give_up_after: How long nothing may move (a duration); then who waits gets `Stalled`, and the
            Batcher has ended; see `Runner`. With `path=` another one continues. `None`: it tries forever.
        path: The SQLite file that makes it durable. One process at a time has it open.
        on_pending: `"wait"` for the answer, or `"raise"` a `ResultPending` where it is not there yet; needs `path`.
        retention: How long the file keeps an answer for a process that comes after a crash (a duration),
            to the hour, and the newest million at most. With `on_pending="raise"` answers stay for good.
        on_event: Called with each `Event`; see `batch_bridge.events`. Callbacks may be async; what they raise is logged
            once, and harms nothing.
        on_progress: Called with the newest `Progress` when something has changed.
        on_item: `on_item(item, result)` is called for each item that has ended; the result may be an exception. If it
            has a parameter `cost`, it is given what the item has cost, as a `Cost`.
        on_complete: Called with the `Progress` whenever every item has ended.
        callback_workers: Threads in which callbacks run in parallel; `0` runs them in order, on the Batcher's own
            thread, which a slow one blocks.
        relax_gc: Once a thousand requests wait here, and until all are answered, set the thresholds of Python's garbage
            collector to 20,000, 5 and 5, for the whole process, if they are Python's own, and put them back then: the
            answers of a large batch are many objects without cycles, and looking through them takes a quarter of the
            time. `False` changes nothing.

    Raises:
        TypeError, ValueError: As `Bridge` and `FlushPolicy`.
        RunFileError: The file is damaged, open elsewhere, or unreachable. On an event loop, the constructor does not
            wait for the file; `async with` or the first call raises the error.
    """

    @overload
    def __init__(
        self,
        provider: None = None,
        *,
        submit_func: Callable[[list[ItemT]], Any],
        poll_func: Callable[[Any], Results[AnswerT] | Awaitable[Results[AnswerT]]],
        _inside: Inside = USUAL,
        **options: Unpack[BatcherOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        provider: Provider | Bridge | None = None,
        *,
        submit_func: Submit | None = None,
        poll_func: Poll | None = None,
        _inside: Inside = USUAL,
        **options: Unpack[BatcherOptions],
    ) -> None: ...
    def __init__(
        self,
        provider: Provider | Bridge | None = None,
        *,
        submit_func: Submit | None = None,
        poll_func: Poll | None = None,
        max_batch_size: int = 50_000,
        max_batch_age: Within = timedelta(minutes=30),
        should_flush_func: ShouldFlush | None = None,
        flush: FlushPolicy | None = None,
        name: str = "default",
        poll_interval: Duration = 30,
        poll_patience: Within = POLL_PATIENCE,
        cache: ResponseCache | None = None,
        dedupe: bool = False,
        mode: AnyMode | None = None,
        realtime_below: int | None = None,
        ladder: Sequence[LaneName] | None = None,
        deadline: Deadline | Within = None,
        fallback: Provider | None = None,
        budget: Budget | None = None,
        notify: Notify | None = None,
        give_up_after: Within = None,
        path: str | os.PathLike[str] | None = None,
        on_pending: OnPending = "wait",
        retention: Duration = timedelta(days=7),
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        on_item: OnItem | None = None,
        on_complete: OnProgress | None = None,
        callback_workers: int = 0,
        relax_gc: bool = True,
        _inside: Inside = USUAL,
    ) -> None:
        callbacks = Callbacks(on_event, on_progress, on_item, on_complete, callback_workers)
        callbacks.check("Batcher")
        if should_flush_func is not None and not callable(should_flush_func):
            raise TypeError(f"should_flush_func={should_flush_func!r} is not callable; pass a function, or None")
        if on_pending not in get_args(OnPending):
            raise ValueError(f'Batcher(on_pending={on_pending!r}): pass "wait" or "raise"')
        if on_pending == "raise" and path is None:
            raise ValueError('Batcher(on_pending="raise") needs a file that keeps what is pending; give path=…')
        kept_for = duration(retention, "retention")
        if kept_for is None:
            raise ValueError("Batcher(retention=None) would keep every answer; give a duration, such as '7d'")
        when = None
        if should_flush_func is not None:
            when = when_flushed(should_flush_func, lambda: self._worker.queued_items())  # noqa: PLW0108  # not there yet
        bridge = bridge_of(
            Batcher.__init__,
            provider,
            when,
            submit_func=submit_func,
            poll_func=poll_func,
            max_batch_size=max_batch_size,
            max_batch_age=max_batch_age,
            should_flush_func=should_flush_func,
            flush=flush,
            name=name,
            poll_interval=poll_interval,
            poll_patience=poll_patience,
            cache=cache,
            dedupe=dedupe,
            mode=mode,
            realtime_below=realtime_below,
            ladder=ladder,
            deadline=deadline,
            fallback=fallback,
            budget=budget,
            notify=notify,
        )
        name = bridge.name
        self._peek = peek = on_pending == "raise"
        names: Names | None = None
        retained: Retained | None = None
        if peek:
            names = ReturnedNames(name)
        elif path is not None:
            names = durable = DurableNames(name)
            retained = Retained(name, durable, kept_for, most=_inside.most_retained)
        shows_items = should_flush_func is not None
        self._worker = Worker(
            bridge,
            path,
            retained=retained,
            peek=peek,
            shows_items=shows_items,
            callbacks=callbacks.joined(bridge.callbacks, "Batcher"),
            give_up_after=duration(give_up_after, "give_up_after"),
            relax_gc=relax_gc,
            inside=_inside,
        )
        identity = getattr(bridge.provider, "identity", None) if path is not None else None
        self._requests = RequestMaker(names, identity, self._worker.thread)
        self._callers = Callers(self._worker, names)
        self._worker.open()
        if peek:
            close_at_exit(self._worker)
        elif path is None:
            watch_at_exit(self._worker)

    # -- asking ----------------------------------------------------------------------------------------------

    def submit(self, item: ItemT, *, deadline: Within = None) -> AnswerT:
        """Request one answer and block until a batch has it. From any thread; on an event loop use `asubmit`.

        Args:
            item: Anything JSON can carry, or LangChain messages. Taken as it is now.
            deadline: How long the answer may take (a duration); then it comes from the fallback, see
                `Bridge`. `None` leaves that to the Batcher.

        Returns:
            The answer: JSON, or LangChain messages if the provider returns them.

        Raises:
            RequestFailed, RequestExpired, RequestCancelled: The request ended without an answer.
            JSONError: The item contains something that is not valid JSON.
            BatcherClosedError: The Batcher is closed, or was closed while this call waited.
        """
        answers: list[AnswerT] = self._callers.ask_blocking(
            self._requests.make([check_item(item, "submit()")], deadline), flush=False
        )
        return answers[0]

    def enqueue(self, item: ItemT, *, deadline: Within = None) -> "concurrent.futures.Future[AnswerT]":
        """Ask for one answer as `submit` does, and return at once; the future holds it. From any thread.

        Its callbacks run on the Batcher's own thread, and must not wait for the Batcher. It cannot be cancelled.

        Raises:
            BatcherClosedError: The Batcher is closed. What becomes of the request is raised by the future.
        """
        ended: concurrent.futures.Future[list[Ended]] = concurrent.futures.Future()
        answer: concurrent.futures.Future[AnswerT] = concurrent.futures.Future()
        answer.set_running_or_notify_cancel()
        submission = self._callers.hand_in(self._requests.make([check_item(item, "enqueue()")], deadline), ended)

        def resolve(_: object) -> None:
            try:
                outcomes = self._callers.wait_blocking(submission, ended)
                (result,) = self._callers.unwrap(submission, outcomes, return_exceptions=False)
            except BaseException as error:  # noqa: BLE001  # the future raises it
                answer.set_exception(error)
            else:
                answer.set_result(result)

        ended.add_done_callback(resolve)
        return answer

    async def asubmit(self, item: ItemT, *, deadline: Within = None) -> AnswerT:
        """Request one answer like `submit`, without blocking. Cancelling the caller does not cancel its request."""
        requests = await self._requests.amake([check_item(item, "submit()")], deadline)
        answers: list[AnswerT] = await self._callers.ask(requests, flush=False)
        return answers[0]

    def outcome(self, item: ItemT, *, deadline: Within = None, is_priced: bool = False) -> tuple[str, Outcome]:
        """Request one answer like `submit`, and return the request's id and its outcome, also if it failed.

        LangChain messages in a `Succeeded.answer` remain JSON. With `is_priced` its `cost` tells what was paid, where
        that is known.
        """
        future: concurrent.futures.Future[list[Ended]] = concurrent.futures.Future()
        requests = self._requests.make([check_item(item, "submit()")], deadline, is_priced=is_priced)
        submission = self._callers.hand_in(requests, future)
        return self._callers.first(submission, self._callers.wait_blocking(submission, future))

    async def aoutcome(self, item: ItemT, *, deadline: Within = None, is_priced: bool = False) -> tuple[str, Outcome]:
        """Request one outcome like `outcome`, without blocking."""
        requests = await self._requests.amake([check_item(item, "submit()")], deadline, is_priced=is_priced)
        future: asyncio.Future[list[Ended]] = asyncio.get_running_loop().create_future()
        submission = self._callers.hand_in(requests, future)
        return self._callers.first(submission, await self._callers.wait(submission, future))

    @overload
    def map(
        self,
        items: Iterable[ItemT],
        *,
        deadline: Within = None,
        return_exceptions: Literal[False] = False,
        samples: bool = False,
    ) -> list[AnswerT]: ...
    @overload
    def map(
        self,
        items: Iterable[ItemT],
        *,
        deadline: Within = None,
        return_exceptions: bool,
        samples: bool = False,
    ) -> list[AnswerT | BatchBridgeError]: ...
    def map(
        self,
        items: Iterable[ItemT],
        *,
        deadline: Within = None,
        return_exceptions: bool = False,
        samples: bool = False,
    ) -> list[Any]:
        """Request answers to all items and block until all have ended. The queue is sent immediately.

        Args:
            items: As for `submit`.
            deadline: As for `submit`, for each item.
            return_exceptions: Return the error of a failed item in its place; otherwise the first error, by
                order, is raised once all have ended.
            samples: Treat equal items of this call as several samples: with `cache=` or `dedupe=` the k-th of them
                shares an answer with the k-th of other such calls, but not with the others of this call.

        Returns:
            The answers, in the order of the items.
        """
        requests = self._requests.make(check_items(items, "map()"), deadline, samples=samples)
        return self._callers.ask_blocking(requests, flush=True, return_exceptions=return_exceptions)

    @overload
    async def amap(
        self,
        items: Iterable[ItemT],
        *,
        deadline: Within = None,
        return_exceptions: Literal[False] = False,
        samples: bool = False,
    ) -> list[AnswerT]: ...
    @overload
    async def amap(
        self,
        items: Iterable[ItemT],
        *,
        deadline: Within = None,
        return_exceptions: bool,
        samples: bool = False,
    ) -> list[AnswerT | BatchBridgeError]: ...
    async def amap(
        self,
        items: Iterable[ItemT],
        *,
        deadline: Within = None,
        return_exceptions: bool = False,
        samples: bool = False,
    ) -> list[Any]:
        """Request all answers like `map`, without blocking."""
        requests = await self._requests.amake(check_items(items, "amap()"), deadline, samples=samples)
        return await self._callers.ask(requests, flush=True, return_exceptions=return_exceptions)

    def flush(self) -> None:
        """Send everything that is queued, whatever the flush policy says. Does not wait for answers."""
        self._worker.flush()

    def poll_now(self, *batches: str) -> None:
        """Look at batches at once, whatever their next poll is due at, because there is news of them.

        A webhook's receiver calls it, see `batch_bridge.webhooks`. From any thread, idempotent, and harmless for
        batches that are not there.

        Args:
            *batches: The provider's ids of batches, or of responses in the background; without any, all are polled.
        """
        self._worker.hear(batches or None)

    def cancel(self) -> int:
        """Cancel all unanswered requests; their callers get `RequestCancelled`. From any thread.

        Queued requests are not sent, and the batches are cancelled at the provider; what they have answered by then is
        billed. Durable when it returns.

        Returns:
            The number of requests that were queued or in flight and are now cancelled.

        Raises:
            RuntimeError: A callback has called it on the Batcher's own thread; pass `callback_workers=1`.
        """
        return self._worker.cancel()

    async def acancel(self) -> int:
        """Cancel all unanswered requests like `cancel`, without blocking."""
        return await asyncio.to_thread(self.cancel)

    def quote(self, items: Iterable[ItemT], *, output_tokens: int | None = None) -> Quote:
        """Return what items will come to: requests, batches, tokens and money. Nothing is sent.

        Input tokens are counted by tiktoken where it is installed and has its encoding on the disk, else by bytes;
        `Quote.counted` says which. A cache and `dedupe=` are not looked at.

        Args:
            items: As for `map`.
            output_tokens: What one answer is likely to hold. `None`: as much as each request allows, so the quote is
                the most; `Quote.assumed` says so.

        Raises:
            RequestRefused: An item is no request.
            TypeError: The provider, a pair of functions say, does not tell what a request asks.
        """
        encoded = [_messages.encode(item) for item in check_items(items, "quote()")]
        return self._worker.bridge.quote(encoded, output_tokens=output_tokens)

    def report(self) -> Report:
        """Return what was done and what it cost: requests, batches, tokens, money. From any thread, also once closed.

        With `path=` it is of all processes that had the file open. Batches count once they have ended; in memory the
        last thousand do.

        Raises:
            RuntimeError: A callback has called it on the Batcher's own thread; give `callback_workers=1`.
        """
        return self._worker.report()

    async def areport(self) -> Report:
        """Do what `report` does, without blocking."""
        return await asyncio.to_thread(self.report)

    # -- life ------------------------------------------------------------------------------------------------

    def close(self, *, wait: bool = True) -> None:
        """Send the queue, wait for the batches in flight, and end. Idempotent.

        Args:
            wait: `False` ends immediately: waiting callers get `BatcherClosedError`. With `path=` nothing is lost.
        """
        closed(self._worker)
        self._worker.close(wait=wait)

    @property
    def is_idle(self) -> bool:
        """Whether every request that was asked has been answered."""
        return self._worker.is_idle

    @property
    def sends_all(self) -> bool:
        """Whether `close` sends the queue without waiting for answers (`on_pending="raise"`)."""
        return self._peek

    def end_soon(self) -> None:
        """Run `close(wait=False)` without blocking; with `on_pending="raise"`, leave it to the end of the program."""
        if not self._peek:
            self._worker.end_soon()

    async def aclose(self, *, wait: bool = True) -> None:
        """Close the Batcher like `close`, without blocking."""
        await asyncio.to_thread(self.close, wait=wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=error is None or self.sends_all)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._worker.opened)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(wait=error is None or self.sends_all)
