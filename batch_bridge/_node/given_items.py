"""What a caller gives where a list of items belongs. Pure."""

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any


def check_items(items: Any, called: str, one: str = "item") -> Iterable[Any]:
    """Return items as they were given, if they can be several.

    Args:
        items: What was given.
        called: The function that it was given to.
        one: What one of them is called.

    Raises:
        TypeError: It is a string, a mapping, a coroutine, or nothing that can be iterated.
    """
    if hasattr(items, "__await__"):
        _close(items)
        raise TypeError(f"{called} got a {type(items).__name__} instead of a list of {one}s; await it first")
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        kind = "string" if isinstance(items, str) else type(items).__name__
        raise TypeError(f"{called} got a {kind} instead of a list of {one}s; for a single {one} pass [{one}]")
    return items


def check_inputs(inputs: Any, called: str) -> Iterable[Any] | AsyncIterable[Any]:
    """Return inputs as they were given, if they can be several; they may come one after the other, asynchronously.

    Raises:
        TypeError: As `check_items`.
    """
    return inputs if isinstance(inputs, AsyncIterable) else check_items(inputs, called, "input")


def check_item(item: Any, called: str) -> Any:
    """Return an item as it was given, unless it is what an `await` would have given.

    Raises:
        TypeError: It is a coroutine or a future.
    """
    if hasattr(item, "__await__"):
        _close(item)
        raise TypeError(f"{called} got a {type(item).__name__} instead of an item; await it first")
    return item


def check_handle(handle: Any, called: str) -> None:
    """Pass if a handle is one: a string, and not what an `await` would have given.

    Raises:
        TypeError: It is not.
    """
    if isinstance(handle, str):
        return
    then = "pass the string that submit() returned"
    if hasattr(handle, "__await__"):
        _close(handle)
        then = "await it first"
    raise TypeError(f"{called} got a {type(handle).__name__} instead of a job's handle; {then}")


def _close(awaitable: Any) -> None:
    """Close a coroutine, so that Python does not warn of it besides."""
    if hasattr(awaitable, "close"):
        awaitable.close()
