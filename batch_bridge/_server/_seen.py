"""A thread as the server tells of it: where it is parked, and whether it runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langgraph_sdk.client import LangGraphClient

from batch_bridge._deployment._inbox import digest_asks
from batch_bridge._wire import Asked, read_author, read_interrupt, read_origin

_PAGE = 200
"""Threads in one call: their interrupts hold what they ask for, and may be long."""

_MOST = 1000
"""Threads in one call that asks for no more than whether they are there."""


@dataclass(frozen=True, slots=True)
class Parked:
    """One of our interrupts: its address, what it asks for, the run whose context its thread needs, and who asked."""

    id: str
    task: str
    asks: tuple[Asked, ...]
    origin: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A thread.

    Attributes:
        id: LangGraph's `thread_id`.
        assistant: Who ran it last; resumes it.
        busy: A run is under way or waits for its time; what it is parked at is told all the same.
        failed: Its last run failed. Its owner may run it again; nobody else should, unless it is stranded.
        ended: Nothing more will be asked for.
        parked: Our interrupts that it waits at.
        config: Settings of its runs that the server does not hand on to the next one.
        questions: The ids of interrupts that it waits at and that are none of ours.
        stranded: Its last run failed, and no node of it has: it is parked as before. Told by `look_closely` alone.
    """

    id: str
    assistant: str
    busy: bool
    failed: bool
    ended: bool
    parked: tuple[Parked, ...]
    config: dict[str, Any]
    questions: tuple[str, ...] = ()
    stranded: bool = False

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


async def look(client: LangGraphClient, ids: Sequence[str]) -> dict[str, Seen]:
    """Read threads by id. One that is not there, or that the caller may not see, is left out."""
    found: dict[str, Seen] = {}
    for start in range(0, len(ids), _PAGE):
        page = list(ids[start : start + _PAGE])
        threads: Iterable[Mapping[str, Any]] = await client.threads.search(
            ids=page, select=["thread_id", "status", "interrupts", "metadata", "config"], limit=len(page)
        )
        found |= {str(thread["thread_id"]): see(thread) for thread in threads}
    return found


async def present(client: LangGraphClient, ids: Sequence[str]) -> set[str]:
    """Tell which threads are there, in one call for a thousand of them, which reads nothing else of them."""
    found: set[str] = set()
    for start in range(0, len(ids), _MOST):
        page = list(ids[start : start + _MOST])
        threads: Iterable[Mapping[str, Any]] = await client.threads.search(
            ids=page, select=["thread_id"], limit=len(page)
        )
        found |= {str(thread["thread_id"]) for thread in threads}
    return found


async def look_for_parked(client: LangGraphClient, offset: int, since: datetime | None) -> tuple[list[Seen], bool]:
    """Read a page of the threads that wait for something, newest first, and tell whether it was the last one.

    Args:
        client: Calls the server.
        offset: How many threads to pass over.
        since: Those that have not changed since then are of no interest.
    """
    threads: Sequence[Mapping[str, Any]] = await client.threads.search(
        status="interrupted",
        select=["thread_id", "status", "interrupts", "metadata", "config", "updated_at"],
        limit=_PAGE,
        offset=offset,
        sort_by="updated_at",
        sort_order="desc",
    )
    last = len(threads) < _PAGE
    if threads and since is not None:
        last = last or datetime.fromisoformat(str(threads[-1]["updated_at"])) < since
    return [see(thread) for thread in threads], last


def see(thread: Mapping[str, Any]) -> Seen:
    """Read what the server tells of a thread."""
    status, metadata, config = thread.get("status"), thread.get("metadata") or {}, thread.get("config") or {}
    raised = thread.get("interrupts") or {}
    return Seen(
        id=str(thread["thread_id"]),
        assistant=str(metadata.get("assistant_id") or metadata.get("graph_id") or ""),
        busy=status == "busy",
        failed=status == "error",
        ended=status == "idle" and not raised,
        parked=tuple(_parked(raised)),
        config={each: config[each] for each in ("recursion_limit", "tags") if config.get(each)},
        questions=tuple(_questions(raised)),
    )


def _parked(interrupts: Mapping[str, Any]) -> Iterable[Parked]:
    for task, raised in interrupts.items():
        for each in raised:
            asked = read_interrupt(each.get("value"))
            if asked is not None and (address := _address(each)):
                yield Parked(address, str(task), tuple(asked), read_origin(each["value"]), read_author(each["value"]))


def _questions(interrupts: Mapping[str, Any]) -> Iterable[str]:
    for raised in interrupts.values():
        for each in raised:
            if read_interrupt(each.get("value")) is None:
                yield _address(each)


def _address(interrupt: Mapping[str, Any]) -> str:
    return str(interrupt.get("id") or interrupt.get("interrupt_id") or "")
