"""Sends queued requests at the end of the program, when no caller waits for them."""

import threading
from typing import Any, Final
from weakref import WeakSet

from batch_bridge._core.wording import log_text as _logged
from batch_bridge._core.wording.log import logger_of
from batch_bridge._host.late_threads import is_refused
from batch_bridge.batcher._worker.worker import Worker

logger = logger_of(__name__)


_open: Final[list[Worker]] = []
_watched: Final[WeakSet[Worker]] = WeakSet()
_lock = threading.Lock()
_registered = threading.Event()


def close_at_exit(what: Worker) -> None:
    """Close something when the program ends, unless `closed` is called before."""
    with _lock:
        _open.append(what)
        _register()


def watch_at_exit(what: Worker) -> None:
    """Register a warning for the end of the program about what an object leaves behind, if it still exists."""
    with _lock:
        _watched.add(what)
        _register()


def _register() -> None:
    if not _registered.is_set():
        _registered.set()
        # Not `atexit`: by then threads cannot be started any more, and an upload needs one.
        register: Any = threading._register_atexit  # type: ignore[attr-defined]  # noqa: SLF001
        register(_close_all)


def closed(what: Worker) -> None:
    """Note that something has been closed. Idempotent."""
    with _lock:
        if what in _open:
            _open.remove(what)


def _close_all() -> None:
    with _lock:
        left, _open[:] = list(_open), []
    was_refused = False
    for each in left:
        try:
            each.close(wait=True)
        except Exception as error:
            if is_refused(error):
                was_refused = True
            else:
                told = _logged.trace(error)
                logger.error("a Batcher could not be closed at the end of the program", exc_info=told)  # noqa: TRY400
    if was_refused:
        logger.warning(
            "Python starts no threads at the end of a program, so the queued requests were not sent; they are "
            "stored, and sent by the next run. Call close() before the program ends, or use Python 3.12.2 or newer"
        )
    for watched in list(_watched):
        watched.warn_of_uncollected()
