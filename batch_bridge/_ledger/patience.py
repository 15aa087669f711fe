"""Patience with a store or a checkpointer that fails for a while: calls are retried, and their step waits.

Every call that is made of them can be repeated: rows are put by key, checkpoints by id. So a call that failed may have
taken effect, and is made again all the same. Nothing is assumed of a step whose call failed for good: its host ends it,
and reads the ledger again.
"""

import asyncio
import functools
import inspect
import logging
import random
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Final, TypeVar

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp
from langgraph.store.base import Op

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import BatchBridgeError
from batch_bridge.events import StoreFailed

logger = logger_of(__name__)

T = TypeVar("T")

STORE_PATIENCE: Final = timedelta(minutes=5)
"""How long a call of a store is tried again before its error ends the run: a database restarts in less."""
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts, at most: twice as long each time, of which chance takes up to a half."""
_LAST: Final = 1.0
"""Seconds that are left for calls that fail while their host closes."""
_BUGS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BatchBridgeError,
    GraphBubbleUp,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that the next try meets again: the program is wrong, or what it asks."""
_REFUSALS: Final = frozenset(
    {"DataError", "IntegrityError", "NotSupportedError", "PoolClosed", "ProgramLimitExceeded", "ProgrammingError"}
)
"""The same in databases, by the names that PEP 249 gives to them, or psycopg: of what is too long for an index."""
_CALLS: Final = ("aget_tuple", "aput", "aput_writes", "adelete_thread")
"""What LangGraph and a Runner call of a checkpointer, and is tried again; a listing is not."""
_LOOKED_AT: Final = "aput_writes"
"""The one of them whose signature LangGraph looks at in each run: that of a bound method is made anew each time."""


class Patience:
    """Tries calls again that fail with an error that may pass, with backoff, until they have failed for too long.

    Args:
        what: What fails, for a person: `"ledger"` or `"checkpointer"`.
        limit: How long one call is tried.
        tell: Called with each failure.
        sleep: Waits for some seconds; for tests.
    """

    def __init__(
        self,
        what: str,
        *,
        limit: timedelta = STORE_PATIENCE,
        tell: Callable[[StoreFailed], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._what = what
        self._limit = limit.total_seconds()
        self._tell = tell
        self._sleep = sleep or self._rest
        self._hurried: asyncio.Event | None = None
        self._is_hurried = False
        self._failing: dict[object, str] = {}
        self._given_up: deque[BaseException] = deque(maxlen=64)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work, again and again while it fails with what may pass.

        Raises:
            Exception: What the work raised last, once it has failed for too long; or at once what cannot pass.
        """
        try:
            return await work()
        except Exception as error:  # noqa: BLE001  # what interrupts is no error that passes, and is raised again
            return await self.again(work, error)

    async def again(self, work: Callable[[], Awaitable[T]], failed: Exception) -> T:
        """Do some work again that has failed, as `call` does.

        Args:
            work: The work.
            failed: What it has raised.

        Raises:
            Exception: As `call`.
        """
        if self.has_given_up(failed):  # a call inside of this one was tried for long enough
            raise failed
        place, failures, longest = object(), 0, _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        began = loop.time()
        waited = 0.0
        try:
            while is_transient(failed):
                failures += 1
                spent = max(loop.time() - began, waited)
                limit = min(self._limit, _LAST) if self._is_hurried else self._limit
                if spent >= limit:
                    raise self._give_up(failed, failures, spent)
                pause = min(longest * random.uniform(0.5, 1), limit - spent)  # noqa: S311  # a jitter: not all at once
                self._note(place, failed, failures, pause)
                await self._sleep(pause)
                waited += pause
                longest = min(longest * 2, _LONGEST_PAUSE)
                try:
                    result = await work()
                except Exception as error:  # noqa: BLE001  # as above
                    failed = error
                else:
                    logger.log(
                        logging.WARNING if failures > 1 else logging.INFO,
                        "the %s answers again, after %d failures",
                        self._what,
                        failures,
                    )
                    return result
            raise failed
        finally:
            self._failing.pop(place, None)

    def has_given_up(self, error: BaseException) -> bool:
        """Return whether an error is what a call has ended with after it was tried for too long."""
        return any(error is each for each in self._given_up)

    @property
    def problem(self) -> str:
        """What is wrong now, for a person to read; empty if every call succeeds."""
        return next(reversed(self._failing.values()), "")

    def hurry(self) -> None:
        """Try what fails only a moment longer: the host closes, and waits for it. Until `relax`."""
        self._is_hurried = True
        if self._hurried is not None:
            self._hurried.set()

    def relax(self) -> None:
        """Be as patient as before."""
        self._is_hurried, self._hurried = False, None

    async def _rest(self, seconds: float) -> None:
        if self._hurried is None:
            self._hurried = asyncio.Event()
        if self._is_hurried:
            await asyncio.sleep(min(seconds, _LAST / 4))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _note(self, place: object, error: Exception, failures: int, pause: float) -> None:
        said = f"{type(error).__name__}: {error}"
        self._failing[place] = f"the {self._what} cannot be reached, {failures} times in a row: {said}"
        if self._tell is not None:
            self._tell(StoreFailed(what=self._what, error=said, failures=failures, retry_in=pause))
        if not failures & (failures - 1):
            logger.warning(
                "the %s cannot be reached, %d times in a row: %s; next attempt in %.2f seconds",
                self._what,
                failures,
                _logged.said(error),
                pause,
            )

    def _give_up(self, error: Exception, failures: int, spent: float) -> Exception:
        error.add_note(
            f"BatchBridge called the {self._what} {failures} times in {spent:.0f} seconds, and each call failed. "
            "Nothing is lost: the same command, with the same run_id, continues once it answers again"
        )
        self._given_up.append(error)
        return error


class PatientRows:
    """Rows in a store that may fail for a while."""

    def __init__(self, rows: Rows, patience: Patience) -> None:
        self._rows = rows
        self._patience = patience

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """See `Rows`. Operations may take effect twice."""
        held = list(ops)
        try:
            return await self._rows.abatch(held)
        except Exception as error:  # noqa: BLE001  # as in `Patience.call`
            return await self._patience.again(lambda: self._rows.abatch(held), error)


def patient_saver(saver: BaseCheckpointSaver[Any], patience: Patience) -> BaseCheckpointSaver[Any]:
    """Return a checkpointer whose calls are tried again. It is the same one otherwise: of its class, with its state.

    One in memory is returned as it is, and one whose attributes are not its own to share.
    """
    kind = type(saver)
    if kind is InMemorySaver or not hasattr(saver, "__dict__"):
        return saver
    calls = {name: _tried_again(getattr(kind, name), patience) for name in _CALLS}
    twin = type(kind.__name__, (kind,), {**calls, "__module__": kind.__module__})
    patient: BaseCheckpointSaver[Any] = object.__new__(twin)
    patient.__dict__ = saver.__dict__  # what the one learns, the other knows
    put_writes: Any = functools.partial(calls[_LOOKED_AT], patient)
    put_writes.__signature__ = inspect.signature(getattr(patient, _LOOKED_AT))
    setattr(twin, _LOOKED_AT, put_writes)
    return patient


def _tried_again(function: Callable[..., Awaitable[T]], patience: Patience) -> Callable[..., Awaitable[T]]:
    @functools.wraps(function)
    async def call(*arguments: Any, **named: Any) -> T:
        try:
            return await function(*arguments, **named)
        except Exception as error:  # noqa: BLE001  # as in `call`
            return await patience.again(lambda: function(*arguments, **named), error)

    return call


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed when it is made again."""
    if isinstance(error, _BUGS) or not isinstance(error, Exception) or type(error) is sqlite3.DatabaseError:
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_ERROR:  # such as a table that is gone
        return False
    return not any(kind.__name__ in _REFUSALS for kind in type(error).__mro__)
