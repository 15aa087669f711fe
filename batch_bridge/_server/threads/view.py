"""A thread as the server shows it: where it is parked, and whether it runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from langgraph_sdk.client import LangGraphClient

from batch_bridge._core.payload.interrupt_payload import (
    Asked,
    is_uuid,
    looks_like_ours,
    read_author,
    read_interrupt,
    read_origin,
)
from batch_bridge._core.payload.signature import Check
from batch_bridge._node.platform.inbox import digest_asks
from batch_bridge._node.platform.keys import KeyRing

_PAGE = 200
"""Threads in one call: their interrupts hold what they ask for, and may be long."""

_TOLD: Final = ("thread_id", "status", "interrupts", "metadata", "config", "updated_at")
_MOST = 1000
"""Threads in one call that asks for no more than whether they are there."""


@dataclass(frozen=True, slots=True)
class ParkedWait:
    """One of our interrupts: its address, its requests, the run whose context its thread needs, and its asker."""

    id: str
    task: str
    asks: tuple[Asked, ...]
    origin: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A thread.

    Attributes:
        id: LangGraph's `thread_id`.
        assistant: The assistant that ran it last, and resumes it.
        busy: A run is under way or waits for its time; its interrupts are shown all the same.
        failed: Its last run failed. Its owner may run it again; no one else should, unless it is stranded.
        ended: Nothing more will be asked for.
        parked: Our interrupts that it waits at.
        config: Settings of its runs that the server does not hand on to the next one.
        questions: The ids of the foreign interrupts that it waits at.
        stranded: Its last run failed, and no node of it has: it is parked as before. Only `look_closely` sets it.
        unsigned: Interrupts of our form that nothing proves to be ours; none of them is obeyed.
        refused: Why something that looks like ours is not obeyed; empty if nothing is wrong.
    """

    id: str
    assistant: str
    busy: bool
    failed: bool
    ended: bool
    parked: tuple[ParkedWait, ...]
    config: dict[str, Any]
    questions: tuple[str, ...] = ()
    stranded: bool = False
    unsigned: tuple[ParkedWait, ...] = ()
    refused: str = ""

    def vouched(self, bridge: str, ids: AbstractSet[str]) -> "ThreadView":
        """Return the thread with those of its unsigned interrupts that ask a bridge for what it holds for the thread.

        So what a version without signatures has taken in is not lost, whatever has become of the thread since.
        """
        held = tuple(
            each for each in self.unsigned if any(one.batcher == bridge and one.id in ids for one in each.asks)
        )
        return replace(self, parked=(*self.parked, *held), unsigned=(), ended=False) if held else self

    def asks(self, bridge: str) -> list[Asked]:
        """Return what it waits for of one bridge."""
        return [asked for interrupt in self.parked for asked in interrupt.asks if asked.batcher == bridge]

    def digests(self, bridge: str) -> set[str]:
        """Return, for each interrupt, what it asks of one bridge, as the note of its task names it."""
        return {
            digest_asks(asked.id for asked in interrupt.asks if asked.batcher == bridge) for interrupt in self.parked
        }

    @property
    def bridges(self) -> set[str]:
        """The bridges that it waits for."""
        return {asked.batcher for interrupt in self.parked for asked in interrupt.asks}


async def look(client: LangGraphClient, ids: Sequence[str], key_ring: KeyRing) -> dict[str, ThreadView]:
    """Read threads by id. One that is not there, or that the caller may not see, is left out."""
    found: dict[str, ThreadView] = {}
    for page in _pages(ids, _PAGE):
        threads: Iterable[Mapping[str, Any]] = await client.threads.search(ids=page, select=[*_TOLD], limit=len(page))
        found |= {str(thread["thread_id"]): see(thread, key_ring) for thread in threads}
    return found


async def present(client: LangGraphClient, ids: Sequence[str]) -> set[str]:
    """Return which threads are there, in one call for a thousand of them, which reads nothing else of them."""
    found: set[str] = set()
    for page in _pages(ids, _MOST):
        threads: Iterable[Mapping[str, Any]] = await client.threads.search(
            ids=page, select=["thread_id"], limit=len(page)
        )
        found |= {str(thread["thread_id"]) for thread in threads}
    return found


def _pages(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield ids in pages. What is no UUID is no thread, and a server would refuse its whole page."""
    held = iter([each for each in ids if is_uuid(each)])
    while page := list(islice(held, size)):
        yield page


async def look_for_parked(
    client: LangGraphClient, offset: int, since: datetime | None, key_ring: KeyRing
) -> tuple[list[ThreadView], bool]:
    """Read a page of the threads that wait for something, newest first, and return whether it was the last one.

    Args:
        client: Calls the server.
        offset: How many threads to pass over.
        since: Those that have not changed since then are of no interest.
        key_ring: The deployment's keys.
    """
    threads: Sequence[Mapping[str, Any]] = await client.threads.search(
        status="interrupted",
        select=[*_TOLD],
        limit=_PAGE,
        offset=offset,
        sort_by="updated_at",
        sort_order="desc",
    )
    last = len(threads) < _PAGE
    if threads and since is not None:
        last = last or datetime.fromisoformat(str(threads[-1]["updated_at"])) < since
    return [see(thread, key_ring) for thread in threads], last


def see(thread: Mapping[str, Any], key_ring: KeyRing) -> ThreadView:
    """Read the server's view of a thread. Any user may have written its interrupts' values."""
    status, metadata, config = thread.get("status"), thread.get("metadata") or {}, thread.get("config") or {}
    raised = [
        (str(task), each)
        for task, several in (thread.get("interrupts") or {}).items()
        for each in several
        if isinstance(each, Mapping)
    ]
    parked: list[ParkedWait] = []
    unsigned: list[ParkedWait] = []
    questions: list[str] = []
    refused, in_doubt = "", False
    for task, each in raised:
        value, address = each.get("value"), _address(each)
        asked = read_interrupt(value)
        if asked is None or not isinstance(value, Mapping):
            questions.append(address)
            if looks_like_ours(value):
                refused = "an interrupt looks like ours, but has another form"
            continue
        if not address:
            continue
        found = ParkedWait(address, task, tuple(asked), read_origin(value), read_author(value))
        check = key_ring.check(str(thread["thread_id"]), value)
        if check is Check.VALID or (check is Check.ABSENT and _is_old(thread, key_ring)):
            parked.append(found)
        elif check is Check.UNKNOWN:
            in_doubt = True  # the keys are read again before the next look
        else:
            unsigned.append(found)
            refused = f"an interrupt that looks like ours is ignored: {check.value}"
    return ThreadView(
        id=str(thread["thread_id"]),
        assistant=str(metadata.get("assistant_id") or metadata.get("graph_id") or ""),
        busy=status == "busy" or in_doubt,
        failed=status == "error",
        ended=status == "idle" and not raised,
        parked=tuple(parked),
        config={each: config[each] for each in ("recursion_limit", "tags") if config.get(each)},
        questions=tuple(questions),
        unsigned=tuple(unsigned),
        refused=refused,
    )


def _is_old(thread: Mapping[str, Any], key_ring: KeyRing) -> bool:
    """Return whether a thread has not changed since there are keys: a version without them has parked it."""
    told = thread.get("updated_at")
    if not told:
        return False
    at = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) < key_ring.keys.since


def _address(interrupt: Mapping[str, Any]) -> str:
    return str(interrupt.get("id") or interrupt.get("interrupt_id") or "")
