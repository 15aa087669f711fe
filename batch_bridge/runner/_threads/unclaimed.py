"""Answers that were paid for and that no wait takes any more: counted for good, and said in the log."""

from collections.abc import Iterable
from typing import Final

from langgraph.store.base import PutOp, SearchOp

from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows

logger = logger_of(__name__)

_NAMESPACE: Final = ("batch_bridge_unclaimed",)
_MOST: Final = 10_000_000
"""Rows that are read when they are counted."""


class Unclaimed:
    """The answers of a Runner's threads that fit no wait. Noting one again changes nothing.

    Args:
        store: Where the ledgers are.
    """

    def __init__(self, store: Rows) -> None:
        self._store = store
        self._noted: set[str] = set()

    async def note(self, thread_id: str, request_ids: Iterable[str]) -> None:
        """Write down answers of a thread. Durable when it returns.

        The first of a session is said in the log, with what to do; the others only when the session ends.
        """
        new = [each for each in request_ids if each not in self._noted]
        if not new:
            return
        await self._store.abatch(PutOp(_NAMESPACE, each, {"thread": thread_id}, index=False) for each in new)
        if not self._noted:
            logger.warning(
                "thread %r received %d paid answer(s) that none of its waits requests any more: the requests of "
                "its node have changed (another prompt, model or key=, or a date in it). It sends new "
                "requests, and pays again. Report.unclaimed counts the answers; this is logged once",
                thread_id,
                len(new),
            )
        self._noted.update(new)

    async def count(self) -> int:
        """Return how many there are, of all sessions on this store."""
        (rows,) = await self._store.abatch([SearchOp(_NAMESPACE, limit=_MOST)])
        return len(rows)

    def tell_all(self) -> None:
        """Log how many there were in this session, if more than were logged at once."""
        if len(self._noted) > 1:
            logger.warning("%d paid answers fit no wait any more", len(self._noted))
