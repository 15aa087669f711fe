"""What threads are parked at, read from the tables of `langgraph-checkpoint-postgres`."""

from collections.abc import Sequence
from typing import Any, Final

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.types import Interrupt
from psycopg import AsyncConnection

_PENDING: Final = """
SELECT t.thread, w.task_id, w.type, CASE WHEN w.channel = '__interrupt__' THEN w.blob END AS blob, w.channel
FROM unnest(%s::text[]) AS t(thread)
CROSS JOIN LATERAL (
    SELECT c.checkpoint_id FROM checkpoints c
    WHERE c.thread_id = t.thread AND c.checkpoint_ns = '' ORDER BY c.checkpoint_id DESC LIMIT 1
) newest
JOIN checkpoint_writes w ON w.thread_id = t.thread AND w.checkpoint_ns = '' AND w.checkpoint_id = newest.checkpoint_id
"""
"""What the tasks of threads have written since their newest checkpoint."""
_OF_RESUMING: Final = frozenset({"__interrupt__", "__resume__", "__error__", "__scheduled__"})
"""What a task writes that has not finished."""


async def pending_interrupts(
    connection: AsyncConnection[Any], serde: SerializerProtocol, threads: Sequence[str]
) -> dict[str, dict[str, list[Interrupt]]]:
    """Return the interrupts that threads are parked at, by thread and task. A task that has finished has none.

    Args:
        connection: To the checkpointer's database, with rows as dicts.
        serde: The checkpointer's.
        threads: As the checkpointer knows them.
    """
    if not threads:
        return {}
    cursor = await connection.execute(_PENDING, (list(threads),))
    rows = await cursor.fetchall()
    finished = {(row["thread"], row["task_id"]) for row in rows if row["channel"] not in _OF_RESUMING}
    found: dict[str, dict[str, list[Interrupt]]] = {}
    for row in rows:
        if row["channel"] == "__interrupt__" and (row["thread"], row["task_id"]) not in finished:
            held = serde.loads_typed((row["type"], bytes(row["blob"])))
            found.setdefault(row["thread"], {}).setdefault(row["task_id"], []).extend(held)
    return found
