"""The books of a Runner: what was done and paid, in all bridges."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from batch_bridge._core.models import Closed
from batch_bridge._host.callbacks import Listeners
from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge._host.report import Report, of_batches, of_run
from batch_bridge._ledger.ledger import Ledger
from batch_bridge._ledger.patience import Patience
from batch_bridge._money import AccountLine, Cost, Prices, Quote, of_sample, receipt, rows
from batch_bridge.runner._session.roster import Roster
from batch_bridge.runner._session.stopwatch import Stopwatch
from batch_bridge.runner._threads.unclaimed import Unclaimed


class Books:
    """Adds up what was done and paid, of all sessions on a ledger, or of one run or thread.

    Args:
        engine_loops: By bridge.
        ledgers: By bridge.
        roster: The calls.
        stopwatch: Where the session's time goes.
        unclaimed: Answers that no wait takes.
        stores: What is wrong with the stores.
        listeners: Who may want to know what a thread has cost.
    """

    def __init__(
        self,
        engine_loops: Mapping[str, EngineLoop],
        ledgers: Mapping[str, Ledger],
        roster: Roster,
        stopwatch: Stopwatch,
        unclaimed: Unclaimed,
        *,
        stores: Sequence[Patience],
        listeners: Listeners | None,
    ) -> None:
        self._engine_loops = engine_loops
        self._ledgers = ledgers
        self._roster = roster
        self._stopwatch = stopwatch
        self._unclaimed = unclaimed
        self._stores = stores
        self._listeners = listeners

    async def report(self, run_id: str | None = None) -> Report:
        """Add up the report of all runs, or of one."""
        if run_id is not None:
            return await self._report_of(run_id)
        closed: list[Closed] = []
        for ledger in self._ledgers.values():
            closed += await ledger.closed_batches()
        return of_batches(
            closed,
            await self.cost(),
            threads=self._roster.threads(),
            seconds=dict[str, float](self._stopwatch.seconds().items()),
            unclaimed=await self._unclaimed.count(),
            problems=self._problems,
        )

    async def _report_of(self, run_id: str) -> Report:
        accounts = [each for engine_loop in self._engine_loops.values() for each in await engine_loop.engine.accounts()]
        lines = [
            (prices, [line for line in of_bridge if line.who.run == run_id])
            for _, prices, of_bridge in await self.lines()
        ]
        cost = await asyncio.to_thread(receipt, lines)
        threads = self._roster.threads(run_id)
        return of_run(run_id, accounts, cost, threads=threads, problems=self._problems)

    @property
    def _problems(self) -> tuple[str, ...]:
        stores = (each.problem for each in self._stores)
        batches = (problem for engine_loop in self._engine_loops.values() for problem in engine_loop.engine.problems)
        return tuple(problem for problem in (*stores, *batches) if problem)

    async def cost(self) -> Cost:
        """Return what was paid, of all sessions on this ledger."""
        lines = [(prices, lines) for _, prices, lines in await self.lines()]
        return await asyncio.to_thread(receipt, lines)  # the first price imports a list of prices

    async def cost_of(self, thread_id: str) -> Cost | None:
        """Return what a thread has cost, of all sessions on this ledger; `None` if no callback wants it."""
        if self._listeners is None or not self._listeners.wants_item_cost:
            return None
        engines = [engine_loop.engine for engine_loop in self._engine_loops.values()]
        lines = [(engine.prices, engine.lines_of(thread_id)) for engine in engines]
        return await asyncio.to_thread(receipt, lines)

    @property
    def settlements(self) -> int:
        """Changes whenever something was paid."""
        return sum(engine_loop.engine.purse.version for engine_loop in self._engine_loops.values())

    async def costs(self) -> list[dict[str, Any]]:
        """Return what each thread has cost; see `Runner.costs`."""
        return await asyncio.to_thread(rows, await self.lines())

    async def quote(self, threads: Sequence[str], total: int) -> Quote:
        """Return what all threads will come to, by some that have ended; see `Runner.quote`."""
        bridges, latencies = [], list[float]()
        for engine_loop in self._engine_loops.values():
            bridges.append((engine_loop.engine.prices, await engine_loop.engine.accounts()))
            closed = await engine_loop.engine.closed_batches()
            latencies += [(each.ended_at - each.submitted_at).total_seconds() for each in closed]
        return await asyncio.to_thread(of_sample, threads, total, bridges, latencies)

    async def lines(self) -> list[tuple[str, Prices, list[AccountLine]]]:
        """Read what each bridge's requests have used, and the prices of it."""
        found = []
        for name, engine_loop in self._engine_loops.items():
            lines = [line for account in await engine_loop.engine.accounts() for line in account.each()]
            found.append((name, engine_loop.engine.prices, lines))
        return found
