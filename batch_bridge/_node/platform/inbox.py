"""The inbox: ids of threads that are about to park, left in the store by `wait` and read by the bridge's tick.

A note is one row, with a key of its own, so that taking it away never takes a newer one of the same thread. Nothing of
what was asked is in it: that is read from the parked interrupt, which is the truth.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from langgraph.store.base import PutOp, SearchOp

from batch_bridge._core import clock as _clock
from batch_bridge._core.payload.interrupt_payload import is_request_id, is_uuid
from batch_bridge._ledger.rows import Rows

_MOST = 10_000
"""Notes that are read at once; the rest in the next pass."""
_LONGEST = 1000
_LATEST = 1e11
_AHEAD = timedelta(minutes=1)
"""How far another machine's clock may be ahead; a note from later than that would be kept forever."""


@dataclass(frozen=True, slots=True)
class Note:
    """A task of a thread is about to park.

    Attributes:
        key: The row's.
        thread: LangGraph's `thread_id`.
        user: The user that it runs for, where the deployment knows its users.
        asks: What the interrupt that it parks at asks of this bridge, as `digest_asks` gives it. The server continues
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
    """Return an id of what one interrupt asks of one bridge."""
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
    value: dict[str, Any] = {"thread": thread, "asks": digest_asks(ids), "at": _clock.now().timestamp()}
    if user:
        value["user"] = user
    if idle is not False:
        value["idle"] = idle
    if left := sorted(unclaimed):
        value["unclaimed"] = left
    return PutOp(_namespace(bridge), uuid4().hex, value, index=False)


async def read_notes(store: Rows, bridge: str) -> tuple[list[Note], list[str]]:
    """Return the notes of the inbox, oldest first, and the keys of rows that are not notes."""
    (found,) = await store.abatch([SearchOp(_namespace(bridge), limit=_MOST)])
    notes = {item.key: _note(item.key, item.value) for item in found}
    read = sorted((note for note in notes.values() if note is not None), key=lambda note: note.left_at)
    return read, [key for key, note in notes.items() if note is None]


def _note(key: str, value: Mapping[str, Any]) -> Note | None:
    """Return a note; `None` if something in it is of another type or out of range."""
    thread, user, asks, at = value.get("thread"), value.get("user", ""), value.get("asks"), value.get("at")
    idle, unclaimed = value.get("idle", False), value.get("unclaimed", [])
    if not all(isinstance(each, str) and len(each) <= _LONGEST and "\0" not in each for each in (user, asks)):
        return None
    if not is_uuid(thread) or isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < _LATEST:
        return None
    if not (idle is None or isinstance(idle, bool)) or not isinstance(unclaimed, list):
        return None
    if not all(is_request_id(each) for each in unclaimed):
        return None
    left_at = min(datetime.fromtimestamp(at, UTC), _clock.now() + _AHEAD)
    return Note(key, thread, str(user), str(asks), left_at, idle, tuple(unclaimed))


async def remove_notes(store: Rows, bridge: str, keys: Iterable[str]) -> None:
    """Take notes away."""
    ops: Sequence[PutOp] = [PutOp(_namespace(bridge), key, None) for key in keys]
    if ops:
        await store.abatch(ops)


def _namespace(bridge: str) -> tuple[str, ...]:
    return ("batch_bridge", bridge, "inbox")
