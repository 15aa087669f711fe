"""A thread that a Runner drives: what is remembered of it while it is parked. Small: there are many."""

from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from langgraph.types import GraphOutput, Interrupt

from batch_bridge._core.models import Outcome
from batch_bridge._core.payload.interrupt_payload import Asked, envelope, read_author, read_interrupt


@dataclass(frozen=True, slots=True)
class Parked:
    """One of our interrupts, as LangGraph persisted it: its address, and (request id, bridge) for all it asks."""

    id: str
    asks: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Thread:
    """A thread of a call.

    Attributes:
        index: Its place among the inputs.
        id: LangGraph's `thread_id`.
        digest: What its input is known by when the run is continued; empty if it never will be.
        named: The caller can name it again, by its run or by its thread_id, and so run it again.
        failures: How often it has failed. Each retry repeats the requests that have failed.
        has_failed: Its failure is written down, and it has not ended well since.
        parked: The interrupts that it waits at, the newest ones.
        unsettled: Requests of these that have no outcome yet.
        delivered: (request id, bridge) of the outcomes that were sent to it; forgotten when it ends.
        strikes: Deliveries in a row of which the thread consumed nothing, and asked for something else.
        unseen: Requests that a node was to park at, and that none of its interrupts has asked for yet.
        hidden: Runs in a row that left requests behind, which tasks parked at that none of its interrupts tells of.
        chunks: What its legs have streamed, where the call asked for another `stream_mode` than `values`.
        busy: It runs, or is on its way to; nothing is delivered to it meanwhile.
        rounds: How often it has parked, in the processes before this one too; a round of all threads is a wave.
        context: What it runs in, where that is not its call's.
    """

    index: int
    id: str
    digest: str = ""
    named: bool = False
    failures: int = 0
    has_failed: bool = False
    parked: tuple[Parked, ...] = ()
    unsettled: set[str] = field(default_factory=set)
    delivered: tuple[tuple[str, str], ...] = ()
    strikes: int = 0
    unseen: frozenset[str] = frozenset()
    hidden: int = 0
    chunks: tuple[Any, ...] = ()
    busy: bool = True
    rounds: int = 0
    context: Context | None = None

    def park(self, interrupts: Mapping[str, list[Asked]]) -> None:
        """Note where it waits now. The newest interrupts win; the old ones are gone."""
        self.parked = tuple(
            Parked(address, tuple((each.id, each.batcher) for each in asked)) for address, asked in interrupts.items()
        )
        self.unsettled = {each.id for asked in interrupts.values() for each in asked}
        self.busy = False
        self.rounds += 1

    @property
    def asks(self) -> int:
        """How many requests the interrupts that it waits at ask for."""
        return sum(len(interrupt.asks) for interrupt in self.parked)

    def settle(self, request_id: str) -> bool:
        """Note an outcome; return whether the thread should be resumed, and is not on its way already."""
        self.unsettled.discard(request_id)
        return not self.busy and any(self._is_due(interrupt) for interrupt in self.parked)

    def due(self) -> list[Parked]:
        """Return the interrupts to answer: one bridge or more holds nothing more that they ask for."""
        return [interrupt for interrupt in self.parked if self._is_due(interrupt)]

    def _is_due(self, interrupt: Parked) -> bool:
        waiting = {bridge for request_id, bridge in interrupt.asks if request_id in self.unsettled}
        return any(bridge not in waiting for _, bridge in interrupt.asks)


def split_interrupts(result: object) -> tuple[dict[str, list[Asked]], bool]:
    """Return our interrupts of a run's result, by address, and whether a human is waited for too."""
    if isinstance(result, GraphOutput):
        return sort_interrupts(result.interrupts)
    return sort_interrupts(result.get("__interrupt__", ()) if isinstance(result, Mapping) else ())


def sort_interrupts(interrupts: Any) -> tuple[dict[str, list[Asked]], bool]:
    """Return our interrupts among several, by address, and whether there are others."""
    ours: dict[str, list[Asked]] = {}
    others = False
    for each in interrupts:
        asked = read_interrupt(each.value) if isinstance(each, Interrupt) else None  # a node may raise anything
        if asked is None:
            others = True
        else:
            ours[each.id] = asked
    return ours, others


def authors(interrupts: Any) -> dict[str, str]:
    """Return the askers, by the addresses of their interrupts."""
    return {each.id: read_author(each.value) for each in interrupts if isinstance(each, Interrupt)}


def resume_map(due: list[Parked], outcomes: Mapping[str, Outcome], by: Mapping[str, str]) -> dict[str, Any]:
    """Return what resumes these interrupts: an envelope for each, with every known outcome and the asker."""
    answered = {
        interrupt.id: {request_id: outcomes[request_id] for request_id, _ in interrupt.asks if request_id in outcomes}
        for interrupt in due
    }
    return {address: envelope(held, by.get(address, "")) for address, held in answered.items() if held}
