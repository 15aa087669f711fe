"""Where a call's inputs come from: an iterable has the next one at once, an async one may take time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any


class Source:
    """Gives inputs one at a time, when there is room for one; of an async iterable at most one is read ahead.

    Args:
        inputs: The inputs.
        on_news: Called once `read` has something to give, or to raise, that it had not before.
    """

    def __init__(self, inputs: Iterable[Any] | AsyncIterable[Any], on_news: Callable[[], None]) -> None:
        self.is_async = isinstance(inputs, AsyncIterable)
        self._sync: Iterator[Any] = iter(()) if isinstance(inputs, AsyncIterable) else iter(inputs)
        self._async: AsyncIterator[Any] | None = aiter(inputs) if isinstance(inputs, AsyncIterable) else None
        self._on_news = on_news
        self._index = 0
        self._reading: asyncio.Task[Any] | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether the next input is being read and is not there yet."""
        return self._reading is not None and not self._reading.done()

    def read(self) -> tuple[int, Any] | None:
        """Return the next input with its index; `None` if it is not there yet.

        Raises:
            StopIteration: There are no more.
            Exception: What the iterable has raised.
        """
        if self._async is None:
            value = next(self._sync)
        else:
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(_next(self._async))
                self._reading.add_done_callback(self._read)
            if not self._reading.done():
                return None
            reading, self._reading = self._reading, None
            found = reading.result()
            if not found:
                raise StopIteration
            (value,) = found
        self._index += 1
        return self._index - 1, value

    def _read(self, reading: "asyncio.Task[Any]") -> None:
        if not reading.cancelled():
            self._on_news()

    async def close(self) -> None:
        """Stop reading; what is being read is lost. Idempotent."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


class Feed:
    """Inputs that are handed in one by one, while the call runs; its caller pumps the call then."""

    is_async = True

    def __init__(self) -> None:
        self._inputs: deque[Any] = deque()
        self._index = 0
        self.is_over = False
        """Whether no more are handed in."""

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def is_waited_for(self) -> bool:
        """Whether there is no next input now, and one may come."""
        return not self._inputs and not self.is_over

    def put(self, value: Any) -> None:
        """Hand in an input."""
        self._inputs.append(value)

    def end(self) -> None:
        """Hand in no more."""
        self.is_over = True

    def read(self) -> tuple[int, Any] | None:
        """Return the next input with its index; `None` if it is not there yet.

        Raises:
            StopIteration: There are no more.
        """
        if self._inputs:
            self._index += 1
            return self._index - 1, self._inputs.popleft()
        if self.is_over:
            raise StopIteration
        return None

    async def close(self) -> None:
        """Forget what was not read. Idempotent."""
        self._inputs.clear()


async def _next(inputs: AsyncIterator[Any]) -> tuple[Any, ...]:
    """Return the next input, alone in a tuple; an empty one at the end, for no task may raise `StopIteration`."""
    try:
        return (await anext(inputs),)
    except StopAsyncIteration:
        return ()
    except asyncio.CancelledError:
        reading = asyncio.current_task()
        if reading is None or reading.cancelling():
            raise
        raise RuntimeError(
            "the next input could not be read: what the async iterable of inputs awaited was cancelled; start it again "
            "and call with the same run_id"
        ) from None
