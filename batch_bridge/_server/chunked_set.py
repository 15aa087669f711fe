"""A set of small entries in a store, kept in pieces: read at once, changed one piece at a time, not in listings."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from langgraph.store.base import Op, PutOp, SearchOp

from batch_bridge._core.models import JSON
from batch_bridge._core.payload.interrupt_payload import is_request_id
from batch_bridge._ledger.rows import Rows
from batch_bridge._server.unreadable import report
from batch_bridge.errors import LedgerError

ENTRIES = 200
"""Entries in a piece: one row, rewritten when one of them changes."""
_LONGEST_NAME = 12
_MOST = 100_000
"""Pieces in one set."""
_PAGE = 250
"""Pieces that are read at once: a long set takes time, and its owner must show meanwhile that it lives."""


class ChunkedSet:
    """Entries by key, in the order added. Held in memory as well: reading costs nothing.

    A write has been made durable when its method returns. Its pieces are written one after the other: an older state of
    a piece never lands on a newer one, however many tasks change it at once. One process at a time.

    Args:
        store: Where they are.
        namespace: Below what.
        is_right: Returns whether an entry has the form of those that its owner writes; another one is set aside.
        entries: How many are in a piece.
    """

    def __init__(
        self,
        store: Rows,
        namespace: tuple[str, ...],
        is_right: Callable[[Any], bool] = lambda _: True,
        *,
        entries: int = ENTRIES,
    ) -> None:
        self._most = entries
        self._store = store
        self._is_right = is_right
        self._namespace = namespace
        self._entries: dict[str, JSON] = {}
        self._piece_of: dict[str, str] = {}
        self._pieces: dict[str, dict[str, JSON]] = {}
        self._last = 0
        self._writing: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, key: str) -> JSON:
        """Return an entry; `None` if it is not there."""
        return self._entries.get(key)

    def items(self) -> Iterable[tuple[str, JSON]]:
        """Return all entries, oldest first."""
        return self._entries.items()

    async def load(self, renew: Callable[[], Awaitable[None]] | None = None) -> None:
        """Read what the store holds, in place of what is in memory.

        Args:
            renew: Called between two pages.
        """
        rows = await self._rows(renew)
        self._entries.clear()
        self._piece_of.clear()
        self._pieces.clear()
        for row in sorted(rows, key=lambda row: row.key):
            if not (row.key.isascii() and row.key.isdigit() and len(row.key) <= _LONGEST_NAME):
                report(self._namespace[1], self._namespace[2], row.key)
                continue
            piece = self._read(row.key, row.value.get("entries"))
            self._pieces[row.key] = piece
            self._entries |= piece
            self._piece_of.update(dict.fromkeys(piece, row.key))
            self._last = max(self._last, int(row.key))

    async def _rows(self, renew: Callable[[], Awaitable[None]] | None) -> list[Any]:
        """Read the pieces, a page at a time. The caller alone writes them, so that no page moves meanwhile."""
        found: list[Any] = []
        while True:
            (page,) = await self._store.abatch([SearchOp(self._namespace, limit=_PAGE, offset=len(found))])
            found += page
            if len(page) < _PAGE:
                break
            if renew is not None:
                await renew()
        if len({row.key for row in found}) < len(found):  # pieces of one time have no order that a store must keep to
            (found,) = await self._store.abatch([SearchOp(self._namespace, limit=_MOST)])
            if len(found) >= _MOST:
                raise LedgerError(f"{self._namespace} contains {_MOST:,} rows or more, and cannot be listed")
        return found

    def _read(self, name: str, entries: object) -> dict[str, JSON]:
        """Return the entries of a piece that are of the right form, and that no piece before it holds."""
        piece: dict[str, JSON] = {}
        held = entries if isinstance(entries, list) else []
        for entry in held:
            match entry:
                case [str(key), value] if is_request_id(key) and key not in self._entries and self._is_right(value):
                    piece[key] = value
        if len(piece) < len(held) or not isinstance(entries, list):
            report(self._namespace[1], self._namespace[2], name)
        return piece

    async def add(self, entries: Mapping[str, JSON]) -> None:
        """Add entries; an existing entry stays as it is."""
        touched = set()
        for key, value in entries.items():
            if key in self._entries:
                continue
            name = self._roomy()
            self._pieces.setdefault(name, {})[key] = value
            self._entries[key] = value
            self._piece_of[key] = name
            touched.add(name)
        await self._write(touched)

    async def remove(self, keys: Iterable[str]) -> None:
        """Take entries away; those that are not there are no error."""
        touched = set()
        for key in keys:
            name = self._piece_of.pop(key, None)
            if name is not None:
                del self._entries[key]
                del self._pieces[name][key]
                touched.add(name)
        await self._write(touched)

    def _roomy(self) -> str:
        name = f"{self._last:012d}"
        if len(self._pieces.get(name, ())) >= self._most:
            self._last += 1
            name = f"{self._last:012d}"
        return name

    async def _write(self, names: set[str]) -> None:
        if not names:
            return
        async with self._turn():
            ops: list[Op] = []
            for name in sorted(names):
                piece = self._pieces.get(name, {})
                entries = [[key, value] for key, value in piece.items()]
                ops.append(PutOp(self._namespace, name, {"entries": entries} if entries else None, index=False))
                if not piece:
                    self._pieces.pop(name, None)
            await self._store.abatch(ops)

    def _turn(self) -> asyncio.Lock:
        """Return the lock of this event loop: a server may run each tick on a loop of its own, one after the other."""
        loop = asyncio.get_running_loop()
        if self._writing is None or self._writing[0] is not loop:
            self._writing = loop, asyncio.Lock()
        return self._writing[1]
