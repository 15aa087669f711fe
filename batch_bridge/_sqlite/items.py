"""Reading items: gets, searches and listings, on the table of LangGraph's own SQLite store.

The SQL is ours, because older versions of LangGraph's store take the namespace `("run", "1")` for a prefix of
`("run", "10")` too, and `%` for any text.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    Result,
    SearchItem,
    SearchOp,
)

_GET = "SELECT value, created_at, updated_at FROM store WHERE prefix = ? AND key = ?"
_SEARCH = "SELECT prefix, key, value, created_at, updated_at FROM store WHERE {} "
_NEWEST_FIRST = "ORDER BY updated_at DESC, rowid DESC LIMIT ? OFFSET ?"  # a put makes a new rowid
_WITHIN = "(prefix = ? OR (prefix > ? AND prefix < ?))"
_COMPARISONS = {"$eq": "=", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_FIELD = re.compile(r"[a-zA-Z0-9_.-]+")

Namespace = tuple[str, ...]
Condition = tuple[str, list[Any]]


def to_prefix(namespace: Sequence[str]) -> str:
    """Encode a namespace as the table does.

    Raises:
        InvalidNamespaceError: A label is no string, empty, or has a period or a NUL in it.
    """
    for label in namespace:
        if not isinstance(label, str) or not label or "." in label or "\x00" in label:
            raise InvalidNamespaceError(
                f"{tuple(namespace)!r} is not a namespace because of {label!r}. "
                "Labels are strings, not empty, without periods and NULs."
            )
    return ".".join(namespace)


def read(connection: sqlite3.Connection, ops: Sequence[Op]) -> list[Result]:
    """Answer gets, searches and listings, all from one state of the file.

    Raises:
        ValueError: A filter cannot be expressed.
        InvalidNamespaceError: See `to_prefix`.
    """
    connection.execute("BEGIN")
    try:
        return [_read(connection, op) for op in ops]
    finally:
        connection.execute("COMMIT")


def _read(connection: sqlite3.Connection, op: Op) -> Result:
    match op:
        case GetOp():
            return _get(connection, op)
        case SearchOp():
            return _search(connection, op)
        case ListNamespacesOp():
            return _list_namespaces(connection, op)
        case _:
            raise TypeError(f"{op!r} is nothing that a store can do.")


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
    conditions = [_within(op.namespace_prefix), *_filters(op.filter or {})]
    sql = _SEARCH.format(" AND ".join(sql for sql, _ in conditions)) + _NEWEST_FIRST
    parameters = [parameter for _, parameters in conditions for parameter in parameters]
    return [
        SearchItem(
            namespace=tuple(prefix.split(".")),
            key=key,
            value=orjson.loads(value),
            created_at=created_at,
            updated_at=updated_at,
        )
        for prefix, key, value, created_at, updated_at in connection.execute(
            sql, (*parameters, op.limit, op.offset)
        ).fetchall()
    ]


def _within(namespace: Sequence[str]) -> Condition:
    """A namespace and all below it: `a`, and whatever sorts from `a.` to just before `a/`."""
    if not namespace:
        return "TRUE", []
    prefix = to_prefix(namespace)
    return _WITHIN, [prefix, f"{prefix}.", f"{prefix}/"]


def _filters(wanted: Mapping[str, Any]) -> list[Condition]:
    return [
        _filter(field, operator, value)
        for field, condition in wanted.items()
        for operator, value in (condition if isinstance(condition, dict) else {"$eq": condition}).items()
    ]


def _filter(field: str, operator: str, value: Any) -> Condition:
    if not _FIELD.fullmatch(field):
        raise ValueError(f"Cannot filter by {field!r}: only letters, digits, '_', '.' and '-' may name a field.")
    if operator not in _COMPARISONS:
        raise ValueError(f"Cannot filter {field!r} with {operator!r}; use one of {', '.join(_COMPARISONS)}.")
    found = f"json_extract(value, '$.{field}')"
    comparison = _COMPARISONS[operator]
    if value is None and operator in {"$eq", "$ne"}:
        return f"{found} IS {'NOT ' if operator == '$ne' else ''}NULL", []
    if isinstance(value, str):
        return f"{found} {comparison} ?", [value]
    if isinstance(value, int | float):
        ordered = operator not in {"$eq", "$ne"}
        return f"{f'CAST({found} AS REAL)' if ordered else found} {comparison} ?", [float(value)]
    return f"{found} {comparison} ?", [orjson.dumps(value).decode()]


def _list_namespaces(connection: sqlite3.Connection, op: ListNamespacesOp) -> list[Namespace]:
    conditions = op.match_conditions or ()
    for condition in conditions:
        to_prefix(condition.path)
    stem = next((c.path for c in conditions if c.match_type == "prefix" and "*" not in c.path), ())
    where, parameters = _within(stem)
    rows = connection.execute(f"SELECT DISTINCT prefix FROM store WHERE {where}", parameters)  # noqa: S608
    namespaces = [tuple(prefix.split(".")) for (prefix,) in rows.fetchall()]
    found = {
        namespace if op.max_depth is None else namespace[: op.max_depth]
        for namespace in namespaces
        if all(_matches(condition, namespace) for condition in conditions)
    }
    return sorted(found, key=".".join)[op.offset : op.offset + op.limit]


def _matches(condition: MatchCondition, namespace: Namespace) -> bool:
    wanted = tuple(condition.path)
    if len(wanted) > len(namespace):
        return False
    part = namespace[: len(wanted)] if condition.match_type == "prefix" else namespace[-len(wanted) :]
    return not wanted or all(want in ("*", have) for want, have in zip(wanted, part, strict=True))
