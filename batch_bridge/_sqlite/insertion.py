"""Many rows in one statement."""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

ROWS_PER_STATEMENT = 32
"""SQLite compiles a statement for every count of rows up to this one; the connection caches them."""

Row = tuple[Any, ...]


class Insert:
    """An insertion whose rows are written with as few statements as possible.

    Python gives the interpreter lock away and fetches it back once a statement, so thirty rows in one
    statement keep a busy event loop from delaying the writer thirty times.

    Args:
        head: The statement up to and including `VALUES`.
        row: The placeholders of one row, in parentheses.
    """

    __slots__ = ("_statements",)

    def __init__(self, head: str, row: str) -> None:
        self._statements = tuple(f"{head} {', '.join([row] * n)}" for n in range(ROWS_PER_STATEMENT + 1))

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Insert the rows in their order.

        Raises:
            sqlite3.Error: A row cannot be stored. Earlier rows may have been.
        """
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            some = rows[start : start + ROWS_PER_STATEMENT]
            connection.execute(self._statements[len(some)], tuple(chain.from_iterable(some)))
