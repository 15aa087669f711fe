"""All waits of one execution of a task, and what LangGraph's interrupts have brought for them.

LangGraph hands the n-th answer to the n-th `interrupt()` call of a task, whichever wait calls it. So the waits of an
execution do not call `interrupt()` themselves: they share one `PendingWaits`. Its interrupts carry all open requests,
and its answers find their waits by name.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from weakref import WeakKeyDictionary

from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from batch_bridge._compat.langgraph import (
    COUNTS_ON,
    interrupt_for_us,
    is_new_answer,
    next_answer,
    restart_interrupt_count,
)
from batch_bridge._core.models import JSON, Outcome, Succeeded
from batch_bridge._core.outcomes import is_refused
from batch_bridge._core.payload.interrupt_payload import (
    Asked,
    interrupt_value,
    is_envelope,
    read_author,
    read_envelope,
    to_json,
)
from batch_bridge._core.payload.request_identity import Identity
from batch_bridge._core.payload.signature import SIGNATURE, Check, Keys
from batch_bridge._core.payload.trace_context import current as current_trace
from batch_bridge._ledger.process import this_process
from batch_bridge.errors import NondeterministicNodeError

_SHORT_GRACE = 0.05
"""Seconds that an execution waits for slow siblings, once an answer has come that no wait has asked for yet."""
LONG_GRACE: Final = 2.0
"""Seconds that it waits for them before it calls the node nondeterministic."""
_MOST_ROUNDS = 32
"""Rounds in a row of which a task may take nothing, whichever task asked for them. One more is an error."""


class ParkedInterrupt(GraphInterrupt):
    """LangGraph's interrupt, which hides the requests when it is printed: no prompt belongs in a log."""

    def __str__(self) -> str:
        return f"parked; {sum(len(each.value['requests']) for each in self.args[0])} requests wait for a batch"

    def __repr__(self) -> str:
        return f"ParkedInterrupt({self})"


@dataclass(frozen=True, slots=True)
class _Round:
    """What one envelope has brought first.

    Attributes:
        ids: The requests.
        is_own: Whether the present asker also made them: the same code, so that what it asks should be the same.
    """

    ids: frozenset[str]
    is_own: bool


@dataclass(frozen=True, slots=True)
class _Parked:
    """LangGraph's interrupt, held back until the siblings have had their time.

    Without the exception itself: its traceback would keep the run alive, and the run keeps the waits. `requests` is the
    list inside the interrupt's `value`.
    """

    interrupts: tuple[Interrupt, ...]
    value: dict[str, JSON]
    requests: list[JSON]
    since: float


class PendingWaits:
    """The waits of one execution. Safe to use from several threads.

    A node is nondeterministic when it does not ask again for what it has asked for itself. What a process before this
    one has asked for proves nothing: its code, or its day, may have been another.

    On a server, where others can write to a thread, what it asks is signed and an envelope that is not signed brings
    nothing. `signs_for` is the thread then, and it gets the keys before it continues. With `asks_refused` what a
    budget has refused in an earlier run, which has failed with that, is asked again: there may be more to spend by now.

    Attributes:
        has_forgotten: No later run finds the plain answer that this one was given.
    """

    def __init__(
        self,
        retries: int,
        origin: str = "",
        *,
        recount: bool = False,
        by: str = "",
        signs_for: str = "",
        asks_refused: bool = False,
        grace: float = LONG_GRACE,
    ) -> None:
        self._grace = grace
        self._asks_refused = asks_refused
        self._thread = signs_for
        self._keys: Keys | None = None
        self._unread: list[Mapping[str, Any]] = []
        self._retries = retries
        self._recount = recount
        self._origin = origin
        self._equal: dict[tuple[str, bytes], int] = {}
        self._open: dict[str, Asked] = {}
        self._again: set[str] = set()
        self._survived: set[str] = set()
        self._claimed: set[str] = set()
        self._answers: dict[str, Outcome] = {}
        self._old: set[str] = set()
        self._rounds: list[_Round] = []
        self._by = by or this_process()
        self._parked: _Parked | None = None
        self._closed = False
        self._told: Future[None] | None = None
        self.has_forgotten = False
        self._forgetting: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._lock = threading.RLock()

    @property
    def asks(self) -> dict[str, list[str]]:
        """The requests that are still open, by bridge."""
        asks: dict[str, list[str]] = {}
        with self._lock:
            for asked in self._unanswered():
                asks.setdefault(asked.batcher, []).append(asked.id)
        return asks

    def tell(self) -> tuple[Future[None], bool]:
        """Return a future of the notice that this task parks, and whether the caller must send that notice."""
        with self._lock:
            mine = self._told is None
            if self._told is None:
                self._told = Future()
            return self._told, mine

    def forgetting(self) -> asyncio.Lock:
        """Return what the waits of this loop hold, one at a time, to have the run's plain answer forgotten."""
        with self._lock:
            return self._forgetting.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    @property
    def version(self) -> int:
        """Grows whenever a wait is opened."""
        return len(self._claimed)

    @property
    def rounds(self) -> int:
        """How often this execution was answered."""
        return len(self._rounds)

    def was_given(self, request_id: str) -> bool:
        """Return whether an execution of this task in an earlier run was given the outcome of a request already."""
        return request_id in self._old

    @property
    def lacks_keys(self) -> bool:
        """Whether it needs the keys before it can continue."""
        return bool(self._thread) and (self._keys is None or self.lacks_new_keys)

    @property
    def lacks_new_keys(self) -> bool:
        """Whether an envelope has come that is signed with a key that it was not given."""
        return bool(self._unread)

    def give_keys(self, keys: Keys) -> None:
        """Give it the deployment's keys, as they are now."""
        with self._lock:
            self._keys = keys
            unread, self._unread = self._unread, []
            for value in unread:
                if keys.check("envelope", self._thread, value) is Check.VALID:
                    self._note(value)

    def identify(
        self,
        thread: str,
        namespace: str,
        batcher: str,
        content: bytes,
        *,
        key: str | None = None,
        tenant: str = "",
        deadline: timedelta | None = None,
        label: str = "",
        is_priced: bool = False,
    ) -> Identity:
        """Name a wait; equal waits are counted in the order in which they come."""
        with self._lock:
            self._check_open()
            equal = self._equal.get((batcher, content), 0)
            self._equal[batcher, content] = equal + 1
            return Identity(thread, namespace, batcher, content, equal, key, tenant, deadline, label, is_priced)

    def look_up(self, identity: Identity, item: Any) -> tuple[str, Outcome | None]:
        """Return the request that a wait stands for now, and its outcome; without one, it is open from now on.

        An outcome that failed counts only while the node has not been retried since, or where it got past it then.
        """
        with self._lock:
            outcome: Outcome | None = None
            request_id = ""
            for attempt in range(self._retries + 1):
                before, failed = request_id, outcome
                request_id = identity.request_id(attempt) if attempt else identity.first
                if request_id in self._survived:
                    return before, failed
                self._claimed.add(request_id)
                outcome = self._answers.get(request_id)
                if outcome is None:
                    asked = Asked(
                        request_id,
                        identity.batcher,
                        item,
                        identity.tenant,
                        identity.sample,
                        identity.deadline,
                        identity.label,
                        current_trace(),
                        identity.is_priced,
                    )
                    self._open.setdefault(request_id, asked)
                    if attempt:
                        self._again.add(request_id)
                    return request_id, None
                if isinstance(outcome, Succeeded):
                    break
            return request_id, outcome

    def advance(self) -> float:
        """Take the next envelope; without one, park.

        Returns:
            0 if an envelope came; else the seconds after which to ask again: slow siblings are given time.

        Raises:
            GraphInterrupt: The task parks, with everything that is open.
            NondeterministicNodeError: Each round asks for something else.
        """
        with self._lock:
            self._check_open()
            if self._parked is None:
                requests = [to_json(asked) for asked in self._unanswered()]
                value = interrupt_value(requests, self._origin, self._by)
                if self._recount:
                    restart_interrupt_count()
                    self._recount = False
                if self._has_survived():
                    return 0.0
                try:
                    self._take(interrupt_for_us(value))
                except GraphInterrupt as interrupted:
                    self._parked = _Parked(interrupted.args[0], value, requests, time.monotonic())
                else:
                    return 0.0
            stray = [not each.ids <= self._claimed for each in self._rounds]
            lost = self._is_lost(stray)
            grace = self._grace if lost else _SHORT_GRACE if any(stray) else 0.0
            if time.monotonic() - self._parked.since < grace:
                return grace / 20
            if lost:
                raise NondeterministicNodeError(
                    "a node builds other requests each time it runs again: answers have arrived that no wait "
                    "requests any more. A waiting node runs again from its first line for every answer, so its "
                    "requests must not depend on the time, on random numbers or on fresh ids. Build the "
                    "request in a node "
                    'before this one, or name it: wait(item, batcher=…, key="…")'
                )
            self._parked.requests[:] = [to_json(asked) for asked in self._unanswered()]
            if self._keys is not None:
                self._parked.value[SIGNATURE] = self._keys.sign("interrupt", self._thread, self._parked.value)
            self._closed = True
            raise ParkedInterrupt(self._parked.interrupts)

    def _has_survived(self) -> bool:
        """Return whether the node continued before its retry although the requests to repeat had failed.

        A person's answer comes next then, to what the node has asked since. A wait must not take it; so those failures
        stand, and the question is answered as it was.
        """
        again = {each for each in self._again if each in self._open and each not in self._answers}
        if not again or (answer := next_answer()) is None or is_envelope(answer):
            return False
        self._survived |= again
        self._again -= again
        for each in again:
            del self._open[each]
        return True

    def _is_lost(self, stray: list[bool]) -> bool:
        """Return whether a node makes no progress.

        One such round may be a slow sibling. Two rounds that it asked for itself, the last one among them, are not by
        chance. Neither are very many, whichever task asked for them.
        """
        own = [is_stray and each.is_own for each, is_stray in zip(self._rounds, stray, strict=True)]
        return (sum(own) > 1 and own[-1]) or (len(stray) >= _MOST_ROUNDS and all(stray[-_MOST_ROUNDS:]))

    @property
    def is_parked(self) -> bool:
        """Whether the task has parked here; then it is run again, and may take what it has not taken yet."""
        return self._closed

    def claimed(self) -> frozenset[str]:
        """Return the requests that waits have asked for."""
        with self._lock:
            return frozenset(self._claimed)

    def unclaimed(self, *, foreign: bool = False) -> frozenset[str]:
        """Return the answers that no wait has asked for; with `foreign` only what another process has asked for."""
        with self._lock:
            brought = {each for one in self._rounds if not (foreign and one.is_own) for each in one.ids}
            return frozenset(each for each in brought - self._claimed if isinstance(self._answers.get(each), Succeeded))

    def _check_open(self) -> None:
        if self._closed and self._parked is not None:  # a sibling that outlived its parked node
            raise ParkedInterrupt(self._parked.interrupts)

    def _unanswered(self) -> list[Asked]:
        return [asked for request_id, asked in self._open.items() if request_id not in self._answers]

    def _take(self, value: object) -> None:
        if self._keys is not None and isinstance(value, Mapping):
            match self._keys.check("envelope", self._thread, value):
                case Check.UNKNOWN:
                    self._unread.append(value)
                    return
                case Check.ABSENT | Check.FORGED:  # its owner's own, or from before there were keys: it is sent again
                    return
        self._note(value)

    def _note(self, value: object) -> None:
        brought = read_envelope(value)
        if self._asks_refused:
            brought = {
                each: outcome for each, outcome in brought.items() if not is_refused(outcome) or is_new_answer(value)
            }
        fresh = brought.keys() - self._answers.keys()
        if fresh:
            self._rounds.append(_Round(frozenset(fresh), read_author(value) == self._by))
            self._answers.update((each, brought[each]) for each in fresh)
            if not is_new_answer(value):
                self._old |= fresh


_pending: WeakKeyDictionary[Callable[[Any], None], dict[tuple[object, ...], PendingWaits]] = WeakKeyDictionary()
_boxes_lock = threading.Lock()


_taken: OrderedDict[str, set[str]] = OrderedDict()
_MOST_RUNS = 10_000
"""Runs at once in one process; of those before it is forgotten what they took."""


def taken_in(run_id: str) -> set[str]:
    """Return the ids of the requests whose outcome a wait of this run has returned or raised; the caller adds to it.

    Args:
        run_id: A server's run. Its subgraphs belong to it, whose stream writers are others.
    """
    with _boxes_lock:
        taken = _taken.setdefault(run_id, set())
        _taken.move_to_end(run_id)
        if len(_taken) > _MOST_RUNS:
            _taken.popitem(last=False)
        return taken


def pending_waits_of(
    run: Callable[[Any], None],
    execution: tuple[object, ...],
    retries: int,
    origin: str = "",
    *,
    attempt: int = 1,
    by: str = "",
    signs_for: str = "",
    asks_refused: bool = False,
    grace: float = LONG_GRACE,
) -> PendingWaits:
    """Return the pending waits of an execution; all its waits get the same object.

    Args:
        run: The run's stream writer. It lives as long as the run, and so do its waits.
        execution: What tells this execution from every other of the run, a retry included.
        retries: How many failed attempts a wait may leave behind.
        origin: The run whose context the run that resumes this one must be given; empty if it has none.
        attempt: Which attempt of LangGraph's at the node this execution is; the first is 1.
        by: The asker: the session of a Runner; by default this process.
        signs_for: The thread, on a server.
        asks_refused: What a budget has refused in an earlier run is asked again.
        grace: Seconds that slow siblings have before a node is called nondeterministic.
    """
    with _boxes_lock:
        pending = _pending.get(run)
        if pending is None:
            pending = _pending[run] = {}
        waits = pending.get(execution)
        if waits is None:
            recount = COUNTS_ON and attempt > 1
            waits = pending[execution] = PendingWaits(
                retries, origin, recount=recount, by=by, signs_for=signs_for, asks_refused=asks_refused, grace=grace
            )
        return waits
