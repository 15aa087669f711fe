"""The rows of bridges in a file, read with SQL alone: nothing of them is built but counts and batches."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from batch_bridge._core.policy.lanes import lane_in
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._status.models import Batch

Row = dict[str, Any]

Members: TypeAlias = tuple[int, str, float | None]

_ROOT: Final = "batch_bridge."
_PREFIXES: Final = """
WITH RECURSIVE found(prefix) AS (
    SELECT min(prefix) FROM store WHERE prefix > 'batch_bridge.' AND prefix < 'batch_bridge/'
    UNION ALL
    SELECT (SELECT min(prefix) FROM store WHERE prefix > found.prefix AND prefix < 'batch_bridge/')
    FROM found WHERE found.prefix IS NOT NULL
)
SELECT prefix FROM found WHERE prefix IS NOT NULL
"""
"""Each namespace of a bridge once, without a look at all rows."""
_KINDS: Final = ("succeeded", "errored", "expired", "cancelled")
"""What an outcome's row begins with."""
_WITHIN: Final = "(prefix = ? OR (prefix > ? AND prefix < ?))"


@dataclass(frozen=True, slots=True)
class Ledgers:
    """The ledgers in a file.

    Args:
        connection: The file, at one moment.
        kinds: The kinds of rows that there are, by bridge.
    """

    connection: sqlite3.Connection
    kinds: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> "Ledgers":
        """Find the ledgers in a file."""
        kinds: dict[str, set[str]] = {}
        for (prefix,) in connection.execute(_PREFIXES):
            bridge, _, kind = prefix.removeprefix(_ROOT).partition(".")
            kinds.setdefault(bridge, set()).add(kind.partition(".")[0])
        return cls(connection, {bridge: frozenset(found) for bridge, found in kinds.items()})

    def rows(self, bridge: str, kind: str) -> Iterator[tuple[str, Row]]:
        """Read all rows of a kind."""
        return ((key, orjson.loads(value)) for key, value in self.values(bridge, kind))

    def values(self, bridge: str, kind: str) -> Iterator[tuple[str, bytes]]:
        """Read all rows of a kind, as they are stored."""
        sql = "SELECT key, value FROM store WHERE prefix = ? ORDER BY key"
        yield from self.connection.execute(sql, (f"{_ROOT}{bridge}.{kind}",))

    def keys(self, bridge: str, kind: str) -> Iterator[str]:
        """Read the keys of all rows of a kind."""
        sql = "SELECT key FROM store WHERE prefix = ? ORDER BY key"
        return (key for (key,) in self.connection.execute(sql, (f"{_ROOT}{bridge}.{kind}",)))

    def count(self, bridge: str, kind: str) -> int:
        """Count the rows of a kind, those of version 0.1 in its shards too."""
        prefix = f"{_ROOT}{bridge}.{kind}"
        sql = f"SELECT count(*) FROM store WHERE {_WITHIN}"  # noqa: S608  # nothing of the caller's
        (count,) = self.connection.execute(sql, (prefix, f"{prefix}.", f"{prefix}/")).fetchone()
        return int(count)

    def outcomes(self, bridge: str, ids: list[str]) -> Counter[str]:
        """Count the outcomes of requests, by kind."""
        counts: Counter[str] = Counter()
        sql = "SELECT substr(CAST(value AS TEXT), 1, 60) FROM store WHERE prefix IN (?, ?) AND key = ? ORDER BY prefix"
        place = f"{_ROOT}{bridge}.outcomes"
        for each in ids:
            found = self.connection.execute(sql, (place, f"{place}.{each[:2]}", each)).fetchone()
            if found is not None:
                counts[next((kind for kind in _KINDS if kind in found[0]), "errored")] += 1
        return counts

    def open_batches(self, bridge: str, shown: Mapping[str, Row], terms: VendorTerms) -> list[Batch]:
        """Read the batches that have not been closed, oldest first.

        Args:
            bridge: Their bridge.
            shown: What the owner says of them, by key.
            terms: The provider's.
        """
        return [self._open(bridge, key, row, shown.get(key, {}), terms) for key, row in self.rows(bridge, "batches")]

    def _open(self, bridge: str, key: str, row: Row, shown: Row, terms: VendorTerms) -> Batch:
        return open_batch(bridge, key, row, self._members(bridge, key), shown=shown, terms=terms)

    def _members(self, bridge: str, key: str) -> Members:
        sql = (
            "SELECT json_array_length(text, '$.ids'), json_extract(text, '$.group'), "
            "json_extract(text, '$.terms.asked_at') "
            "FROM (SELECT CAST(value AS TEXT) AS text FROM store WHERE prefix = ? AND key = ?)"
        )
        found = self.connection.execute(sql, (f"{_ROOT}{bridge}.members", key)).fetchone()
        return (0, "", None) if found is None else (found[0] or 0, found[1] or "", found[2])


def open_batch(
    bridge: str, key: str, row: Row, members: Members, *, terms: VendorTerms, shown: Row | None = None
) -> Batch:
    """Return a batch that has not been closed.

    Args:
        bridge: Its bridge.
        key: Our own name for it.
        row: Its row.
        members: How many requests it holds, their group, and since when the oldest waits.
        terms: The provider's.
        shown: What the owner says of it.
    """
    shown = shown or {}
    total, group, asked_at = members
    is_sent = row["stage"] not in ("begun", "prepared")
    blind = row.get("blind")
    lane = lane_in(row.get("handle") if is_sent else row.get("prepared"))
    left = row["stage"] in ("overdue", "cancelled") or shown.get("stopping", False)
    return Batch(
        key=key,
        bridge=bridge,
        state="submitting" if not is_sent else "stopping" if left else "in_flight",
        handle=name_of(shown.get("handle") or row.get("handle")) if is_sent else None,
        group=group,
        total=total,
        done=shown.get("done"),
        submitted_at=row["at"] if is_sent else None,
        asked_at=asked_at,
        window_until=row["at"] + terms.window if terms.window is not None and is_sent and lane == "batch" else None,
        failures=shown.get("failures", 0),
        problem=shown.get("problem", "") or ("it could not be looked at" if blind else ""),
        since=shown.get("since"),
        bad_since=shown.get("bad_since") or (blind[0] if blind else None),
        expires_at=None if terms.keeps is None or not is_sent else row["at"] + terms.keeps,
        lane=lane,
    )


def closed_batch(bridge: str, key: str, row: Row) -> Batch:
    """Return a batch that has ended, from its summary."""
    return Batch(
        key=key,
        bridge=bridge,
        state="ended",
        handle=name_of(row["handle"]),
        group=row.get("group", ""),
        total=row["requests"] + row.get("resubmitted", 0),
        done=row["requests"],
        submitted_at=row["submitted_at"],
        ended_at=row["ended_at"],
        outcomes=dict(row["outcomes"]),
        resubmitted=row.get("resubmitted", 0),
        paid_twice=row.get("paid_twice", 0),
        lane=row.get("lane", "batch"),
    )


def name_of(handle: Any) -> Any:
    """Return what of a stored handle a person would look for at the provider; items that it may hold are not shown."""
    if isinstance(handle, dict):
        for name in ("id", "batch", "batch_id", "name"):
            if isinstance(found := handle.get(name), str):
                return _logged.handle(found)
    return _logged.handle(handle)
