"""The callers of a Batcher that do not wait (`on_pending="raise"`): each is answered at once with what is known."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from batch_bridge._core.models import Request
from batch_bridge._engine import Engine
from batch_bridge.batcher._submission import PendingRequest, Status, Submission, hand_back
from batch_bridge.batcher._worker.backlog import Backlog

_LOOK = 5.0
"""Seconds that a caller that does not wait for a batch still waits for one look at it."""


class PendingCallers:
    """Answers them that there is no outcome yet. Used on the worker's own thread.

    Args:
        backlog: What was asked.
        engine: Knows what is sent.
    """

    def __init__(self, backlog: Backlog, engine: Engine) -> None:
        self._backlog = backlog
        self._engine = engine
        self._ready: set[str] = set()
        self._untold: set[str] = set()

    def settled(self, request_ids: Iterable[str]) -> None:
        """Note requests whose outcomes are about to be delivered."""
        self._ready.update(request_ids)

    def delivered(self, request_ids: Sequence[str], found: Collection[str]) -> None:
        """Note which of these requests an outcome was found for; the callers of the others learn that there is none."""
        self._ready.difference_update(request_ids)
        self._untold.difference_update(found)
        self.tell(each for each in request_ids if each not in found)

    def collected(self, requests: Iterable[Request]) -> None:
        """Answer that requests are queued; look first at those on their way."""
        taken_in = [request.id for request in requests]
        self._untold.update(taken_in)
        self.tell(request_id for request_id in taken_in if not self._engine.is_sent(request_id))
        if self._untold:
            asyncio.get_running_loop().call_later(_LOOK, self.tell, taken_in)

    def tell_all(self) -> None:
        """Answer all, after due batches have been looked at."""
        self.tell(tuple(self._untold))

    def tell(self, request_ids: Iterable[str]) -> None:
        """Answer that there is no outcome yet, unless one is about to be delivered."""
        engine = self._engine
        done = []
        for request_id in request_ids:
            if request_id in self._untold and request_id not in self._ready:
                self._untold.discard(request_id)
                submission = self._backlog.waiters.pop(request_id)
                status: Status = "in_flight" if engine.is_sent(request_id) else "queued"
                if submission is not None and submission.put(((request_id, PendingRequest(status)),)):
                    done.append(submission)
        hand_back(done, Submission.resolve)
        self._backlog.look()
