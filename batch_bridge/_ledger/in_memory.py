"""A ledger in memory: plain dictionaries behind the same port, where a store's own cost would show."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from batch_bridge._core.models import Closed, Outcome, Request
from batch_bridge._ledger.ledger import Ledger


@dataclass(slots=True)
class MemoryRow:
    """A row as a store returns it. The value is the one that was put, not a copy."""

    key: str
    value: dict[str, Any]


class MemoryRows:
    """Rows by namespace and key. Operations take effect in order; nothing outlives the process."""

    def __init__(self) -> None:
        self._namespaces: dict[tuple[str, ...], dict[str, MemoryRow]] = {}

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """Run operations: get and put by key, a search that lists a namespace prefix, and one for namespaces."""
        return [self._run(op) for op in ops]

    def _run(self, op: Op) -> Any:
        if type(op) is PutOp:
            rows = self._namespaces.get(op.namespace)
            if op.value is not None:
                if rows is None:
                    rows = self._namespaces[op.namespace] = {}
                rows[op.key] = MemoryRow(op.key, op.value)  # type: ignore[arg-type]  # a ledger puts dicts
            elif rows is not None and rows.pop(op.key, None) is not None and not rows:
                del self._namespaces[op.namespace]
            return None
        if type(op) is GetOp:
            rows = self._namespaces.get(op.namespace)
            return None if rows is None else rows.get(op.key)
        if type(op) is SearchOp and op.filter is None and op.query is None:
            prefix = op.namespace_prefix
            found = [
                row
                for namespace, rows in self._namespaces.items()
                if namespace[: len(prefix)] == prefix
                for row in rows.values()
            ]
            return found[op.offset : op.offset + op.limit]
        if type(op) is ListNamespacesOp:
            prefixes = [each.path for each in op.match_conditions or ()]
            return [each for each in self._namespaces if all(each[: len(path)] == path for path in prefixes)]
        raise TypeError(f"MemoryRows was asked for {op!r}, which no ledger asks for")


class MemoryLedger(Ledger):
    """A ledger whose requests and outcomes are objects in dictionaries; its few batches are rows.

    Args:
        rows: What holds the batches.
        bridge: The bridge's name.
        most_closed: Summaries of ended batches that are kept; `None`: all.
    """

    def __init__(self, rows: MemoryRows, bridge: str, *, most_closed: int | None = None) -> None:
        super().__init__(rows, bridge)
        self._most_closed = most_closed
        self._closed: deque[str] = deque()
        self._requests: dict[str, Request] = {}
        self._outcomes: dict[str, Outcome] = {}

    async def close(self, closed: Closed, money: dict[str, Any] | None = None) -> None:
        """See `Ledger`; of summaries and accounts the newest are kept, where there is a limit."""
        await super().close(closed, money)
        if self._most_closed is None:
            return
        self._closed.append(closed.key)
        while len(self._closed) > self._most_closed:
            oldest = self._closed.popleft()
            await self._run([self._put("closed", oldest, None), self._put("money", oldest, None)])

    async def enqueue(self, requests: Iterable[Request]) -> None:
        """See `Ledger`."""
        self._requests.update({request.id: request for request in requests})

    async def requests(self, ids: Sequence[str]) -> list[Request]:
        """See `Ledger`."""
        return [self._requests[request_id] for request_id in ids if request_id in self._requests]

    async def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """See `Ledger`."""
        return {request_id: self._outcomes[request_id] for request_id in ids if request_id in self._outcomes}

    async def settled(self, ids: Sequence[str]) -> set[str]:
        """See `Ledger`."""
        return self._outcomes.keys() & ids if self._outcomes else set()

    async def settle(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `Ledger`."""
        self._outcomes.update(outcomes)
        _drop(self._requests, outcomes)

    async def forget(self, ids: Iterable[str]) -> None:
        """See `Ledger`."""
        held = list(ids)
        _drop(self._outcomes, held)
        await self.forget_attempts(held)

    async def drop(self, ids: Iterable[str]) -> None:
        """See `Ledger`."""
        _drop(self._requests, ids)


def _drop(held: dict[str, Any], ids: Iterable[str]) -> None:
    deque(map(held.pop, ids, repeat(None)), maxlen=0)
