"""A store that outlives processes. Rows are text, so that nobody shares an object with it."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Item, ListNamespacesOp, PutOp, SearchItem, SearchOp

from simulation.world import World

_AT = datetime(2030, 1, 1, tzinfo=UTC)


class SimStore(BaseStore):
    """Each process reopens it, over the same rows."""

    def __init__(self, world: World, place: str = "store") -> None:
        self._world = world
        self._place = place
        self.rows: dict[tuple[str, ...], dict[str, str]] = {}
        self.changed: list[str] = []
        """Outcomes that were written, and then written in another way: the first one counts."""

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        raise AssertionError("the hosts are async")

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        held = list(ops)
        verb = (
            f"{type(held[0]).__name__} {getattr(held[0], 'namespace', getattr(held[0], 'namespace_prefix', ''))}"
            if held
            else ""
        )
        return await self._world.call(
            self._place,
            verb,
            lambda: [self._run(op) for op in held],
            half=lambda: [self._run(op) for op in held[: len(held) // 2]],
        )

    def _run(self, op: Any) -> Any:
        match op:
            case PutOp(namespace=namespace, key=key, value=None):
                rows = self.rows.get(namespace, {})
                rows.pop(key, None)
                if not rows:
                    self.rows.pop(namespace, None)
                return None
            case PutOp(namespace=namespace, key=key, value=value):
                rows, text = self.rows.setdefault(namespace, {}), json.dumps(value)
                if namespace[-1] == "outcomes" and key in rows and json.loads(rows[key])["text"] != value["text"]:
                    self.changed.append(f"{key}: {rows[key]} became {text}")
                rows[key] = text
                return None
            case GetOp(namespace=namespace, key=key):
                text = self.rows.get(namespace, {}).get(key)
                return (
                    None
                    if text is None
                    else Item(value=json.loads(text), key=key, namespace=namespace, created_at=_AT, updated_at=_AT)
                )
            case SearchOp(namespace_prefix=prefix, limit=limit, offset=offset, filter=wanted):
                found = [
                    SearchItem(namespace=namespace, key=key, value=json.loads(text), created_at=_AT, updated_at=_AT)
                    for namespace, rows in self.rows.items()
                    if namespace[: len(prefix)] == prefix
                    for key, text in rows.items()
                ]
                if wanted:
                    found = [each for each in found if wanted.items() <= each.value.items()]
                return found[offset : offset + limit]
            case ListNamespacesOp(match_conditions=conditions, limit=limit, offset=offset):
                prefixes = [each.path for each in conditions or () if each.match_type == "prefix"]
                found = [each for each in self.rows if all(each[: len(prefix)] == prefix for prefix in prefixes)]
                return found[offset : offset + limit]
        raise AssertionError(op)

    def read(self) -> dict[str, list[str]]:
        """Return the keys of all rows by what they are: their namespace without its shard."""
        kinds: dict[str, list[str]] = {}
        for namespace, rows in self.rows.items():
            kind = namespace[2] if namespace[0] == "batch_bridge" else namespace[0]
            kinds.setdefault(kind, []).extend(rows)
        return kinds
