"""The inbox: ids of threads that are about to park, left in the store by `wait` and read by the bridge's tick.

A note is one row, with a key of its own, so that taking it away never takes a newer one of the same thread. Nothing of
what was asked is in it: that is read from the parked interrupt, which is the truth.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from langgraph.store.base import PutOp, SearchOp

from batch_bridge._ledger import Rows

_MOST = 10_000
"""Notes that are read at once; the rest in the next pass."""


@dataclass(frozen=True, slots=True)
class Note:
    """A task of a thread is about to park.

    Attributes:
        key: The row's.
        thread: LangGraph's `thread_id`.
        user: Who it runs for, where the deployment knows its users.
        asks: What the interrupt that it parks at asks of this bridge, as `digest_asks` gives it. The server goes on
            showing a thread's last interrupt while the thread runs towards its next one.
        left_at: When it was left.
        idle: Its run was resumed with answers, and has taken none of them; `None`: so it is, and it proves nothing.
        unclaimed: Answers that were paid for and that its task asks for no more.
    """

    key: str
    thread: str
    user: str
    asks: str
    left_at: datetime
    idle: bool | None
    unclaimed: tuple[str, ...] = ()


def digest_asks(ids: Iterable[str]) -> str:
    """Return what tells what one interrupt asks of one bridge from all else."""
    return hashlib.blake2b(",".join(sorted(ids)).encode(), digest_size=16).hexdigest()


def note_row(
    bridge: str,
    thread: str,
    user: str,
    ids: Iterable[str],
    *,
    idle: bool | None,
    unclaimed: Iterable[str] = (),
) -> PutOp:
    """Return what `wait` writes before its thread parks."""
    value: dict[str, Any] = {"thread": thread, "asks": digest_asks(ids), "at": datetime.now(UTC).timestamp()}
    if user:
        value["user"] = user
    if idle is not False:
        value["idle"] = idle
    if left := sorted(unclaimed):
        value["unclaimed"] = left
    return PutOp(_namespace(bridge), uuid4().hex, value, index=False)


async def read_notes(store: Rows, bridge: str) -> list[Note]:
    """Return the notes that lie there, oldest first."""
    (found,) = await store.abatch([SearchOp(_namespace(bridge), limit=_MOST)])
    notes = [
        Note(
            key=item.key,
            thread=item.value["thread"],
            user=item.value.get("user", ""),
            asks=item.value["asks"],
            left_at=datetime.fromtimestamp(item.value["at"], UTC),
            idle=item.value.get("idle", False),
            unclaimed=tuple(item.value.get("unclaimed", ())),
        )
        for item in found
    ]
    return sorted(notes, key=lambda note: note.left_at)


async def remove_notes(store: Rows, bridge: str, keys: Iterable[str]) -> None:
    """Take notes away."""
    ops: Sequence[PutOp] = [PutOp(_namespace(bridge), key, None) for key in keys]
    if ops:
        await store.abatch(ops)


def _namespace(bridge: str) -> tuple[str, ...]:
    return ("batch_bridge", bridge, "inbox")
