"""How the outcomes of a Batcher's requests reach the callers that asked for them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

from batch_bridge._core import clock as _clock
from batch_bridge._core import outcomes as _outcome
from batch_bridge._core.json import messages as _messages
from batch_bridge._core.models import Errored, Outcome, Request, Succeeded
from batch_bridge._host.callbacks import Listeners
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._ledger.rows import Rows
from batch_bridge._money import Cost, receipt
from batch_bridge.batcher._retained import Retained
from batch_bridge.batcher._submission import Submission, hand_back
from batch_bridge.batcher._worker.backlog import Backlog
from batch_bridge.batcher._worker.pending_callers import PendingCallers
from batch_bridge.events import Delivered

_CHUNK = 1000
"""Outcomes that are read at once."""


class Deliveries:
    """Hands outcomes to their callers, and to the user's callbacks. Used on the worker's own thread.

    Args:
        bridge: The name of the bridge, for events.
        backlog: Who waits.
        listeners: Who is told, besides.
        retained: Keeps the outcomes of answered requests; without it, and with callers that wait, they are deleted.
        failed: Called with what a delivery has raised.
    """

    def __init__(
        self,
        bridge: str,
        backlog: Backlog,
        listeners: Listeners | None,
        retained: Retained | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._bridge = bridge
        self._backlog = backlog
        self._listeners = listeners
        self._retained = retained
        self._failed = failed
        self._running: set[asyncio.Task[None]] = set()
        self._rows: Rows | None = None
        self._engine_loop: EngineLoop | None = None
        self._pending: PendingCallers | None = None

    def open(self, rows: Rows, engine_loop: EngineLoop, pending: PendingCallers | None) -> None:
        """Say where outcomes are, and which callers do not wait. Called once, before any is settled."""
        self._rows = rows
        self._engine_loop = engine_loop
        self._pending = pending

    async def finish(self) -> None:
        """Wait for those that are under way."""
        await asyncio.gather(*self._running)

    def settled(self, request_ids: Iterable[str]) -> None:
        """Begin to deliver outcomes that the ledger has now."""
        assert self._rows is not None  # noqa: S101  # it is open
        ended = tuple(request_ids)
        wanted = self._backlog.waiters.waited_for(ended)
        if wanted:
            if self._pending is not None:
                self._pending.settled(wanted)
            self._start(self._deliver(wanted))
        if self._retained is not None and len(wanted) < len(ended):  # of a process before this one
            asked = set(wanted)
            self._start(self._retained.note(self._rows, [each for each in ended if each not in asked], _clock.now()))

    async def forget(self, request_ids: Sequence[str]) -> None:
        """Delete outcomes that no caller has asked for meanwhile. In a turn, so that no lookup runs beside it."""
        assert self._engine_loop is not None  # noqa: S101  # it is open
        waiters = self._backlog.waiters
        await self._engine_loop.engine.forget([each for each in request_ids if each not in waiters])

    def _start(self, work: Coroutine[None, None, None]) -> None:
        delivery = asyncio.get_running_loop().create_task(work)
        self._running.add(delivery)
        delivery.add_done_callback(self._ended)

    def _ended(self, delivery: asyncio.Task[None]) -> None:
        self._running.discard(delivery)
        if not delivery.cancelled() and (error := delivery.exception()) is not None:
            self._failed(error)

    async def _deliver(self, request_ids: list[str]) -> None:
        assert self._engine_loop is not None  # noqa: S101  # it is open
        assert self._rows is not None  # noqa: S101
        for start in range(0, len(request_ids), _CHUNK):
            chunk = request_ids[start : start + _CHUNK]
            outcomes = await self._engine_loop.engine.outcomes(chunk)
            done = []
            told: list[tuple[Request, Outcome]] = []
            for submission, ended in self._backlog.waiters.share_out(outcomes):
                if submission.put(ended.items()):
                    done.append(submission)
                if self._listeners is not None:
                    told += [(submission.requests[submission.places[each]], ended[each]) for each in ended]
            if self._pending is not None:
                self._pending.delivered(chunk, outcomes.keys())
                passing = [request_id for request_id, outcome in outcomes.items() if _is_transient(outcome)]
                await self._engine_loop.engine.forget(passing)  # before delivery: the next equal item asks again
            elif self._retained is not None:  # a process that dies may ask again, except for passing failures
                self._engine_loop.forget(each for each, outcome in outcomes.items() if _is_transient(outcome))
                if answered := [each for submission in done for each in submission.places]:
                    await self._retained.note(self._rows, answered, _clock.now())
            else:
                self._engine_loop.forget(outcomes)
            self._backlog.look()  # before they are told: who closes it then finds it idle
            hand_back(done, Submission.resolve)
            await self._tell(told)
        self._backlog.look()

    async def _tell(self, told: list[tuple[Request, Outcome]]) -> None:
        if self._listeners is None or not told:
            return
        self._listeners.tell(Delivered(bridge=self._bridge, requests=tuple(request.id for request, _ in told)))
        for request, outcome in told:
            cost = await self._cost_of(request.id)
            self._listeners.item(_messages.decode(request.item), _result(request.id, outcome), cost)
        if self._backlog.is_empty:
            self._listeners.complete()

    async def _cost_of(self, request_id: str) -> Cost | None:
        """Return what a request has cost, and forget it; `None` if no callback wants it."""
        assert self._engine_loop is not None  # noqa: S101  # it is open
        engine = self._engine_loop.engine
        if self._listeners is None or not self._listeners.wants_item_cost:
            return None
        lines = engine.lines_of(request_id)
        engine.forget_asker(request_id)
        return await asyncio.to_thread(receipt, [(engine.prices, lines)])


def _result(request_id: str, outcome: Outcome) -> object:
    if isinstance(outcome, Succeeded):
        return _messages.decode(outcome.answer)
    return _outcome.to_error(request_id, outcome)


def _is_transient(outcome: Outcome) -> bool:
    """Return whether the same request may end another way when it is sent again."""
    return not isinstance(outcome, Succeeded | Errored) or (isinstance(outcome, Errored) and outcome.retryable)
