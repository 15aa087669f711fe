"""When a failed call is made again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from batch_bridge.providers._realtime.level import is_refusal
from batch_bridge.providers._shared.results.reply import Reply, TryLater

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_JITTER: Final = 0.5
"""Seconds. A pause doubles the one before it, up to the longest, and up to so much is added by chance.

A pause that the vendor asked for is kept by all calls together, in their lane.
"""


class Repeats(Protocol):
    """Decides how often a call is made.

    Attributes:
        sleep: Waits for so many seconds.
    """

    sleep: Callable[[float], Awaitable[None]]

    async def __call__(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Make a call until there is a reply, or none is to be expected."""
        ...


class Queueing:
    """Makes a call until it has a reply, as in a queue: a refusal for want of capacity is no attempt.

    The pause after a refusal is kept by all calls together, in their lane.

    Args:
        attempts: Tries in all that failed for another reason.
        patience: How long a request is refused in all.
        sleep: Waits for so many seconds.

    Attributes:
        sleep: As it was given.
    """

    def __init__(self, attempts: int, patience: timedelta, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.sleep = sleep
        self._attempts = attempts
        self._patience = patience.total_seconds()

    async def __call__(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the reply; where the attempts, or the patience, have run out, the outcome of the last try."""
        loop = asyncio.get_running_loop()
        began, tried = loop.time(), 0
        while True:
            try:
                return await call()
            except TryLater as error:
                if is_refusal(error):
                    if (refused := loop.time() - began) >= self._patience:
                        return _given_up(error, f"refused for {timedelta(seconds=round(refused))}")
                    continue
                tried += 1
                if tried >= self._attempts:
                    return _given_up(error, f"tried {tried} times")
                pause = min(_FIRST_PAUSE * 2.0 ** min(tried - 1, 10), _LONGEST_PAUSE)
            await self.sleep(pause + random.uniform(0, _JITTER))  # noqa: S311  # a jitter


class Retry:
    """Makes a call until it has a reply, so many times at most.

    Args:
        attempts: Tries in all.
        sleep: Waits for so many seconds.

    Attributes:
        sleep: As it was given.
    """

    def __init__(self, attempts: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.sleep = sleep
        self._attempts = attempts
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=wait_exponential(_FIRST_PAUSE, _LONGEST_PAUSE) + wait_random(0, _JITTER),
            retry=retry_if_exception_type(TryLater),
            retry_error_callback=self._give_up,
            sleep=sleep,
        )

    async def __call__(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the reply; if every try failed, the outcome of the last one. Other errors pass."""
        reply: Reply = await self._retrying.copy()(call)  # one is not for many tasks
        return reply

    def _give_up(self, state: RetryCallState) -> Reply:
        errored = _failed(state).errored
        tried = (
            f"{errored.message.rstrip('.')} (tried {self._attempts} times)" if self._attempts > 1 else errored.message
        )
        return Reply(replace(errored, message=tried))


def _given_up(error: TryLater, why: str) -> Reply:
    errored = error.errored
    return Reply(replace(errored, message=f"{errored.message.rstrip('.')} ({why})"))


def _failed(state: RetryCallState) -> TryLater:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, TryLater)  # noqa: S101  # nothing else is tried again
    return error
