"""Two scripts that submit jobs to one file, look at them, cancel one or forget them, and die in between."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

from filelock import Timeout

from batch_bridge._core.models import Limits
from batch_bridge.errors import RequestCancelled, RequestFailed, RunFileError
from batch_bridge.jobs import Jobs
from batch_bridge.jobs import _jobs as jobs
from simulation import check
from simulation.plans import COMMON, Places
from simulation.provider import REFUSED, Provider, SimProvider, answer_of
from simulation.scheduler import process_of
from simulation.store import SimStore
from simulation.world import Blip, Dead, Process, World

PATIENCE = 60
"""Seconds that a script waits for its turn at the file."""
PLACES: Places = {
    "store": (120, (*COMMON, "half", "half")),
    "provider": (16, (*COMMON, "late", "twice")),
    "step": (600, ("die",)),
}


async def history(world: World) -> None:
    """Run it, and check what has come of it."""
    draws = random.Random(f"{world.plan.host} {world.plan.seed} history")
    asked = [[f"j{job} {each}" for each in range(draws.choice((1, 2, 3)))] for job in range(draws.choice((1, 2, 3)))]
    if draws.random() < 0.15:
        asked[0][0] = f"{REFUSED} {asked[0][0]}"
    is_cancelled = [draws.random() < 0.15 for _ in asked]
    keeps = draws.random() < 0.5
    limits = Limits(requests=draws.choice((None, 2, 1)), batches=draws.choice((None, 1)))
    store = SimStore(world)
    provider = Provider(world, trouble=draws.choice((0.0, 0.0, 0.3)))
    results: dict[int, list[Any]] = {}
    # who waits for the file beside a process whose store is slow is refused each minute, for as long as that lasts
    tries = len(world.plan.faults) + 6 + int(sum(each.seconds for each in world.plan.faults) / PATIENCE)

    def opened() -> Jobs:
        interval = draws.choice((5, 60))
        return Jobs("jobs.db", SimProvider(provider, limits=limits), poll_interval=interval, patience=PATIENCE)

    async def collect(number: int) -> None:
        here = opened()
        handle = await here.asubmit([{"q": each} for each in asked[number]], key=f"job {number}")
        if is_cancelled[number]:
            await asyncio.sleep(draws.choice((0.0, 2.0, 20.0)))
            await here.acancel(handle)
        status = await here.ajoin(handle)
        results[number] = [each async for each in here.aresults(handle)]
        assert status.ended, status

    async def script(numbers: list[int]) -> None:
        for _ in range(tries):
            try:
                await world.run(lambda: _each(collect, numbers))
            except (Dead, Blip, RunFileError) as error:
                world.trace.append((world.loop.time(), "ended", type(error).__name__))
                await asyncio.sleep(500.0 if isinstance(error, Blip) else draws.choice((0.0, 1.0, 100.0)))
            else:
                return
        raise AssertionError("it ends for ever without a result")

    with _in(store):
        everything = list(range(len(asked)))
        scripts = [script(everything)]
        if draws.random() < 0.4:
            scripts.append(script(everything[::-1]))
        await asyncio.gather(*scripts)
        for number, questions in enumerate(asked):
            _check(questions, results[number], is_cancelled=is_cancelled[number])
        assert not store.changed, store.changed
        _paid(provider, asked, is_cancelled)
        if not keeps:
            for _ in range(tries):
                try:
                    await world.run(lambda: _forget(opened()))
                except (Dead, Blip, RunFileError):
                    await asyncio.sleep(500.0)
                else:
                    break
    kept = {"closed", "money", "jobs", "parts", "outcomes", "tries"} if keeps else {"closed", "money"}
    left = {kind: rows for kind, rows in store.read().items() if kind not in kept}
    assert not left, f"rows were left: {left}"


async def _each(collect: Any, numbers: list[int]) -> None:
    for number in numbers:
        await collect(number)


async def _forget(here: Jobs) -> None:
    for handle in await here.ahandles():
        await here.aforget(handle)


def _check(questions: list[str], results: list[Any], *, is_cancelled: bool) -> None:
    assert len(results) == len(questions), results
    for question, result in zip(questions, results, strict=True):
        error = result.error
        if is_cancelled and isinstance(error, RequestCancelled):
            continue
        if question.startswith(REFUSED):
            assert isinstance(error, RequestFailed), f"{question} ended with {result}"
            assert error.code == "refused", f"{question} ended with {result}"
        elif not (is_cancelled and error is not None):
            assert result.answer == {"a": answer_of(question)}, f"{question} ended with {result}"


def _paid(provider: Provider, asked: list[list[str]], is_cancelled: list[bool]) -> None:
    certain = [each for questions, gone in zip(asked, is_cancelled, strict=True) if not gone for each in questions]
    perhaps = {each for questions, gone in zip(asked, is_cancelled, strict=True) if gone for each in questions}
    twice = {question: count for question, count in provider.paid.items() if count > 1}
    assert not twice, f"paid {twice}"
    for question in perhaps:
        del provider.paid[question]
    check.paid(provider, certain)


class _Turn:
    """A lock of processes: one that has died holds it no more."""

    holder: Process | None = None

    def acquire(self) -> None:
        if _Turn.holder is not None and not _Turn.holder.is_dead:
            raise Timeout("jobs.db.turn")
        _Turn.holder = process_of.get()

    def release(self) -> None:
        if _Turn.holder is process_of.get():
            _Turn.holder = None


@contextlib.contextmanager
def _in(store: SimStore) -> Iterator[None]:
    """Let jobs be kept in a store in place of their file."""

    @contextlib.asynccontextmanager
    async def opened(_: object) -> AsyncIterator[tuple[None, SimStore]]:
        yield None, store

    kept = jobs.open_file, jobs.lock_file
    _Turn.holder = None
    jobs.open_file, jobs.lock_file = opened, lambda _: _Turn()
    try:
        yield
    finally:
        jobs.open_file, jobs.lock_file = kept
