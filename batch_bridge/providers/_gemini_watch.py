"""What a provider remembers of its batches between polls: of those that are new, strange, or late."""

import logging
import time
from collections import Counter

from batch_bridge._models import Ended, Errored, InProgress
from batch_bridge._settlement import nothing
from batch_bridge.providers._gemini_job import Handle, Job

logger = logging.getLogger("batch_bridge")

_VISIBILITY = 60.0
"""Seconds in which a batch that was just created may not be found."""
_EMPTY_POLLS = 3
"""Polls of a batch that succeeded which wait for its results, if something ran."""


class Watch:
    """Judges what polls have shown, in the light of those before."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._empty: Counter[str] = Counter()
        self._unknown: set[tuple[str, str]] = set()

    def not_found(self, handle: Handle) -> InProgress | Ended:
        """Judge a 404: a batch may not be visible at once; one that was seen before, or is older, is gone."""
        if handle["name"] not in self._seen and time.time() - handle["created_at"] < _VISIBILITY:
            return InProgress()
        gone = Errored(
            f"{handle['name']} is not there any more (the API answers 404); was it deleted, or is "
            "this the API key of another project?",
            code="batch_not_found",
            status_code=404,
        )
        return Ended(nothing(), missing=gone)

    def has_ended(self, job: Job) -> bool:
        """Tell whether a batch has ended and shows all that it has; an unknown state is one that goes on."""
        self._seen.add(job.name)
        if not job.is_known and (job.name, job.state) not in self._unknown:
            self._unknown.add((job.name, job.state))
            logger.warning("%s: its state %r is unknown; taken for one in progress", job.name, job.state)
        return job.end is not None and not self._awaits_results(job)

    def forget(self, name: str) -> None:
        """Let go of a batch that is settled."""
        self._seen.discard(name)
        self._empty.pop(name, None)
        self._unknown = {each for each in self._unknown if each[0] != name}

    def _awaits_results(self, job: Job) -> bool:
        """Tell whether a batch has answers, and where they are is late."""
        if job.end != "succeeded" or not job.ran or job.has_results:
            return False
        self._empty[job.name] += 1
        return self._empty[job.name] <= _EMPTY_POLLS
