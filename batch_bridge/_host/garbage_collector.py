"""Python's garbage collector, less often, while threads run or many answers come.

A LangGraph step makes a few thousand objects and hardly a cycle; with Python's default thresholds the collector looks
through them every 700 allocations, which takes a third of the time of an interrupt and a resume (measured). So while a
Runner is open it looks every 20,000. The answers of a large batch are as many objects, none of them in a cycle, and the
collector takes a quarter of the time of reading them: so it does the same while many requests wait in a Batcher. The
price is some megabytes of garbage that is found a little later.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Final

DEFAULTS: Final = ((700, 10, 10), (2000, 10, 10))
"""Python's thresholds, up to 3.12 and in 3.13. A program that has set others keeps them.

Source: `gc.get_threshold()` of each.
"""
RELAXED: Final = (20_000, 5, 5)

_lock = threading.Lock()
_holders = 0
_before: tuple[int, int, int] | None = None


@contextlib.contextmanager
def relaxed() -> Iterator[None]:
    """Relax the collector while the block runs; several blocks may overlap, and the last one puts things back.

    It restores the thresholds that it found, unless other code has changed them meanwhile.
    """
    global _holders, _before  # noqa: PLW0603  # the collector is the process's, and so is the count of its holders
    with _lock:
        _holders += 1
        if (found := gc.get_threshold()) in DEFAULTS:
            _before = found
            gc.set_threshold(*RELAXED)
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders and _before is not None:
                if gc.get_threshold() == RELAXED:
                    gc.set_threshold(*_before)
                _before = None
