"""Rows of version 0.1, which lay in 256 namespaces of a kind: they are moved to where this version reads them.

A store on Postgres runs one statement for each namespace that a batch of gets or deletes names, so all rows of a kind
lie in one namespace now. This module goes with the next version.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp

_KINDS: Final = ("requests", "outcomes", "tries")
_MOST: Final = 1_000
"""Namespaces of a kind; there were 256."""
_LARGEST: Final = 1_000_000


async def gather(run: Callable[[Iterable[Op]], Awaitable[list[Any]]], root: tuple[str, ...]) -> int:
    """Move the rows of a bridge out of the old namespaces, and return how many there were.

    Idempotent: a row is written in its new place before it goes from the old one. One that is there already is newer,
    and stays. The caller owns the ledger.

    Args:
        run: Runs operations of the store.
        root: Below what the ledger is.
    """
    below = [ListNamespacesOp((MatchCondition("prefix", (*root, kind)),), limit=_MOST) for kind in _KINDS]
    count = 0
    for namespaces in await run(below):
        for namespace in map(tuple, namespaces):
            if len(namespace) == len(root) + 2:
                count += await _move(run, namespace)
    return count


async def _move(run: Callable[[Iterable[Op]], Awaitable[list[Any]]], namespace: tuple[str, ...]) -> int:
    place = namespace[:-1]
    (rows,) = await run([SearchOp(namespace, limit=_LARGEST)])
    there = await run([GetOp(place, row.key) for row in rows])
    await run(
        [PutOp(place, row.key, row.value, index=False) for row, known in zip(rows, there, strict=True) if known is None]
    )
    await run([PutOp(namespace, row.key, None) for row in rows])
    return len(rows)
