"""The keys of a deployment: from the environment, and in its store, where the first process makes one.

`BATCH_BRIDGE_KEYS` holds texts, separated by commas: the first one signs, all are believed. Below
`("batch_bridge", "keys", "signing")` in the store: a row `since`, which says since when there are keys, and one row for
each key. The newest of these signs where the environment has none, and all are believed. So keys are rolled by adding
one, and taking the old one away when nothing that it has signed is waited for any more.
"""

import math
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from langgraph.store.base import Op, PutOp, SearchOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.payload.signature import Check, Key, Keys, key_of
from batch_bridge._core.wording.log import logger_of
from batch_bridge._ledger.rows import Rows
from batch_bridge.errors import LedgerError

logger = logger_of(__name__)

VARIABLE: Final = "BATCH_BRIDGE_KEYS"
UNSIGNED: Final = "BATCH_BRIDGE_UNSIGNED_BEFORE"
"""A time (ISO 8601): threads that parked before it need no signature. For upgrades that take a while."""
NAMESPACE: Final = ("batch_bridge", "keys", "signing")
_SHORTEST: Final = 16
_MOST_REFUSED: Final = 1000
_HEX: Final = 64


async def read_keys(store: Rows) -> Keys:
    """Return a deployment's keys; the first call of all makes one.

    Raises:
        LedgerError: A key in the environment is too short, or its time is invalid.
    """
    rows = await _rows(store)
    held = _in_store(rows)
    if not held:
        now = _clock.now().timestamp()
        made = {"secret": secrets.token_hex(_HEX // 2), "at": now}
        ops: list[Op] = [PutOp(NAMESPACE, uuid4().hex, made, index=False)]
        if "since" not in rows:
            ops.append(PutOp(NAMESPACE, "since", {"at": now}, index=False))
        await store.abatch(ops)
        rows = await _rows(store)  # two processes may have made one at the same time
        held = _in_store(rows)
    since = [at for row in rows.values() if (at := _at(row)) is not None]
    first = _at(rows.get("since")) or min(since, default=0.0)
    own = _in_environment()
    signing, *others = [*own, *(key for _, _, key in sorted(held, key=lambda each: each[:2], reverse=True))]
    return Keys(signing, tuple(others), max(datetime.fromtimestamp(first, UTC), _unsigned_before()))


async def _rows(store: Rows) -> dict[str, Mapping[str, Any]]:
    (rows,) = await store.abatch([SearchOp(NAMESPACE, limit=1000)])
    return {row.key: row.value for row in rows if tuple(row.namespace) == NAMESPACE}


def _in_store(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[float, str, Key]]:
    found: list[tuple[float, str, Key]] = []
    for name, row in rows.items():
        secret, at = row.get("secret"), _at(row)
        if isinstance(secret, str) and len(secret) == _HEX and at is not None:
            found.append((at, name, key_of(secret)))
    return found


def _at(row: Mapping[str, Any] | None) -> float | None:
    at = None if row is None else row.get("at")
    is_time = isinstance(at, int | float) and not isinstance(at, bool) and math.isfinite(at) and 0 < at < 1e11  # noqa: PLR2004
    return at if is_time else None


def _in_environment() -> list[Key]:
    texts = [text.strip() for text in os.environ.get(VARIABLE, "").split(",") if text.strip()]
    if any(len(text) < _SHORTEST for text in texts):
        raise LedgerError(
            f"{VARIABLE} contains a key of fewer than {_SHORTEST} characters; use long random keys, for example from "
            "`openssl rand -hex 32`, separated by commas, the newest first"
        )
    return [key_of(text) for text in texts]


def _unsigned_before() -> datetime:
    given = os.environ.get(UNSIGNED, "").strip()
    if not given:
        return datetime.min.replace(tzinfo=UTC)
    try:
        time = datetime.fromisoformat(given)
    except ValueError as error:
        raise LedgerError(f"{UNSIGNED}={given!r} is not a time; pass one such as 2026-11-27T12:00:00Z") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


_cached: list[Keys] = []
"""What this process has read for its nodes: a process belongs to one deployment."""


def cached_keys() -> Keys | None:
    """Return the keys, if this process has read them."""
    return _cached[0] if _cached else None


async def keys_for_nodes(store: Rows, *, again: bool = False) -> Keys:
    """Return the keys; they are read once in a process, and once more with `again`."""
    if not _cached or again:
        _cached[:] = [await read_keys(store)]
    return _cached[0]


class KeyRing:
    """A bridge's keys. It reads them again when it meets a signature of a key that it does not know."""

    def __init__(self) -> None:
        self._keys: Keys | None = None
        self._missed: set[str] = set()
        self._refused: set[str] = set()

    @property
    def keys(self) -> Keys:
        """The keys.

        Raises:
            RuntimeError: They have not been loaded.
        """
        if self._keys is None:
            raise RuntimeError("a bridge's keys were used outside of a tick")
        return self._keys

    async def load(self, store: Rows, *, first: bool) -> None:
        """Read the keys, at the beginning of a tick and when one was missed."""
        if not (first or self._missed or self._keys is None):
            return
        self._keys = await read_keys(store)
        if len(self._refused) > _MOST_REFUSED:
            self._refused.clear()
        self._refused |= self._missed
        self._missed.clear()

    def check(self, thread: str, value: Mapping[str, Any]) -> Check:
        """Return what the signature of an interrupt proves. `UNKNOWN` is said once: then the keys are read again."""
        found = self.keys.check("interrupt", thread, value)
        if found is Check.UNKNOWN:
            signature = str(value.get("mac"))
            if signature in self._refused:
                return Check.FORGED
            self._missed.add(signature)
        return found
