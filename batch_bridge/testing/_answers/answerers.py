"""Answerers: the stand-in, a function of the user's, or another server."""

import asyncio
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from batch_bridge.testing._answers.answer import Answer, AnswerFunction, AnswerRequest, is_async, refused
from batch_bridge.testing._answers.stand_in import answer_with


class LocalAnswerer:
    """Asks a plain function, in a thread, so that it may take its time."""

    concurrency = 1
    remote = False

    def __init__(self, function: AnswerFunction) -> None:
        self._function = function

    async def many(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        """An answer for each, one after the other."""
        return await asyncio.to_thread(lambda: [self._one(request) for request in requests])

    def _one(self, request: AnswerRequest) -> Answer:
        try:
            return as_answer(request, self._function(request.url, request.body))
        except Exception as error:  # noqa: BLE001 - the function is the user's; its error is this line's answer
            return crashed(error)

    async def close(self) -> None:
        """Nothing to release."""


class AsyncAnswerer:
    """Asks a coroutine function, several requests at a time."""

    remote = True

    def __init__(self, function: AnswerFunction, *, concurrency: int) -> None:
        self.concurrency = concurrency
        self._function = function
        self._slots = asyncio.Semaphore(concurrency)

    async def many(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        """An answer for each."""
        return await asyncio.gather(*map(self._one, requests))

    async def _one(self, request: AnswerRequest) -> Answer:
        async with self._slots:
            try:
                result: Any = self._function(request.url, request.body)
                return as_answer(request, await result)
            except Exception as error:  # noqa: BLE001 - as above
                return crashed(error)

    async def close(self) -> None:
        """Nothing to release."""


def local(function: AnswerFunction, *, concurrency: int) -> LocalAnswerer | AsyncAnswerer:
    """The answerer for a user's function."""
    return AsyncAnswerer(function, concurrency=concurrency) if is_async(function) else LocalAnswerer(function)


def as_answer(request: AnswerRequest, result: object) -> Answer:
    """What a user's function returned, as an answer."""
    match result:
        case Answer():
            return result
        case str():
            return answer_with(request.url, request.body, result)
        case dict():
            return Answer(200, result)
    return refused(500, f"The answerer returned {type(result).__name__}; it may return an Answer, a dict or a str.")


def crashed(error: Exception) -> Answer:
    """The answer to a request on which the user's function raised."""
    traceback.print_exception(error, file=sys.stderr)
    return refused(500, f"The answerer raised {type(error).__name__}: {error}", code="answerer_failed")
