"""Drives one bridge's engine in a Runner: an asyncio loop around `tick`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from datetime import datetime, timedelta

from batch_bridge._core import clock as _clock
from batch_bridge._core.models import Request
from batch_bridge._engine import Engine, Tick

_LONGEST_SLEEP = 3600.0
"""Seconds; a clock that was set back must not stop a bridge for longer."""


class EngineLoop:
    """The loop of one bridge. It owns the engine: nothing else calls it while the loop runs, but for reads.

    Args:
        engine: The bridge's engine.
        settled: Called with the ids of requests that have an outcome; may be told one twice.
        idle: Returns how long nothing may come until what waits is sent, since every live thread waits; zero: it is
            sent now. `None`: the policy decides alone.
        at_work: Called with `True` when a turn begins, and with `False` when it ends.
        linger: Seconds in which arrivals gather before they are written down together, while threads still run.

    Attributes:
        on_collected: Called, by its host's wish, with requests that have been taken in: they are known or written down.
        on_turn: Called, by its host's wish, at the end of each turn.
        tidy: Called, by its host's wish, with the time in each turn, when nothing is collected.
        has_failed: An error has ended the loop.
        collects_meanwhile: Whether requests are taken in also while a turn works, which a network may hold up.
    """

    def __init__(
        self,
        engine: Engine,
        settled: Callable[[Iterable[str]], None],
        idle: Callable[[], timedelta | None],
        at_work: Callable[[bool], None],
        linger: float,
    ) -> None:
        self.engine = engine
        engine.on_news = self.wake
        self._linger = linger
        self.on_collected: Callable[[list[Request]], None] | None = None
        self.on_turn: Callable[[], None] | None = None
        self.tidy: Callable[[datetime], Awaitable[None]] | None = None
        self.collects_meanwhile = False
        self._tell = settled
        self._idle = idle
        self._at_work = at_work
        self._arrived: list[Request] = []
        self._ended: list[str] = []
        self._dropped: list[str] = []
        self._cancelled: list[tuple[list[str] | None, asyncio.Future[set[str]]]] = []
        self._awake = asyncio.Event()
        self._stopping = False
        self._is_flush_asked = False
        self._running_on: asyncio.AbstractEventLoop | None = None
        self._over = False
        self.has_failed = False
        self._alarm: asyncio.TimerHandle | None = None

    def collect(self, requests: Iterable[Request]) -> None:
        """Hand over the requests of a thread that has parked."""
        self._arrived.extend(requests)
        self.wake_soon()

    def forget(self, request_ids: Iterable[str]) -> None:
        """Release the outcomes of a thread that has ended."""
        self._ended.extend(request_ids)
        self.wake_soon()

    def drop(self, request_ids: Iterable[str]) -> None:
        """Drop requests that no caller waits for any more, unless they are on their way."""
        dropped = set(request_ids)
        self._arrived = [request for request in self._arrived if request.id not in dropped]
        self._dropped.extend(dropped)

    async def cancel(self, request_ids: Iterable[str] | None) -> set[str]:
        """End requests as cancelled, or all; return those that were queued or on their way. Durable when it returns."""
        if self._over:
            return set()
        done: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._cancelled.append((None if request_ids is None else list(request_ids), done))
        self.wake()
        return await done

    def flush(self) -> None:
        """Send what waits, in the next turn."""
        self._is_flush_asked = True
        self.wake()

    def hear(self, names: Collection[str] | None) -> None:
        """Look at once at batches with news, as `Engine.hear` does. From any thread, at any time."""
        loop = self._running_on
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: the next loop looks at all batches
                loop.call_soon_threadsafe(self._hear, names)

    def _hear(self, names: Collection[str] | None) -> None:
        self.engine.hear(names, _clock.now())
        self.wake()

    @property
    def rests(self) -> bool:
        """Whether nothing can be done but wait for the provider."""
        return not self._arrived and not self._cancelled and self.engine.is_open and self.engine.rests

    def wake_soon(self) -> None:
        """Look again once what arrives together has arrived."""
        if not self._awake.is_set() and self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._linger, self._awake.set)

    def wake(self) -> None:
        """Look again: the threads may be idle now, or a batch has news."""
        self._awake.set()

    def stop(self) -> None:
        """End the loop after its current turn: a submission that is cut off leaves a batch that no ledger knows."""
        self._stopping = True
        self._awake.set()

    async def open(self) -> None:
        """Read what a session before this one left in flight."""
        await self.engine.open(_clock.now())

    async def run(self) -> None:
        """Tick until stopped or cancelled. What the ledger's store raises in the end ends the loop, as `Stalled` does.

        Called again after that, it reads the ledger first: what a step has done that failed is not assumed.
        """
        is_again, self.has_failed, self._over = self.has_failed, False, False
        self._running_on = asyncio.get_running_loop()
        try:
            if is_again:
                await self.open()
            await self._run()
        except Exception as error:
            self.has_failed = True
            for _, done in self._cancelled:
                if not done.done():
                    done.set_exception(error)
            raise
        finally:
            self._over, self._running_on = True, None
            for _, done in self._cancelled:
                done.cancel()
            self._cancelled.clear()

    async def _run(self) -> None:
        while not self._stopping:
            self._awake.clear()
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            self._at_work(True)  # noqa: FBT003
            try:
                wake_at = await self._turn()
            finally:
                self._at_work(False)  # noqa: FBT003
            await self._sleep(wake_at)

    async def finish(self) -> None:
        """Write down what is still to be forgotten; called when no thread is left."""
        ended, self._ended = self._ended, []
        await self.engine.forget(ended)

    async def _turn(self) -> datetime | None:
        dropped, self._dropped = self._dropped, []
        if dropped:
            await self.engine.drop(dropped)
        await self._collect()
        while self._cancelled:
            await self._collect()  # what was asked before it is cancelled
            request_ids, done = self._cancelled[0]
            ids = self.engine.open_requests if request_ids is None else request_ids
            ended = await self.engine.cancel(ids, _clock.now())
            del self._cancelled[0]
            self._tell(ended)
            if not done.done():
                done.set_result(ended)
        is_asked, self._is_flush_asked = self._is_flush_asked, False
        pause = None if self._arrived else self._idle()
        is_drained = is_asked or (pause is not None and self._is_quiet(pause))
        work = self._work(drain=is_drained)
        tick = await (self._meanwhile(work) if self.collects_meanwhile else work)
        self._tell(tick.settled)
        await self.finish()
        if self.tidy is not None:
            await self.tidy(_clock.now())
        if (stalled := self.engine.standstill.given_up()) is not None:
            await self.engine.take_back()
            raise stalled
        if self.on_turn is not None:
            self.on_turn()
        newest = self.engine.newest
        if pause is None or is_drained or newest is None:
            return tick.wake_at
        return newest + pause if tick.wake_at is None else min(tick.wake_at, newest + pause)

    def _is_quiet(self, pause: timedelta) -> bool:
        """Return whether nothing has come for so long, or a deadline would pass before that."""
        newest, late_at = self.engine.newest, self.engine.late_at
        if not pause or newest is None or (late_at is not None and late_at <= newest + pause):
            return True
        return not newest <= _clock.now() < newest + pause  # a clock may be set back

    async def _work(self, *, drain: bool) -> Tick:
        tick = await self.engine.tick(_clock.now(), drain=drain)
        while self.collects_meanwhile and (looks := self.engine.looks):  # this host ends after the turn
            await asyncio.wait(looks)
            more = await self.engine.tick(_clock.now())
            tick = Tick((*tick.settled, *more.settled), more.wake_at)
        return tick

    async def _collect(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        self._tell(await self.engine.collect(arrived, _clock.now()))
        if self.on_collected is not None:
            self.on_collected(arrived)

    async def _meanwhile(self, work: Coroutine[None, None, Tick]) -> Tick:
        """Do a turn's work, and collect what arrives meanwhile; the next turn continues with that at once."""
        working = asyncio.create_task(work)
        woken = False
        try:
            while not working.done():
                awake = asyncio.create_task(self._awake.wait())
                await asyncio.wait((working, awake), return_when=asyncio.FIRST_COMPLETED)
                awake.cancel()
                if not working.done():
                    self._awake.clear()
                    woken = True
                    await self._collect()
        except BaseException:
            working.cancel()
            await asyncio.wait((working,))
            raise
        if woken:
            self._awake.set()
        return working.result()

    async def _sleep(self, wake_at: datetime | None) -> None:
        pause = _LONGEST_SLEEP
        if wake_at is not None:
            pause = min(max((wake_at - _clock.now()).total_seconds(), 0.0), _LONGEST_SLEEP)
        if pause == 0.0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(pause):
                await self._awake.wait()
        except TimeoutError:
            pass
