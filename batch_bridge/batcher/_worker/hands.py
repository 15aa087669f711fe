"""What commands do to a Batcher."""

from collections.abc import Collection

from batch_bridge._host.engine_loop import EngineLoop


class Hands:
    """Carries commands out that come through a Batcher's file.

    Args:
        engine_loop: Its engine's loop.
    """

    def __init__(self, engine_loop: EngineLoop) -> None:
        self._engine_loop = engine_loop

    async def flush(self) -> int:
        """Send what waits, and return how many requests that is."""
        queued = self._engine_loop.engine.queued
        self._engine_loop.flush()
        return queued

    async def cancel(self, *, thread_id: str | None = None, run_id: str | None = None, batch: str | None = None) -> int:
        """End the requests of a batch as cancelled, or all; return how many those are.

        Raises:
            ValueError: A thread or a run is named, which a Batcher does not have.
        """
        if thread_id is not None or run_id is not None:
            raise ValueError("a Batcher has no threads and no runs; name a batch, or nothing for all")
        return len(await self._engine_loop.cancel(None if batch is None else self._engine_loop.engine.in_batch(batch)))

    def hear(self, names: Collection[str] | None) -> None:
        """Look at batches at once that have news."""
        self._engine_loop.hear(names)

    async def retry(self, **_: str | None) -> int:
        """Refuse: a Batcher keeps no failed request.

        Raises:
            ValueError: Always.
        """
        raise ValueError("what has failed was told to who had asked; ask for it again there")

    def pause(self, *, paused: bool) -> None:
        """Send nothing more, or again."""
        self._engine_loop.engine.paused = paused
        self._engine_loop.wake()
