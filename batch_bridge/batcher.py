"""A queue with a provider behind it, for code that is no graph: a call asks, and returns when a batch has answered."""

import asyncio
import concurrent.futures
import hashlib
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from batch_bridge import _messages, _outcome
from batch_bridge._desk import Desk
from batch_bridge._flush import FlushPolicy, QueueSummary
from batch_bridge._json import dumps
from batch_bridge._models import JSON, Outcome, Request, Succeeded
from batch_bridge._pair import Find, Poll, Submit
from batch_bridge._provider import Provider
from batch_bridge._ticket import Ticket
from batch_bridge.bridge import Bridge

ShouldFlush = Callable[[list[Any], Any], bool]


class Batcher:
    """Pools the items of many callers, threads and event loops, and answers each from a batch.

    ::

        with Batcher(OpenAIBatch(model="gpt-4o-mini")) as batcher:
            answers = batcher.map(items)

    It runs on a thread of its own; the user's functions are called there, or in worker threads if they are not async.

    With `path=` it is durable: what was asked and not yet answered is in the file. After a crash, or a
    `close(wait=False)`, the next process that asks for an equal item owns the answer, instead of a new request: the
    first equal item asked gets the first one's, the second the second one's. Within one process an equal item is a new
    request each time, and after a clean `close` everything that was answered is forgotten, so it counts as new.

    Args:
        provider: Who answers; instead of `submit_func` and `poll_func`.
        submit_func: `submit_func(items) -> handle` sends a batch; see `Bridge`.
        poll_func: `poll_func(handle) -> None | list | dict` tells whether it has ended, and with what; see `Bridge`.
        find_func: `find_func(key) -> handle | None`; see `Bridge`.
        max_batch_size: So many waiting items are sent at once, and no batch holds more.
        max_batch_age: No item waits longer for others (a `timedelta`, or seconds). `None`: for ever.
        should_flush_func: `should_flush_func(items, last_flushed) -> bool`, your own reason to send what waits,
            besides size and age. Asked when an item arrives and at every poll interval. `last_flushed` is a naive
            local datetime.
        name: Part of every stored key: a durable Batcher that is renamed does not find its batches again.
        poll_interval: The longest pause between two polls of one batch (a `timedelta`, or seconds).
        path: The SQLite file that makes it durable. One process at a time has it open.

    Raises:
        TypeError, ValueError: As `Bridge` and `FlushPolicy`.
        RunFileError: The file is broken, open elsewhere, or out of reach.
    """

    def __init__(
        self,
        provider: Provider | None = None,
        *,
        submit_func: Submit | None = None,
        poll_func: Poll | None = None,
        find_func: Find | None = None,
        max_batch_size: int = 50_000,
        max_batch_age: timedelta | float | None = timedelta(minutes=30),
        should_flush_func: ShouldFlush | None = None,
        name: str = "default",
        poll_interval: timedelta | float = 30,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        if should_flush_func is not None and not callable(should_flush_func):
            raise TypeError(f"should_flush_func={should_flush_func!r} is not callable; give a function, or None")
        if provider is None and (submit_func is None or poll_func is None):
            raise TypeError(
                "Batcher lacks submit_func= or poll_func=; give both, or a provider: Batcher(OpenAIBatch(…))"
            )
        self._should_flush = should_flush_func
        self._items: dict[str, Any] = {}
        when = self._is_flush_wanted if should_flush_func is not None else None
        bridge = Bridge(
            provider,
            submit=submit_func,
            poll=poll_func,
            find=find_func,
            name=name,
            flush=FlushPolicy(max_requests=max_batch_size, max_age=max_batch_age, when=when),
            poll_interval=poll_interval,
        )
        self._names = _DurableNames(name) if path is not None else _Names()
        self._desk = Desk(bridge, path, keep=path is not None)

    # -- asking ----------------------------------------------------------------------------------------------

    def submit(self, item: Any) -> Any:
        """Ask for one answer and block until a batch has it. From any thread; not from an event loop: see `asubmit`.

        Args:
            item: Anything JSON can carry, or LangChain messages. Taken as it is now.

        Returns:
            The answer: JSON, or LangChain messages where the provider gives them.

        Raises:
            RequestFailed, RequestExpired, RequestCancelled: The request ended without an answer.
            JSONError: The item holds something that JSON cannot carry.
            BatcherClosedError: The Batcher is closed, or was while this call waited.
        """
        return self._ask_blocking([item], flush=False, return_exceptions=False)[0]

    async def asubmit(self, item: Any) -> Any:
        """Do what `submit` does, without blocking. A caller that is cancelled leaves its request to the batch."""
        return (await self._ask([item], flush=False, return_exceptions=False))[0]

    def map(self, items: Iterable[Any], *, return_exceptions: bool = False) -> list[Any]:
        """Ask for all items together and block until all have ended. What waits is sent at once.

        Args:
            items: As for `submit`.
            return_exceptions: Return the error of an item that failed in its place; else the first one, by
                order, is raised once all have ended.

        Returns:
            The answers, in the order of the items.
        """
        return self._ask_blocking(items, flush=True, return_exceptions=return_exceptions)

    async def amap(self, items: Iterable[Any], *, return_exceptions: bool = False) -> list[Any]:
        """Do what `map` does, without blocking."""
        return await self._ask(items, flush=True, return_exceptions=return_exceptions)

    def flush(self) -> None:
        """Send what has been asked before this call, whatever size and age say. Does not wait for anything."""
        self._desk.flush()

    # -- life ------------------------------------------------------------------------------------------------

    def close(self, *, wait: bool = True) -> None:
        """Send what waits, wait for what is in flight, and end. Idempotent.

        Args:
            wait: `False` ends now: callers that wait get `BatcherClosedError`. With `path=` nothing is lost by it.
        """
        self._desk.close(wait=wait)

    async def aclose(self, *, wait: bool = True) -> None:
        """Do what `close` does, without blocking."""
        await asyncio.to_thread(self.close, wait=wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=error is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(wait=error is None)

    # -- inside ----------------------------------------------------------------------------------------------

    def _requests(self, items: Iterable[Any]) -> list[Request]:
        requests = []
        for item in items:
            encoded = _messages.encode(item)
            request_id = self._names.name(encoded)
            if self._should_flush is not None:
                self._items[request_id] = item
            requests.append(Request(request_id, "", encoded))
        return requests

    def _ask_blocking(self, items: Iterable[Any], *, flush: bool, return_exceptions: bool) -> list[Any]:
        future: concurrent.futures.Future[list[Outcome]] = concurrent.futures.Future()
        ticket = Ticket(self._requests(items), future, flush)
        self._desk.hand_in(ticket)
        return self._unwrap(ticket, future.result(), return_exceptions=return_exceptions)

    async def _ask(self, items: Iterable[Any], *, flush: bool, return_exceptions: bool) -> list[Any]:
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        ticket = Ticket(self._requests(items), future, flush)
        self._desk.hand_in(ticket)
        return self._unwrap(ticket, await future, return_exceptions=return_exceptions)

    def _drop_items(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self._items.pop(request.id, None)

    def _unwrap(self, ticket: Ticket, outcomes: Sequence[Outcome], *, return_exceptions: bool) -> list[Any]:
        self._drop_items(ticket.requests)
        answers: list[Any] = []
        for request, outcome in zip(ticket.requests, outcomes, strict=True):
            if isinstance(outcome, Succeeded):
                answers.append(_messages.decode_owned(outcome.answer))
                continue
            error = _outcome.to_error(request.id, outcome)
            if not return_exceptions:
                raise error
            answers.append(error)
        return answers

    def _is_flush_wanted(self, queue: QueueSummary) -> bool:
        assert self._should_flush is not None  # noqa: S101
        if not queue.requests:
            return False
        items = [self._items[request_id] for request_id in self._desk.queued]
        return bool(self._should_flush(items, queue.last_flushed.astimezone().replace(tzinfo=None)))


class _Names:
    """Ids for requests that nobody will ask for again."""

    def __init__(self) -> None:
        self._prefix = uuid.uuid4().hex[:16]
        self._count = 0
        self._lock = threading.Lock()

    def name(self, _: JSON) -> str:
        """Return the next id."""
        with self._lock:
            self._count += 1
            return f"{self._prefix}{self._count:016x}"


class _DurableNames:
    """Ids that the next process finds again: the content, and how many equal items this process asked before."""

    def __init__(self, batcher: str) -> None:
        self._batcher = batcher.encode()
        self._equal: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def name(self, item: JSON) -> str:
        """Return the id of an item, and count it."""
        content = hashlib.blake2b(dumps(_messages.without_ids(item)), digest_size=16, key=self._batcher[:64]).digest()
        with self._lock:
            equal = self._equal.get(content, 0)
            self._equal[content] = equal + 1
        return hashlib.blake2b(content + equal.to_bytes(8), digest_size=16).hexdigest()
