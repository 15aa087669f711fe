"""What a ledger in memory is made of: plain dictionaries, where a store's own cost would show."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from batch_bridge._core.models import Outcome, Request
from batch_bridge._ledger.requests import StoredOutcomes, StoredRequests
from batch_bridge._ledger.rows import RowTable


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


class MemoryRequests(StoredRequests):
    """Requests as objects in a dictionary."""

    def __init__(self, table: RowTable) -> None:
        super().__init__(table)
        self.held: dict[str, Request] = {}

    async def add(self, requests: Iterable[Request]) -> None:
        """See `StoredRequests`."""
        self.held.update({request.id: request for request in requests})

    async def read(self, ids: Sequence[str]) -> list[Request]:
        """See `StoredRequests`."""
        held = self.held
        return [held[request_id] for request_id in ids if request_id in held]

    def removing(self, ids: Sequence[str]) -> Iterable[Op]:
        """See `StoredRequests`."""
        _drop(self.held, ids)
        return ()


class MemoryOutcomes(StoredOutcomes):
    """Outcomes as objects in a dictionary."""

    def __init__(self, table: RowTable) -> None:
        super().__init__(table)
        self.held: dict[str, Outcome] = {}

    async def add(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `StoredOutcomes`."""
        self.held.update(outcomes)

    async def write(self, outcomes: Mapping[str, Outcome]) -> None:
        """See `StoredOutcomes`."""
        self.held.update(outcomes)

    async def read(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """See `StoredOutcomes`."""
        held = self.held
        return {request_id: held[request_id] for request_id in ids if request_id in held}

    async def known(self, ids: Sequence[str]) -> set[str]:
        """See `StoredOutcomes`."""
        return self.held.keys() & ids if self.held else set()

    async def remove(self, ids: Sequence[str]) -> None:
        """See `StoredOutcomes`."""
        _drop(self.held, ids)


def _drop(held: dict[str, Any], ids: Iterable[str]) -> None:
    deque(map(held.pop, ids, repeat(None)), maxlen=0)
