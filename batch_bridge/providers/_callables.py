"""The user's own `submit` and `poll`, as a provider."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from batch_bridge._core.json import messages as _messages
from batch_bridge._core.json.json_values import to_json
from batch_bridge._core.models import (
    JSON,
    Ended,
    Errored,
    InProgress,
    Limits,
    Measure,
    Outcome,
    Request,
    Serialized,
    Succeeded,
    item_bytes,
)
from batch_bridge._core.outcomes import nothing
from batch_bridge._core.wording import log_text as _logged
from batch_bridge.errors import BadPollResultError, BatchFailed, JSONError, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers._item_ids import Ids, ids_of, positions, split_handle, with_ids

Submit: TypeAlias = Callable[[list[Any]], Any | Awaitable[Any]]
Poll: TypeAlias = Callable[[Any], Any | Awaitable[Any]]
Find: TypeAlias = Callable[[str], Any | Awaitable[Any]]


class CallableProvider:
    """A provider made of two functions, sync or async. A sync one runs in a thread.

    A batch's create call that was interrupted by a crash cannot be looked up with these two. With `find(key)`, which
    returns a handle or `None`, and a `submit(items, key)` that leaves the key where `find` sees it, it can; without,
    its requests fail with the code `submission_unknown`, and sending them again is the user's decision.

    Where items are dicts with a `"custom_id"` or an `"id"` (a string or a whole number), `poll` may return a dict by
    these ids. They are stored with the handle, so that another process can read the results too. A key that could be an
    id and another item's position, or that two items have, is an error.
    """

    limits = Limits()

    def __init__(self, submit: Submit, poll: Poll, find: Find | None = None) -> None:
        for name, function in (("submit", submit), ("poll", poll), ("find", find)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}={function!r} is not callable; pass a function, sync or async")
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
        return Measure(group="", bytes=len(item_bytes(request)))

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:  # noqa: ARG002
        """Note the ids of the items, for a handle that `find` returns; there is nothing else to prepare."""
        return None if self._find is None else with_ids(None, _ids(requests))

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Call the user's `submit` with the items, in order."""
        ids = _ids(requests) if self._find is None else split_handle(prepared)[1]
        items = [_own(request) for request in requests]
        handle = await _call(self._submit, items, *([key] if self._takes_key else []))
        if isinstance(handle, BaseException):
            raise _logged.logged_as(SubmissionRefused(said(handle)), f"submit() returned {_logged.said(handle)}")
        if handle is None:
            raise SubmissionRefused(
                "submit() returned None, but a batch without a handle cannot be polled; return what poll() needs to "
                "find it, such as the provider's id. The batch may still have been created, and billed",
                code="no_handle",
            )
        return with_ids(_handle(handle, "submit"), ids)

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        """Call the user's `poll` and judge what it returned.

        Raises:
            BadPollResultError: It is of the wrong form.
            Exception: Whatever `poll` has raised: `BatchFailed` ends the batch, all else means that it could not look.
        """
        own, ids = split_handle(handle)
        return _judge(await _call(self._poll, own), requests, ids)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """Ask the user's `find`, if there is one."""
        if self._find is None:
            raise SubmissionUnknown(
                "the process ended while submit() ran, so this batch may or may not have been created; sending it "
                "again might pay for it twice. Look it up, then run the thread again to send it again; or pass "
                "Bridge(find=…), which looks it up for you"
            )
        handle = await _call(self._find, key)
        return [] if handle is None else [with_ids(_handle(handle, "find"), split_handle(prepared)[1])]

    async def fence(self, prepared: JSON) -> None:
        """Nothing to fence."""

    async def cancel(self, handle: JSON) -> None:
        """A pair cannot cancel."""

    def shown(self, handle: JSON) -> JSON:
        """Return the handle as the user's `submit` has returned it."""
        return split_handle(handle)[0]

    async def release(self, handle: JSON) -> None:
        """Nothing to tidy up."""

    async def aclose(self) -> None:
        """Nothing to close."""


def _own(request: Request) -> object:
    """Return an item as the user's function gets it, which may change it."""
    if type(request) is Serialized and not _messages.may_hold_messages(request.data):
        return request.item
    return _messages.decode(request.item)


def _ids(requests: Sequence[Request]) -> Ids | None:
    return ids_of([request.item for request in requests])


def _handle(handle: object, verb: str) -> JSON:
    try:
        return to_json(handle, what=f"the handle that {verb}() returned")
    except JSONError as error:
        refused = SubmissionRefused(
            f"{error}. The handle is stored, so that another process can poll the batch; the batch may still have been "
            "created",
            code="handle_not_json",
        )
        raise _logged.logged_as(refused, f"the handle that {verb}() returned is not JSON") from error


async def _call(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return await _called(function, *arguments)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This task was not cancelled: the function raised it. If it were passed on, it would stop the bridge silently.
        raise RuntimeError(f"{getattr(function, '__name__', function)} raised CancelledError") from error


async def _called(function: Callable[..., Any], *arguments: object) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(*arguments)
    result = await asyncio.to_thread(_plain, function, *arguments)
    return await result if inspect.isawaitable(result) else result


def _plain(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:  # no future can carry it: its caller would wait forever
        raise RuntimeError(f"{function!r} raised StopIteration; does it call next() on something empty?") from error


def _judge(result: object, requests: Sequence[str], ids: Ids | None) -> InProgress | Ended:
    match result:
        case None:
            return InProgress()
        case BaseException():
            failed = Errored(said(result), code="batch_failed")
            if isinstance(result, BatchFailed):
                failed = Errored(str(result), code=result.code)
            return Ended(nothing(), missing=failed)
        case list() | tuple():
            if len(result) != len(requests):
                raise _bad(
                    f"{len(result)} results for a batch of {len(requests)} requests; a list must be as long as the "
                    "batch and in its order, with an exception for an item that failed"
                )
            return Ended(_pairs(_readable(dict(enumerate(result))), requests), missing=Errored("unreachable"))
        case Mapping() if not result:
            raise _bad("an empty dict; return None while the batch runs")
        case Mapping():
            return _mapped(result, requests, ids)
        case _:
            raise _bad(
                f"a {type(result).__name__}; return None while the batch runs, then a list in the order of the items, "
                "or a dict by position or by the items' own ids"
            )


def _mapped(result: Mapping[Any, object], requests: Sequence[str], ids: Ids | None) -> Ended:
    try:
        by_position = positions(result, len(requests), ids)
    except ValueError as error:
        raise _bad(f"a dict that cannot be read: {error}", logged="a dict whose keys cannot be read") from error
    return Ended(
        _pairs(_readable(by_position), requests),
        missing=Errored(
            f"poll() returned a dict of {len(result)} results for {len(requests)} requests, without this request's "
            "position or id; return an exception in its place if it failed",
            code="missing_result",
            retryable=True,
        ),
    )


def _readable(results: Mapping[int, object]) -> Mapping[int, object]:
    """Return results of which JSON can carry one answer at least: if none, `poll` returns them in the wrong form.

    Raises:
        BadPollResultError: It can carry none of the answers.
    """
    first: Outcome | None = None
    for result in results.values():
        if isinstance(result, BaseException):
            continue
        outcome = _outcome(result)
        if isinstance(outcome, Succeeded):
            return results
        first = first or outcome
    if isinstance(first, Errored):
        raise _bad(f"answers that cannot be kept: {first.message}", logged="answers that are not JSON")
    return results


def _bad(returned: str, *, logged: str = "") -> BadPollResultError:
    """Return the error; `logged` takes the place of what quotes an answer."""
    rest = "The batch stays in flight, and is collected once poll() is fixed and the same command runs again"
    error = BadPollResultError(f"poll() returned {returned}. {rest}")
    return _logged.logged_as(error, f"poll() returned {logged or returned}. {rest}")


async def _pairs(results: Mapping[int, object], ids: Sequence[str]) -> AsyncIterator[tuple[str, Outcome]]:
    for position, result in results.items():
        yield ids[position], _outcome(result)


def _outcome(result: object) -> Outcome:
    if isinstance(result, BaseException):
        return Errored(said(result), code="request_failed")
    try:
        return Succeeded(_messages.encode(result, what="the answer that poll() returned"))
    except JSONError as error:
        return Errored(str(error), code="answer_not_json")


def said(error: BaseException) -> str:
    """Return an exception's text, with its type."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]
    return len(required) == 2  # noqa: PLR2004
