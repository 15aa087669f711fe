"""When a Runner sends what waits, because its calls wait too."""

from collections.abc import Callable
from datetime import timedelta

from batch_bridge._core.policy.flush_policy import QUIET, FlushPolicy
from batch_bridge.runner._run import Run

AT_ONCE = timedelta(0)


class Activity:
    """Which calls of a Runner are open, and which are busy. To ask costs the same however many single calls there are.

    A call of many inputs knows when nothing more can come of it. A single one does not know what follows it.

    Args:
        quiet: How long nothing may come until what single calls wait for is sent.
    """

    def __init__(self, quiet: timedelta = QUIET) -> None:
        self._quiet = quiet
        self._singles: set[Run] = set()
        self._batches: set[Run] = set()
        self._busy: set[Run] = set()
        self._running: set[Run] = set()

    @property
    def running(self) -> bool:
        """Whether a thread runs now."""
        return bool(self._running)

    def begin(self, call: Run) -> None:
        """Count a call in."""
        (self._singles if call.is_single else self._batches).add(call)
        self.changed(call)

    def changed(self, call: Run) -> None:
        """Look at a call again: whether it is busy may have changed. One that is not open is not counted."""
        is_open = call in self._singles or call in self._batches
        if is_open and not call.is_single and call in self._singles:  # all its inputs have come
            self._singles.discard(call)
            self._batches.add(call)
        for is_so, calls in ((call.busy, self._busy), (call.running, self._running)):
            calls.add(call) if is_so and is_open else calls.discard(call)

    def end(self, call: Run) -> None:
        """Count a call out. Idempotent."""
        for calls in (self._singles, self._batches, self._busy, self._running):
            calls.discard(call)

    def pause(self, policy: FlushPolicy, is_asked_by: Callable[[Run], bool]) -> timedelta | None:
        """Return how long nothing more may come until what waits is sent; `None`: the policy decides alone.

        Args:
            policy: The bridge's flush policy.
            is_asked_by: Whether a request of a call is queued. Asked while both kinds of calls are open.
        """
        if (
            policy.when_idle is False
            or not (self._singles or self._batches)
            or not self._busy.isdisjoint(self._batches)
        ):
            return None
        if policy.when_idle or not self._singles:
            return None if self._busy else AT_ONCE
        if not self._busy and any(is_asked_by(each) for each in self._batches):
            return AT_ONCE
        return self._quiet if policy.max_idle is None else None  # the engine sees to the policy's own quiet
