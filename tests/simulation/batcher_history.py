"""A script that asks a durable Batcher, through deaths, until it has every answer; its desk runs on the loop."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

from batch_bridge import Batcher
from batch_bridge._host.loop_thread import Ended, Main, Work
from batch_bridge.batcher._submission import Submission
from batch_bridge.batcher._worker import worker
from batch_bridge.batcher._worker.thread import WorkerThread
from batch_bridge.errors import BatcherClosedError, RequestFailed, ResultPending
from simulation import check
from simulation.plans import COMMON, Places
from simulation.provider import REFUSED, Provider, SimProvider, answer_of
from simulation.store import SimStore
from simulation.world import Blip, Dead, World

PLACES: Places = {
    "store": (50, (*COMMON, "half", "half")),
    "provider": (20, (*COMMON, "late", "twice")),
    "step": (500, ("die",)),
}


async def history(world: World) -> None:
    """Run it, and check what has come of it."""
    draws = random.Random(f"{world.plan.host} {world.plan.seed} history")
    questions = [f"q{number}" for number in range(draws.choice((1, 2, 4, 6)))]
    if draws.random() < 0.15:
        questions[0] = f"{REFUSED} {questions[0]}"
    store = SimStore(world)
    provider = Provider(world, trouble=draws.choice((0.0, 0.0, 0.3)))
    waits = draws.random() < 0.6
    if waits and draws.random() < 0.2:
        questions.append(questions[0])  # an equal item is a request of its own
    by_map = waits and draws.random() < 0.4
    delays = [draws.choice((0.0, 0.0, 1.0, 70.0)) for _ in questions]
    options = {
        "max_batch_size": draws.choice((1, 2, 50_000)),
        "max_batch_age": timedelta(seconds=draws.choice((1, 60))),
        "poll_interval": draws.choice((5, 60)),
        "on_pending": "wait" if waits else "raise",
    }

    answers: list[list[Any]] = []
    has_died = has_ever_died = False

    async def life() -> None:
        async with _opened(SimProvider(provider), options) as batcher:
            if by_map:
                answers.append(await batcher.amap([{"q": each} for each in questions], return_exceptions=True))
                return
            asking = [_ask(batcher, each, delay) for each, delay in zip(questions, delays, strict=True)]
            answers.append(await asyncio.gather(*asking))

    with _on_the_loop(store):
        for _ in range(len(world.plan.faults) + 3):
            try:
                await world.run(life)
                has_died = False
            except (Dead, Blip) as error:
                has_died = has_ever_died = True
                world.trace.append((world.loop.time(), "ended", type(error).__name__))
                await asyncio.sleep(500.0 if isinstance(error, Blip) else draws.choice((0.0, 1.0, 100.0)))
            if answers:
                break
        else:
            raise AssertionError("it ends for ever without a result")
    for question, answer in zip(questions, answers[0], strict=True):
        if question.startswith(REFUSED):
            assert isinstance(answer, RequestFailed), f"{question} ended with {answer!r}"
            assert answer.code == "refused", f"{question} ended with {answer!r}"
        else:
            assert answer == {"a": answer_of(question)}, f"{question} ended with {answer!r}"
    assert not store.changed, store.changed
    check.paid(provider, questions)
    kept = (
        check.SUMMARIES if waits else check.SUMMARIES | {"outcomes", "tries"}
    )  # who does not wait may ask again at any time
    if has_ever_died:  # what a process has told that died is kept for `retention`
        kept |= {"told"}
    if has_died:  # while it closed
        kept |= {"outcomes", "tries", "members", "requests", "queued"}
    left = {kind: keys for kind, keys in store.read().items() if kind not in kept}
    assert not left, f"rows were left: {left}"


async def _ask(batcher: Batcher, question: str, delay: float) -> Any:
    await asyncio.sleep(delay)
    while True:
        try:
            return await batcher.asubmit({"q": question})
        except ResultPending:
            await asyncio.sleep(10.0)
        except RequestFailed as error:
            return error


@contextlib.asynccontextmanager
async def _opened(provider: SimProvider, options: dict[str, Any]) -> AsyncIterator[Batcher]:
    """Do what `async with Batcher(…)` does, without blocking the loop that its desk runs on."""
    batcher = Batcher(provider, path="batcher.db", **options)
    desk = batcher._worker
    running: asyncio.Task[None] = desk.thread.running
    is_clean = False
    try:
        await _until(desk.thread.opened.is_set, 0.01)
        if desk._broken is not None:
            raise desk._broken
        yield batcher
        flushed = asyncio.get_running_loop().create_future()
        with contextlib.suppress(BatcherClosedError):
            desk.hand_in(Submission([], flushed, flush=True))
            await flushed
        await _until(lambda: desk._backlog.idle.is_set() and (desk._sent.is_set() or not desk._peek), 0.1)
        is_clean = True
    finally:
        desk._is_clean = is_clean and desk._broken is None
        desk.thread.is_closed = True
        desk.thread.stop.set()
        await asyncio.wait((running,))
    if desk._broken is not None:
        raise desk._broken


async def _until(is_so: Callable[[], bool], pause: float) -> None:
    """Wait for another task, which does not say when it is so far; after long, look less often."""
    for number in itertools.count():
        if is_so():
            return
        await asyncio.sleep(pause if number < 100 else 50 * pause)


@contextlib.contextmanager
def _on_the_loop(store: SimStore) -> Iterator[None]:
    """Let a desk run on the loop that opens it, over a store in place of its file."""

    @contextlib.asynccontextmanager
    async def opened(_: object) -> AsyncIterator[tuple[None, SimStore]]:
        yield None, store

    def start(thread: WorkerThread, main: Main, ended: Ended) -> None:
        thread.work = Work(main, ended, is_alone=False)
        thread.running = asyncio.get_running_loop().create_task(thread.work.run())

    kept = WorkerThread.start, worker.open_file
    WorkerThread.start, worker.open_file = start, opened
    try:
        yield
    finally:
        WorkerThread.start, worker.open_file = kept
