"""What any provider remembers of its batches between two polls; nothing that a new process would miss."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from batch_bridge._core.models import Ended, Errored, InProgress
from batch_bridge._core.outcomes import nothing
from batch_bridge._core.wording.log import logger_of

logger = logger_of(__name__)

_VISIBILITY = 60.0
"""Seconds in which a batch that was just created may not be found."""
LATE_RESULTS: Final = timedelta(minutes=5)
"""How long an ended batch without the address of its results is polled again.

Source: github.com/BerriAI/litellm/issues/37715 and /38744: `completed`, no output file and counts of 0 for a while.
"""


class PollHistory:
    """Judges what polls have shown, in the light of those before.

    Args:
        title: What stands before a batch's id in errors and logs.
        status: What the API calls a batch's status.
        account: What the API calls that which has keys and batches.
        clock: Seconds since some moment; never set back.
    """

    def __init__(
        self,
        *,
        title: str = "batch ",
        status: str = "status",
        account: str = "project",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._status = status
        self._account = account
        self._seen: set[str] = set()
        self._clock = clock
        self._late: dict[str, float] = {}
        self._unknown: set[tuple[str, str]] = set()

    def not_found(self, batch_id: str, created_at: float) -> InProgress | Ended:
        """Judge a 404: a batch may not be visible at once; one that was seen before, or is older, is gone."""
        if batch_id not in self._seen and time.time() - created_at < _VISIBILITY:
            return InProgress()
        gone = Errored(
            f"{self._title}{batch_id} no longer exists (the API answers 404); was it deleted, or is "
            f"this the API key of another {self._account}?",
            code="batch_not_found",
            status_code=404,
        )
        return Ended(nothing(), missing=gone)

    def saw(self, batch_id: str, status: str, *, is_known: bool) -> None:
        """Note that the API has shown a batch; an unknown status counts as running."""
        self._seen.add(batch_id)
        if not is_known and (batch_id, status) not in self._unknown:
            self._unknown.add((batch_id, status))
            logger.warning(
                "%s%s: its %s %r is unknown; treated as in progress", self._title, batch_id, self._status, status
            )

    def waits(self, batch_id: str) -> bool:
        """Return whether to poll an ended batch without the address of its results once more; not forever."""
        now = self._clock()
        return now - self._late.setdefault(batch_id, now) < LATE_RESULTS.total_seconds()

    def forget(self, batch_id: str) -> None:
        """Forget a batch that is settled."""
        self._seen.discard(batch_id)
        self._late.pop(batch_id, None)
        self._unknown = {each for each in self._unknown if each[0] != batch_id}
