"""Names in Postgres, which has limits: for a channel, which procrastinate makes of a queue's name, and for a key."""

from typing import Final

_QUEUE: Final = "batch_bridge_"
_CHANNEL: Final = "procrastinate_queue_v1#"
"""What procrastinate puts before a queue's name. Source: its `sql/schema.sql`."""
_LONGEST_CHANNEL: Final = 63
"""Bytes in the name of a channel. Source: PostgreSQL, `NAMEDATALEN`; `pg_notify` refuses a longer one."""
LONGEST_NAME: Final = _LONGEST_CHANNEL - len(_CHANNEL) - len(_QUEUE)
"""Bytes in the name of a pool."""
LONGEST_THREAD: Final = 1_000
"""Bytes in a thread's id: an entry of a B-tree has 2,704 at most, and those of checkpoints name more."""


def queue_of(pool: str) -> str:
    """Return procrastinate's name of a pool's queue."""
    return f"{_QUEUE}{pool}"


def check_name(name: str) -> None:
    """Check the name of a pool.

    Raises:
        ValueError: Postgres could not carry it.
    """
    if (size := _bytes(name)) > LONGEST_NAME:
        raise ValueError(
            f"the pool's name {name!r} has {size} bytes, and {LONGEST_NAME} is the most: it ends the name of a "
            f"Postgres channel, {_CHANNEL}{_QUEUE}…, which has {_LONGEST_CHANNEL} at most. Give it a shorter one: "
            "Pool(…, name=…)"
        )
    if not name or "\0" in name:
        raise ValueError(f"a pool cannot be named {name!r}; give it a name without NUL: Pool(…, name=…)")


def check_thread(thread: str) -> None:
    """Check the id of a thread.

    Raises:
        ValueError: Postgres could not carry it.
    """
    if (size := _bytes(thread)) > LONGEST_THREAD:
        raise ValueError(
            f"the thread {thread[:60]!r}… has an id of {size:,} bytes, and {LONGEST_THREAD:,} is the most: it is part "
            "of keys in Postgres. Use a shorter run_id, or thread_id. Nothing was begun"
        )


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
