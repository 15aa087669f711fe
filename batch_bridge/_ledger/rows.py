"""A bridge's rows in a store: by kind and key, many in one call."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from langgraph.store.base import GetOp, Op, PutOp, SearchOp

from batch_bridge.errors import LedgerError

T = TypeVar("T")

CHUNK: Final = 500
"""Operations in one call of the store: long enough to pay for a commit, short enough to hold little."""
_UNREADABLE: Final = (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, OSError)
"""What reading a row of another form raises."""
_MOST: Final = 1_000_000
"""Rows in one listing. A longer table is an error: a batch that is not seen would be sent again."""

SetAside = Callable[[str, str, str, Exception], object]
"""Takes the bridge, the kind and the key of a row that cannot be read, and what reading it has raised."""


class Rows(Protocol):
    """What a ledger is kept in: any LangGraph `BaseStore`, or less."""

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """Run operations, and return once they are durable."""
        ...


class RowTable:
    """The rows of one bridge, each kind in a namespace of its own.

    Args:
        store: Where they are.
        bridge: The bridge's name.
        chunk: Operations in one call of the store, and rows that are handled at once.
        set_aside: Called with a row that cannot be read, which is then left out. Without it the error is raised.
    """

    def __init__(self, store: Rows, bridge: str, *, chunk: int = CHUNK, set_aside: SetAside | None = None) -> None:
        self.store = store
        self.bridge = bridge
        self.root = ("batch_bridge", bridge)
        self.chunk = chunk
        self._set_aside = set_aside

    def put(self, kind: str, key: str, value: dict[str, Any] | None) -> PutOp:
        """Return the operation that writes a row, or that deletes it."""
        return PutOp((*self.root, kind), key, value, index=False)

    async def get(self, kind: str, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        """Read rows, in the order asked."""
        namespace = (*self.root, kind)
        items = await self.run(GetOp(namespace, key) for key in keys)
        return [None if item is None else item.value for item in items]

    async def all(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """Read all rows of a kind, oldest first.

        Raises:
            LedgerError: There are more than can be listed.
        """
        (found,) = await self.run([SearchOp((*self.root, kind), limit=_MOST)])
        if len(found) >= _MOST:
            raise LedgerError(f"the ledger contains {_MOST:,} {kind} or more, and cannot list them; use another file")
        return sorted(((item.key, item.value) for item in found), key=_age_and_key)

    def each(
        self,
        kind: str,
        rows: Iterable[tuple[str, dict[str, Any] | None]],
        read: Callable[[str, dict[str, Any]], T],
        unread: list[str] | None = None,
    ) -> list[T]:
        """Return what rows hold; those that are not there are left out.

        Args:
            kind: Their kind, for who is told of one that cannot be read.
            rows: By their keys.
            read: Makes something of a row.
            unread: Takes the keys of rows that were set aside.
        """
        found: list[T] = []
        for key, row in rows:
            if row is not None:
                try:
                    found.append(read(key, row))
                except (LedgerError, *_UNREADABLE) as error:
                    if self._set_aside is None:
                        raise
                    self._set_aside(self.bridge, kind, key, error)
                    if unread is not None:
                        unread.append(key)
        return found

    async def run(self, ops: Iterable[Op]) -> list[Any]:
        """Run operations in order, so many in one call of the store. Durable when it returns."""
        results: list[Any] = []
        chunk: list[Op] = []
        for op in ops:
            chunk.append(op)
            if len(chunk) == self.chunk:
                results += await self.store.abatch(chunk)
                chunk = []
        if chunk:
            results += await self.store.abatch(chunk)
        return results


def _age_and_key(row: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
    key, value = row
    at = value.get("at", 0.0)
    return (at if isinstance(at, int | float) and at == at else 0.0), key  # noqa: PLR0124  # NaN has no place
