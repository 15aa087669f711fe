"""Notices of a Runner's runs: each has one when it has ended, or an error has stopped it."""

import asyncio
from collections.abc import Sequence

from batch_bridge._host.notify import Board, of_run, of_stop, of_trouble
from batch_bridge._money import Cost, receipt
from batch_bridge.events import Event, ResultsExpiring, Settled, Stalled
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.session import Session


class RunNotices:
    """Sends notices of the ends of a session's runs, and of a standstill.

    A run with a `run_id` is told of once as it is: the same command on a run that has ended already tells nothing.

    Args:
        board: Sends.
        session: The session of the runs.
        file: Where to look, for who reads a notice; empty if nowhere.
    """

    def __init__(self, board: Board, session: Session, file: str) -> None:
        self._board, self._session, self._file = board, session, file
        self._has_moved = False
        session.on_events = self._hear

    async def ended(self, call: Run) -> None:
        """Send a notice that all threads of a run have ended."""
        failures = dict(+call.failures)
        done = call.done - sum(failures.values())
        cost = await self._cost(call)
        notice = of_run(call.run, done=done, failures=failures, cost=cost, file=self._file)
        self._board.tell_soon(self._board.tell(notice, is_kept=call.is_named))

    async def stopped(self, call: Run, error: Exception) -> None:
        """Send a notice that an error has ended a run before its threads."""
        notice = of_stop(call.run, error, done=call.done, cost=await self._cost(call), file=self._file)
        self._board.tell_soon(self._board.tell(notice, is_kept=call.is_named))

    async def close(self) -> None:
        """Wait for the notices that are on their way, for a while."""
        await self._board.close()

    def _hear(self, event: Event) -> None:
        match event:
            case Stalled() | ResultsExpiring():
                self._has_moved = self._has_moved and not isinstance(event, Stalled)
                self._board.tell_soon(self._board.tell(of_trouble(event, self._file)))
            case Settled(ended=True) if not self._has_moved:
                self._has_moved = True
                self._board.tell_soon(self._forget_stalls(tuple(self._session.bridges)))
            case _:
                pass

    async def _forget_stalls(self, bridges: Sequence[str]) -> None:
        for name in bridges:
            await self._board.forget(f"stall:{name}")

    async def _cost(self, call: Run) -> Cost:
        lines = await self._session.books.lines()
        if call.run:
            lines = [(name, prices, [each for each in of if each.who.run == call.run]) for name, prices, of in lines]
        return await asyncio.to_thread(receipt, [(prices, of) for _, prices, of in lines])
