"""The user's own `submit` and `poll`, as a provider."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from batch_bridge import _messages
from batch_bridge._json import to_json
from batch_bridge._models import JSON, Ended, Errored, InProgress, Limits, Measure, Outcome, Request, Succeeded
from batch_bridge._settlement import nothing
from batch_bridge.errors import JSONError, SubmissionRefused, SubmissionUnknown

logger = logging.getLogger("batch_bridge")

Submit: TypeAlias = Callable[[list[Any]], Any | Awaitable[Any]]
Poll: TypeAlias = Callable[[Any], Any | Awaitable[Any]]
Find: TypeAlias = Callable[[str], Any | Awaitable[Any]]


class Pair:
    """A provider made of two functions, sync or async. A sync one runs in a thread.

    A batch's create call that was interrupted by a crash cannot be looked up with these two. With `find(key)`, which
    returns a handle or `None`, and a `submit(items, key)` that leaves the key where `find` sees it, it can; without,
    its requests fail with the code `submission_unknown`, and sending them again is the user's decision.
    """

    limits = Limits()

    def __init__(self, submit: Submit, poll: Poll, find: Find | None = None) -> None:
        for name, function in (("submit", submit), ("poll", poll), ("find", find)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}={function!r} is not callable; give a function, sync or async")
        self._submit = submit
        self._poll = poll
        self._find = find
        self._takes_key = _takes_two(submit)
        if find is not None and not self._takes_key:
            raise TypeError(
                "find= needs a submit that takes the batch's key: def submit(items, key); leave the key where "
                "find(key) can see it, e.g. in the batch's metadata"
            )

    def measure(self, request: Request) -> Measure:
        """Everything may share a batch; the size is that of the item as JSON."""
        return Measure(group="", bytes=len(orjson.dumps(request.item)))

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:  # noqa: ARG002
        """Nothing to prepare."""
        return None

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:  # noqa: ARG002
        """Call the user's `submit` with the items, in order."""
        items = [_messages.decode(request.item) for request in requests]
        handle = await _call(self._submit, items, *([key] if self._takes_key else []))
        if isinstance(handle, BaseException):
            raise SubmissionRefused(_said(handle))
        return _handle(handle, "submit")

    async def poll(self, handle: JSON, members: Sequence[str]) -> InProgress | Ended:
        """Call the user's `poll` and judge what it returned."""
        return _judge(await _call(self._poll, handle), members)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:  # noqa: ARG002
        """Ask the user's `find`, if there is one."""
        if self._find is None:
            raise SubmissionUnknown(
                "the process ended while submit() ran, so nobody knows whether this batch was created; sending it "
                "again might pay for it twice. Look it up, then run the thread again to send it anew; or give "
                "Bridge(find=…) so that this is found out for you"
            )
        handle = await _call(self._find, key)
        return [] if handle is None else [_handle(handle, "find")]

    async def fence(self, prepared: JSON) -> None:
        """Nothing to fence."""

    async def cancel(self, handle: JSON) -> None:
        """A pair cannot cancel."""

    async def release(self, handle: JSON) -> None:
        """Nothing to tidy up."""

    async def aclose(self) -> None:
        """Nothing to close."""


def _handle(handle: object, verb: str) -> JSON:
    try:
        return to_json(handle, what=f"the handle that {verb}() returned")
    except JSONError as error:
        raise SubmissionRefused(
            f"{error}. The handle is stored, so that another process can poll the batch; the batch may have been "
            "created all the same",
            code="handle_not_json",
        ) from error


async def _call(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return await _called(function, *arguments)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody has cancelled us: it came from inside, and passed on it would stop the bridge without a word.
        raise RuntimeError(f"{getattr(function, '__name__', function)} raised CancelledError") from error


async def _called(function: Callable[..., Any], *arguments: object) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(*arguments)
    result = await asyncio.to_thread(_plain, function, *arguments)
    return await result if inspect.isawaitable(result) else result


def _plain(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:  # no future can carry it: whoever awaits it would wait for ever
        raise RuntimeError(f"{function!r} raised StopIteration; does it call next() on something empty?") from error


def _judge(result: object, ids: Sequence[str]) -> InProgress | Ended:
    match result:
        case None:
            return InProgress()
        case BaseException():
            return _failed(_said(result), "batch_failed")
        case list() | tuple():
            if len(result) != len(ids):
                return _failed(
                    f"poll() returned {len(result)} results for a batch of {len(ids)} requests; a list must be as "
                    "long as the batch and in its order. Nothing was guessed: return a result for each item (an "
                    "exception for one that failed), or a dict by position",
                    "wrong_number_of_results",
                )
            return Ended(_pairs(dict(enumerate(result)), ids), missing=Errored("unreachable"))
        case Mapping():
            return _mapped(result, ids)
        case _:
            return _failed(
                f"poll() returned a {type(result).__name__}; return None while the batch runs, then a list in the "
                "order of the items, or a dict by position",
                "bad_results",
            )


def _mapped(result: Mapping[Any, object], ids: Sequence[str]) -> Ended:
    by_position: dict[int, object] = {}
    unknown = []
    for key, value in result.items():
        position = int(key) if isinstance(key, str) and key.isdecimal() else key
        if isinstance(position, int) and not isinstance(position, bool) and 0 <= position < len(ids):
            by_position.setdefault(position, value)
        else:
            unknown.append(key)
    if unknown:
        logger.warning("poll() returned results for positions that the batch does not have: %r", unknown[:5])
    named = f"; it has no place for {unknown[0]!r}" if unknown else ""
    return Ended(
        _pairs(by_position, ids),
        missing=Errored(
            f"poll() returned a dict of {len(result)} without this request's position; its keys are positions in the "
            f"batch, 0 to {len(ids) - 1}, as numbers or strings{named}",
            code="missing_result",
            retryable=True,
        ),
    )


async def _pairs(results: Mapping[int, object], ids: Sequence[str]) -> AsyncIterator[tuple[str, Outcome]]:
    for position, result in results.items():
        yield ids[position], _outcome(result)


def _outcome(result: object) -> Outcome:
    if isinstance(result, BaseException):
        return Errored(_said(result), code="request_failed")
    try:
        return Succeeded(_messages.encode(result, what="the answer that poll() returned"))
    except JSONError as error:
        return Errored(str(error), code="answer_not_json")


def _failed(message: str, code: str) -> Ended:
    return Ended(nothing(), missing=Errored(message, code=code))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]
    return len(required) == 2  # noqa: PLR2004
