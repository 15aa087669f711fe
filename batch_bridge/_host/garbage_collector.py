"""Python's garbage collector, less often, while threads run or many answers come.

A LangGraph step makes a few thousand objects and hardly a cycle; with Python's default thresholds the collector looks
through them every 700 allocations, which takes a third of the time of an interrupt and a resume (measured). So while a
Runner is open it looks every 20,000. The answers of a large batch are as many objects, none of them in a cycle, and the
collector takes a quarter of the time of reading them: so it does the same while many requests wait in a Batcher. The
price is some megabytes of garbage that is found a little later.
"""

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from typing import Final

DEFAULTS: Final = ((700, 10, 10), (2000, 10, 10), (2000, 10, 0))
"""Python's thresholds, up to 3.12, in 3.13 and in 3.14. A program that has set others keeps them.

Source: `gc.get_threshold()` of each.
"""
RELAXED: Final = (20_000, 5, 5)

_lock = threading.Lock()
_holders = 0
_before: tuple[int, int, int] | None = None
_applied: tuple[int, int, int] = RELAXED  # as Python tells it: 3.14 has no third threshold


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """Relax the collector while the block runs; several blocks may overlap, and the last one puts things back.

    It restores the thresholds that it found, unless other code has changed them meanwhile. A process that is forked off
    has them back at once.
    """
    global _holders, _before, _applied  # noqa: PLW0603  # the collector is the process's, and so is the count of its holders
    process = os.getpid()
    with _lock:
        _holders += 1
        if (found := gc.get_threshold()) in DEFAULTS:
            _before = found
            gc.set_threshold(*RELAXED)
            _applied = gc.get_threshold()
    try:
        yield
    finally:
        if os.getpid() == process:
            with _lock:
                _holders -= 1
                if not _holders:
                    _put_back()


def _put_back() -> None:
    global _before  # noqa: PLW0603  # as above
    if _before is not None and gc.get_threshold() == _applied:
        gc.set_threshold(*_before)
    _before = None


def _forked() -> None:
    """Put the thresholds back in a process that was forked off: what relaxes them does not run here."""
    global _holders, _lock  # as above
    _lock, _holders = threading.Lock(), 0
    _put_back()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)
