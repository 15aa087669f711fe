"""Chat models that no batch takes: realtime calls, so many at a time."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel


class CallLimit:
    """So many calls at a time: of one event loop, and of all threads together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.threads = threading.BoundedSemaphore(size)
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @property
    def tasks(self) -> asyncio.Semaphore:
        """The limit of the running event loop."""
        return self._loops.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._size))


def pooled(model: BaseChatModel, size: int) -> BaseChatModel:
    """Return a copy of a model that makes at most `size` calls at a time, and looks the same to everybody."""
    given, pool = type(model), CallLimit(size)
    space: dict[str, Any] = {
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
        "__doc__": given.__doc__,
        "_generate": _limited(given._generate, pool),
    }
    if given._agenerate is not BaseChatModel._agenerate:  # else it calls `_generate` in a thread
        space["_agenerate"] = _alimited(given._agenerate, pool)
    if given._stream is not BaseChatModel._stream:
        space["_stream"] = _streaming(given._stream, pool)
    if given._astream is not BaseChatModel._astream:
        space["_astream"] = _astreaming(given._astream, pool)
    made = model.model_copy()
    object.__setattr__(made, "__class__", type(given.__name__, (given,), space))
    return made


def _limited(method: Callable[..., Any], pool: CallLimit) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with pool.threads:
            return method(*args, **kwargs)

    return call


def _alimited(method: Callable[..., Any], pool: CallLimit) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with pool.tasks:
            return await method(*args, **kwargs)

    return call


def _streaming(method: Callable[..., Iterator[Any]], pool: CallLimit) -> Callable[..., Iterator[Any]]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with pool.threads:
            yield from method(*args, **kwargs)

    return call


def _astreaming(method: Callable[..., AsyncIterator[Any]], pool: CallLimit) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with pool.tasks:
            async for chunk in method(*args, **kwargs):
                yield chunk

    return call
