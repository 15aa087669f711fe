"""What a provider remembers of its batches between two polls; nothing that a new process would miss."""

import logging
import time
from collections import Counter

from batch_bridge._models import Ended, Errored, InProgress
from batch_bridge._settlement import nothing
from batch_bridge.providers._openai_batch import Batch
from batch_bridge.providers._openai_handle import Handle

logger = logging.getLogger("batch_bridge")

_VISIBILITY = 60.0
"""Seconds in which a batch that was just created may not be found."""
_FILE_POLLS = 3
"""Polls of a completed batch that wait for the id of its output file, if something ran."""


class Watch:
    """Judges what polls have shown, in the light of those before."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._fileless: Counter[str] = Counter()
        self._unknown: set[tuple[str, str]] = set()

    def not_found(self, handle: Handle) -> InProgress | Ended:
        """Judge a 404: a batch may not be visible at once; one that was seen before, or is older, is gone."""
        if handle["id"] not in self._seen and time.time() - handle["created_at"] < _VISIBILITY:
            return InProgress()
        gone = Errored(
            f"batch {handle['id']} is not there any more (the API answers 404); was it deleted, or is "
            "this the API key of another project?",
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
        return batch.end is not None and not self._awaits_file(batch)

    def forget(self, batch_id: str) -> None:
        """Let go of a batch that is settled."""
        self._seen.discard(batch_id)
        self._fileless.pop(batch_id, None)
        self._unknown = {each for each in self._unknown if each[0] != batch_id}

    def _awaits_file(self, batch: Batch) -> bool:
        """Tell whether a completed batch has answers, and its output file's id is late."""
        if batch.end != "completed" or not batch.ran or batch.output_file_id is not None:
            return False
        self._fileless[batch.id] += 1
        return self._fileless[batch.id] <= _FILE_POLLS
