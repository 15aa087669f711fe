"""A ledger's rows in memory: as much of a LangGraph store as a ledger asks for, and quicker than `InMemoryStore`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import GetOp, Op, PutOp, SearchOp


@dataclass(slots=True)
class Row:
    """A row as a store returns it. The value is the one that was put, not a copy."""

    key: str
    value: dict[str, Any]


class MemoryRows:
    """Rows by namespace and key. Operations take effect in order; nothing outlives the process."""

    def __init__(self) -> None:
        self._namespaces: dict[tuple[str, ...], dict[str, Row]] = {}

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """Run operations: get and put by key, and a search that lists a namespace prefix."""
        return [self._run(op) for op in ops]

    def _run(self, op: Op) -> Any:
        if type(op) is PutOp:
            rows = self._namespaces.get(op.namespace)
            if op.value is not None:
                if rows is None:
                    rows = self._namespaces[op.namespace] = {}
                rows[op.key] = Row(op.key, op.value)  # type: ignore[arg-type]  # a ledger puts dicts
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
        raise TypeError(f"MemoryRows was asked for {op!r}, which no ledger asks for")
