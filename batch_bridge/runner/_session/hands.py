"""What commands do to a Runner."""

import asyncio
from collections.abc import Collection, Mapping

from batch_bridge._host.engine_loop import EngineLoop
from batch_bridge.runner._run import Run
from batch_bridge.runner._session.roster import Roster
from batch_bridge.runner._threads.thread import Thread


class RunnerHands:
    """Carries commands out that come from its user, or through its file.

    Args:
        engine_loops: One for each bridge.
        waiters: Who waits for which request.
        roster: The calls.
    """

    def __init__(
        self, engine_loops: Collection[EngineLoop], waiters: Mapping[str, tuple[Run, Thread]], roster: Roster
    ) -> None:
        self._engine_loops = engine_loops
        self._waiters = waiters
        self._roster = roster

    async def cancel(
        self,
        *,
        request_id: str | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        batch: str | None = None,
    ) -> int:
        """End requests as cancelled: one, those of a thread, of a run, of a batch, or all. Returns how many."""
        if batch is not None:
            ids = {each for engine_loop in self._engine_loops for each in engine_loop.engine.in_batch(batch)}
        else:
            ids = {
                each
                for each, (call, thread) in self._waiters.items()
                if request_id in (None, each) and thread_id in (None, thread.id) and run_id in (None, call.run_id)
            }
        ended = await asyncio.gather(*(engine_loop.cancel(ids) for engine_loop in self._engine_loops))
        return len(set().union(*ended))

    async def flush(self) -> int:
        """Send what waits, now. Returns how many requests that is."""
        queued = sum(engine_loop.engine.queued for engine_loop in self._engine_loops)
        for engine_loop in self._engine_loops:
            engine_loop.flush()
        return queued

    def hear(self, names: Collection[str] | None) -> None:
        """Look at batches at once that have news. From any thread."""
        for engine_loop in self._engine_loops:
            engine_loop.hear(names)

    async def retry(self, *, thread_id: str | None = None, run_id: str | None = None) -> int:
        """Run threads again that have failed in a run under way. Return how many."""
        return sum(call.retry(thread_id) for call in list(self._roster.calls) if run_id in (None, call.run_id))

    def pause(self, *, paused: bool) -> None:
        """Pause sending, or resume it; what is on its way is collected."""
        for engine_loop in self._engine_loops:
            engine_loop.engine.paused = paused
            engine_loop.wake()
