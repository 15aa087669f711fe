"""What becomes of the outcomes that a thread has not acknowledged yet. Pure.

Acknowledged means observed: the thread has moved on, or asks no more. Before each delivery the pending interrupt is
read, and must carry our marker and name the request: LangGraph takes a second answer to one interrupt for the answer to
the next one of that task, which may be a person's to give.
"""

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from batch_bridge._core.models import JSON, Outcome
from batch_bridge._core.outcomes import to_json
from batch_bridge._core.payload.interrupt_payload import envelope
from batch_bridge._core.payload.signature import Keys
from batch_bridge._server.threads.view import ParkedWait, ThreadView

MOST_DELIVERIES: Final = 5
"""How often an answer is sent to a thread that keeps asking for it."""
MOST_BYTES: Final = 8_000_000
"""Of answers in one call that resumes a thread; servers refuse a body of 25 MB and more."""
_FIRST_LOOK = timedelta(seconds=2)
_LONGEST_PAUSE = timedelta(minutes=1)
_BUSY_GRACE = timedelta(seconds=10)
"""How long a thread may be busy before one looks what with: a run that waits for its hour is no reason to wait."""


@dataclass(slots=True)
class Delivery:
    """The outcomes that one thread must receive.

    Attributes:
        thread: Its thread.
        ids: Requests with an outcome that it has not acknowledged.
        due: When to look at it next.
        pause: How long to leave it alone after that.
        deliveries: How often it was resumed with them.
        failures: How often that failed in a row.
        busy_since: Since when it has been busy, as far as we looked.
        again: Whether the thread may have taken some of it already.
        user: The thread's user; `None` before it is looked up.
    """

    thread: str
    due: datetime
    ids: set[str] = field(default_factory=set)
    pause: timedelta = _FIRST_LOOK
    deliveries: int = 0
    failures: int = 0
    busy_since: datetime | None = None
    again: bool = False
    user: str | None = None

    def put_off(self, now: datetime) -> None:
        """Look again later, and later each time."""
        self.due = now + self.pause
        self.pause = min(self.pause * 2, _LONGEST_PAUSE)

    def hasten(self, now: datetime) -> None:
        """Look again at once: there is news of this thread."""
        self.due, self.pause, self.busy_since = now, _FIRST_LOOK, None


class Verdict(Enum):
    """What to do about a letter."""

    GONE = "its thread does not exist"
    READ = "its thread no longer waits for any of it"
    LATER = "its thread is busy, or waits for other outcomes of this bridge"
    CHECK = "its thread has been busy for too long: check its run"
    SEND = "resume its thread"
    GIVE_UP = "its thread still waits for what it was sent"


def judge(delivery: Delivery, seen: ThreadView | None, bridge: str, now: datetime) -> tuple[Verdict, set[str]]:
    """Return what to do about a letter, and which of its requests the thread has acknowledged."""
    if seen is None:
        return Verdict.GONE, set()
    asked = {each.id for each in seen.asks(bridge)}
    read = set() if seen.busy else delivery.ids - asked
    if seen.failed:  # its answers are kept; its next run asks for them
        return Verdict.READ, set(delivery.ids)
    if not seen.busy and not delivery.ids & asked:
        return Verdict.READ, read
    if seen.busy:
        since = delivery.busy_since = delivery.busy_since or now
        return (Verdict.CHECK if now - since >= _BUSY_GRACE else Verdict.LATER), read
    delivery.busy_since = None
    if delivery.deliveries >= MOST_DELIVERIES:
        return Verdict.GIVE_UP, read
    return (Verdict.SEND if due(seen, bridge, delivery.ids) else Verdict.LATER), read


def due(seen: ThreadView, bridge: str, settled: AbstractSet[str]) -> list[ParkedWait]:
    """Return the interrupts to answer: this bridge holds no request of theirs that has no outcome yet."""
    return [interrupt for interrupt in seen.parked if _is_due(interrupt, bridge, settled)]


def _is_due(interrupt: ParkedWait, bridge: str, settled: AbstractSet[str]) -> bool:
    ours = {asked.id for asked in interrupt.asks if asked.batcher == bridge}
    return bool(ours) and ours <= settled


def resume_map(
    interrupts: list[ParkedWait],
    bridge: str,
    outcomes: Mapping[str, Outcome],
    *,
    most_bytes: int = MOST_BYTES,
    keys: Keys | None = None,
    thread: str = "",
) -> dict[str, JSON]:
    """Return what resumes these interrupts: an envelope for each, with what this bridge has for it.

    What would make the call larger than `most_bytes` is left out: the thread continues asking for it, and gets it next.
    The envelopes are signed with `keys`, for the thread.
    """
    answers: dict[str, JSON] = {}
    room = most_bytes
    for interrupt in interrupts:
        held: dict[str, Outcome] = {}
        for each in interrupt.asks:
            if each.batcher == bridge and each.id in outcomes:
                room -= len(json.dumps(to_json(outcomes[each.id])))
                if room < 0 and (held or answers):
                    break
                held[each.id] = outcomes[each.id]
        if held:
            answers[interrupt.id] = envelope(held, interrupt.by, keys=keys, thread=thread)
        if room < 0:
            break
    return answers
