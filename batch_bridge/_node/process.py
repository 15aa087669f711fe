"""Who asks, where no session of a Runner does: this process."""

import functools
import os
from uuid import uuid4


def this_process() -> str:
    """Return an id of this process: another one in the next, and after a fork."""
    return _id_of(os.getpid())


@functools.cache
def _id_of(_: int) -> str:
    return uuid4().hex[:16]
