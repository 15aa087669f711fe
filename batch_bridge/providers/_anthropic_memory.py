"""What a provider remembers of its batches between two calls; nothing that a new process would miss."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from batch_bridge._models import Ended, Errored, InProgress
from batch_bridge._settlement import nothing
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._anthropic_batch import Batch
from batch_bridge.providers._anthropic_handle import Handle

logger = logging.getLogger("batch_bridge")

_VISIBILITY = 60.0
"""Seconds in which a batch that was just created may not be found."""
_RESULT_POLLS = 3
"""Polls of an ended batch that wait for the address of its results."""


class Memory:
    """Judges what a call has shown, in the light of those before.

    Args:
        clock: Seconds since some moment; never set back.

    Attributes:
        tags: Batch id -> the tag in its custom ids, as a create call's answer, the ledger or its results have told;
            empty for a batch that is none of ours.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.tags: dict[str, str] = {}
        self._seen: set[str] = set()
        self._resultless: Counter[str] = Counter()
        self._unknown: set[tuple[str, str]] = set()
        self._doubts: dict[str, float] = {}

    # -- of a batch that is polled -----------------------------------------------------------------------------

    def not_found(self, handle: Handle) -> InProgress | Ended:
        """Judge a 404: a batch may not be visible at once; one that was seen before, or is older, is gone."""
        if handle["id"] not in self._seen and time.time() - handle["created_at"] < _VISIBILITY:
            return InProgress()
        gone = Errored(
            f"batch {handle['id']} is not there any more (the API answers 404); was it deleted, or is "
            "this the API key of another workspace?",
            code="batch_not_found",
            status_code=404,
        )
        return Ended(nothing(), missing=gone)

    def has_ended(self, batch: Batch) -> bool:
        """Tell whether a batch has ended and shows all that it has; an unknown status is one that goes on."""
        self._seen.add(batch.id)
        if not batch.is_known and (batch.id, batch.status) not in self._unknown:
            self._unknown.add((batch.id, batch.status))
            logger.warning("batch %s: its status %r is unknown; taken for one in progress", batch.id, batch.status)
        if not batch.has_ended:
            return False
        if batch.has_results or batch.is_archived:
            return True
        self._resultless[batch.id] += 1
        return self._resultless[batch.id] > _RESULT_POLLS

    def forget(self, batch_id: str) -> None:
        """Let go of a batch that is settled."""
        self.tags.pop(batch_id, None)
        self._seen.discard(batch_id)
        self._resultless.pop(batch_id, None)
        self._unknown = {each for each in self._unknown if each[0] != batch_id}

    # -- of a create call whose end nobody saw -----------------------------------------------------------------

    def sent(self, key: str) -> None:
        """Note that a create call is made: earlier doubts about the key are void."""
        self._doubts.pop(key, None)

    def wait_out(self, key: str, patience: timedelta | None) -> None:
        """Pass if a create call that shows no batch by now is lost, counted from the first doubt of this process.

        Raises:
            ProviderUnavailable: It is too early to tell.
            SubmissionUnknown: Without patience, nobody can.
        """
        if patience is None:
            raise SubmissionUnknown(
                "the process ended, or the connection broke, while a batch was created, and no batch is to be seen. "
                "Anthropic's API cannot be asked for a batch by a key of ours, so nobody knows whether one will show "
                "up; look into the Console, and send the requests again if there is none"
            )
        now = self._clock()
        left = self._doubts.setdefault(key, now) + patience.total_seconds() - now
        if left > 0:
            raise ProviderUnavailable(
                "a batch was created whose end nobody saw, and none is to be seen; it may still show up",
                retry_after=left,
            )
        del self._doubts[key]
