"""The user's own predicate for sending a queue. If it raises, the host continues."""

import inspect
import threading
from collections.abc import Callable
from dataclasses import replace

from batch_bridge._core.policy.flush_policy import FlushPolicy, QueueSummary
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import about, logger_of

logger = logger_of(__name__)


class Predicate:
    """Asks a user's predicate. An exception is logged once, with its traceback, and is taken as "no".

    Size, age and quiet flush all the same. Safe to use from several threads.

    Args:
        when: The user's function.
        bridge: The bridge of the queue.
    """

    def __init__(self, when: Callable[[QueueSummary], bool], bridge: str) -> None:
        self._when = when
        self._bridge = bridge
        self._lock = threading.Lock()
        self._has_failed = False

    def __call__(self, queue: QueueSummary) -> bool:
        """Return whether the queue is to be sent now."""
        try:
            return bool(_plain(self._when(queue)))
        except Exception as error:  # noqa: BLE001  # the user's code; no interrupt belongs here, because no graph runs
            self._note(error)
            return False

    def __eq__(self, other: object) -> bool:
        """Return whether this asks the same function, so that policies compare as their users wrote them."""
        return self._when == (other._when if isinstance(other, Predicate) else other)

    def __hash__(self) -> int:
        return hash(self._when)

    def _note(self, error: Exception) -> None:
        with self._lock:
            is_first, self._has_failed = not self._has_failed, True
        if not is_first:
            logger.debug(
                "%s: the flush predicate failed again",
                self._bridge,
                exc_info=_logged.trace(error),
                extra=about(bridge=self._bridge),
            )
            return
        logger.error(
            '%s: the flush predicate (when=, should_flush_func=) failed; each failure counts as "no", '
            "size and age still flush, and this is logged once",
            self._bridge,
            exc_info=_logged.trace(error),
            extra=about(bridge=self._bridge),
        )


def _plain(wanted: object) -> object:
    if inspect.iscoroutine(wanted):
        wanted.close()
    if inspect.isawaitable(wanted):
        raise TypeError("the predicate is async, but its caller cannot await it; pass a plain function")
    return wanted


def guarded(policy: FlushPolicy, bridge: str) -> FlushPolicy:
    """Return a policy whose predicate may fail."""
    if policy.when is None or isinstance(policy.when, Predicate):
        return policy
    return replace(policy, when=Predicate(policy.when, bridge))
