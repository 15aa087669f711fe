"""The tables, made by LangGraph's own migrations."""

import sqlite3

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.sqlite import SqliteStore

_COLUMNS = {
    "checkpoints": "thread_id checkpoint_ns checkpoint_id parent_checkpoint_id type checkpoint metadata",
    "writes": "thread_id checkpoint_ns checkpoint_id task_id task_path idx channel type value",
    "store": "prefix key value created_at updated_at expires_at ttl_minutes",
}


class SchemaError(Exception):
    """The file has tables of these names that are not LangGraph's."""


def set_up(connection: sqlite3.Connection) -> None:
    """Make the checkpointer's and the store's tables, or bring them up to date; repeating it is harmless.

    Raises:
        SchemaError: A table of the same name has other columns.
        sqlite3.Error: The file cannot be read or written.
    """
    _check(connection)
    _set_up_saver(connection)
    SqliteStore(connection).setup()
    _check(connection, complete=True)


def _set_up_saver(connection: sqlite3.Connection) -> None:
    SqliteSaver(connection).setup()
    if "task_path" not in _columns(connection, "writes"):  # langgraph-checkpoint-sqlite before 3.1 leaves it out
        connection.execute("ALTER TABLE writes ADD COLUMN task_path TEXT NOT NULL DEFAULT ''")


def _check(connection: sqlite3.Connection, *, complete: bool = False) -> None:
    added_later = set() if complete else {"task_path", "expires_at", "ttl_minutes"}
    for table, expected in _COLUMNS.items():
        found = _columns(connection, table)
        missing = set(expected.split()) - found - added_later
        if missing and (found or complete):
            raise SchemaError(f"its table {table!r} lacks the columns {', '.join(sorted(missing))}")


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
