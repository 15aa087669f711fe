"""A warning for nodes that turn what would fit into one round into many: each of them waits as long as a batch takes.

Whether a request depends on the answer before it cannot be known of a wait that was never called. So only what has
been seen counts:

- A wait that is called when its task has parked already, in the same execution: it was on its way without the answer. A
  `Semaphore`, a `max_concurrency` or a pool of threads held it up. A chain of waits, or an agent's loop, calls none.
- A task or a subgraph that has parked, and whose interrupt did not become one of its thread's: the code that
  started it awaits another one first.

Three times in a row, for one task or one thread, and it is said: once for each node.
"""

import threading
from collections import OrderedDict
from typing import Final

from batch_bridge._core.wording.log import logger_of

logger = logger_of(__name__)

_IN_A_ROW: Final = 3
_MOST: Final = 10_000
"""Tasks whose rounds are remembered."""
_CURE: Final = (
    "start them all before the first is awaited, with wait_many([…]) or asyncio.gather, and without a limit: a batch "
    "needs none, so raise that of the Semaphore, of max_concurrency or of the pool"
)
_CURE_TASKS: Final = "await them together, with batch_bridge.gather(…)"

_lock = threading.Lock()
_late: "OrderedDict[tuple[str | None, str], tuple[int, int]]" = OrderedDict()
"""By thread and checkpoint namespace: the last round in which a wait came late, and how many such rounds in a row."""
_said: set[tuple[str, str]] = set()


def note_late(thread: str | None, namespace: str, rounds: int) -> None:
    """Note that a wait was called after its task had parked.

    Args:
        thread: The thread's id.
        namespace: The task's checkpoint namespace.
        rounds: How many rounds the task had been answered before it parked.
    """
    with _lock:
        last, in_a_row = _late.pop((thread, namespace), (-1, 0))
        if last != rounds:
            in_a_row = in_a_row + 1 if last == rounds - 1 else 1
        _late[thread, namespace] = rounds, in_a_row
        while len(_late) > _MOST:
            _late.popitem(last=False)
    if in_a_row >= _IN_A_ROW:
        _say("late", namespace, "more of its requests arrived too late to share the round", _CURE)


def note_hidden(namespace: str, in_a_row: int) -> None:
    """Note that a task or subgraph has parked, and that its thread waits for another one.

    Args:
        namespace: The task's checkpoint namespace.
        in_a_row: How many runs of the thread in a row have ended so.
    """
    if in_a_row >= _IN_A_ROW:
        _say("hidden", namespace, "it was awaited after another task or subgraph, which parked first", _CURE_TASKS)


def _say(kind: str, namespace: str, why: str, cure: str) -> None:
    parts = (part.partition(":")[0] for part in namespace.split("|"))
    node = "/".join(part for part in parts if not part.isdigit())  # a number is which call of a subgraph it is
    with _lock:
        if (kind, node) in _said:
            return
        _said.add((kind, node))
    logger.warning(
        "node %r has parked %d times in a row while %s: each round takes as long as a batch, and one is enough; "
        "%s. This is logged once for a node",
        node,
        _IN_A_ROW,
        why,
        cure,
    )
