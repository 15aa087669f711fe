"""The hosts' wall clock, in one place: the engine receives the time, and its host reads it here.

A simulation puts a clock of its own here, for what runs in its context.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]

_clock: ContextVar[Clock | None] = ContextVar("batch_bridge_clock", default=None)


def now() -> datetime:
    """Return what time it is, aware UTC."""
    clock = _clock.get()
    return datetime.now(UTC) if clock is None else clock()


@contextlib.contextmanager
def ticking(clock: Clock) -> Iterator[None]:
    """Have another clock asked, in this context and in the tasks that begin in it."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)
