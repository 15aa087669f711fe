"""What the callers of a Batcher have asked and is not answered yet."""

import contextlib
import threading
from collections import deque

from batch_bridge._host.garbage_collector import relaxed
from batch_bridge.batcher._submission import Submission
from batch_bridge.batcher._worker.waiters import Waiters

_MANY = 1000
"""Requests that wait, from which on the garbage collector is relaxed."""


class Backlog:
    """Submissions that were handed in, and those that wait for outcomes.

    Args:
        relax_gc: Relax the garbage collector while many requests wait.

    Attributes:
        inbox: What was handed in, from any thread, and is not taken in.
        waiters: What was taken in, and waits. Used on the worker's own thread.
        idle: Set while there is neither.
    """

    def __init__(self, *, relax_gc: bool) -> None:
        self.inbox: deque[Submission] = deque()
        self.waiters = Waiters()
        self.idle = threading.Event()
        self.idle.set()
        self._relax_gc = relax_gc
        self._is_relaxed = False
        self._relaxing = contextlib.ExitStack()

    @property
    def is_empty(self) -> bool:
        """Whether all that was asked is answered."""
        return not self.waiters and not self.inbox

    def look(self) -> None:
        """Look whether all is answered, and whether many wait."""
        if not self.waiters and not self.inbox:
            self.idle.set()
        self.relax()

    def relax(self) -> None:
        """Relax the garbage collector while many wait."""
        if self._relax_gc and not self._is_relaxed and len(self.waiters) >= _MANY:
            self._is_relaxed = True
            self._relaxing.enter_context(relaxed())
        elif self._is_relaxed and not self.waiters:
            self._relaxing.close()
            self._is_relaxed = False

    def clear(self) -> set[Submission]:
        """Return all submissions; none waits any more."""
        submissions = {*self.waiters.clear(), *self.inbox}
        self.inbox.clear()
        self.relax()
        return submissions
