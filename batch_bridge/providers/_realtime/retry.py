"""When a call that came to nothing is made again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from batch_bridge.providers._shared.reply import Reply, TryLater

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_JITTER: Final = 0.5
"""Seconds. A pause doubles the one before it, up to the longest, and up to so much is added by chance.

A pause that the vendor asked for is kept by all calls together, in their lane.
"""


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
        """Return the reply; where every try came to nothing, the outcome of the last one. Other errors pass."""
        reply: Reply = await self._retrying.copy()(call)  # one is not for many tasks
        return reply

    def _give_up(self, state: RetryCallState) -> Reply:
        errored = _failed(state).errored
        tried = (
            f"{errored.message.rstrip('.')} (tried {self._attempts} times)" if self._attempts > 1 else errored.message
        )
        return Reply(replace(errored, message=tried))


def _failed(state: RetryCallState) -> TryLater:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, TryLater)  # noqa: S101  # nothing else is tried again
    return error
