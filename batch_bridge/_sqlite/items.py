"""Reading items: gets, searches of a namespace and listings of namespaces, on the table of LangGraph's SQLite store.

The SQL is ours, because older versions of LangGraph's store take the namespace `("run", "1")` for a prefix of
`("run", "10")` too, and `%` for any text.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson
from langgraph.store.base import GetOp, InvalidNamespaceError, Item, ListNamespacesOp, Op, Result, SearchItem, SearchOp

_GET = "SELECT value, created_at, updated_at FROM store WHERE prefix = ? AND key = ?"
_SEARCH = "SELECT prefix, key, value, created_at, updated_at FROM store WHERE {} "
_NEWEST_FIRST = "ORDER BY updated_at DESC, rowid DESC LIMIT ? OFFSET ?"  # a put makes a new rowid
_WITHIN = "(prefix = ? OR (prefix > ? AND prefix < ?))"

Namespace = tuple[str, ...]


def to_prefix(namespace: Sequence[str]) -> str:
    """Encode a namespace as the table does.

    Raises:
        InvalidNamespaceError: A label is no string, empty, or has a period or a NUL in it.
    """
    try:
        return _encoded(tuple(namespace))
    except TypeError:  # a label without a hash is no string
        return _encoded.__wrapped__(tuple(namespace))


@lru_cache(maxsize=1024)
def _encoded(namespace: Namespace) -> str:
    for label in namespace:
        if not isinstance(label, str) or not label or "." in label or "\x00" in label:
            raise InvalidNamespaceError(
                f"{namespace!r} is not a namespace because of {label!r}. "
                "Labels are strings, not empty, without periods and NULs."
            )
    return ".".join(namespace)


def read(connection: sqlite3.Connection, ops: Sequence[Op]) -> list[Result]:
    """Answer gets, searches and listings, all from one state of the file.

    Raises:
        TypeError: An operation is of another kind, or asks for more: a filter, a text, a suffix.
        InvalidNamespaceError: See `to_prefix`.
    """
    if len(ops) == 1:  # one statement sees one state by itself
        return [_read(connection, ops[0])]
    connection.execute("BEGIN")
    try:
        return [_read(connection, op) for op in ops]
    finally:
        connection.execute("COMMIT")


def _read(connection: sqlite3.Connection, op: Op) -> Result:
    match op:
        case GetOp():
            return _get(connection, op)
        case SearchOp(filter=None, query=None):
            return _search(connection, op)
        case ListNamespacesOp() if [each.match_type for each in op.match_conditions or ()] in ([], ["prefix"]):
            return _list_namespaces(connection, op)
        case _:
            raise TypeError(f"the file cannot do {op!r}; it gets, lists what is below a namespace, and puts")


def _get(connection: sqlite3.Connection, op: GetOp) -> Item | None:
    rows = connection.execute(_GET, (to_prefix(op.namespace), op.key)).fetchall()
    if not rows:
        return None
    value, created_at, updated_at = rows[0]
    return Item(
        value=orjson.loads(value),
        key=op.key,
        namespace=op.namespace,
        created_at=created_at,
        updated_at=updated_at,
    )


def _search(connection: sqlite3.Connection, op: SearchOp) -> list[SearchItem]:
    where, parameters = _within(op.namespace_prefix)
    rows = connection.execute(_SEARCH.format(where) + _NEWEST_FIRST, (*parameters, op.limit, op.offset)).fetchall()
    return [
        SearchItem(
            namespace=tuple(prefix.split(".")),
            key=key,
            value=orjson.loads(value),
            created_at=created_at,
            updated_at=updated_at,
        )
        for prefix, key, value, created_at, updated_at in rows
    ]


def _within(namespace: Sequence[str]) -> tuple[str, list[Any]]:
    """A namespace and all below it: `a`, and whatever sorts from `a.` to just before `a/`."""
    if not namespace:
        return "TRUE", []
    prefix = to_prefix(namespace)
    return _WITHIN, [prefix, f"{prefix}.", f"{prefix}/"]


def _list_namespaces(connection: sqlite3.Connection, op: ListNamespacesOp) -> list[Namespace]:
    stem = next((each.path for each in op.match_conditions or ()), ())
    where, parameters = _within(stem)
    rows = connection.execute(f"SELECT DISTINCT prefix FROM store WHERE {where}", parameters)  # noqa: S608
    found = {tuple(prefix.split("."))[: op.max_depth] for (prefix,) in rows.fetchall()}
    return sorted(found, key=".".join)[op.offset : op.offset + op.limit]
