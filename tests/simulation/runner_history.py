"""A run of a Runner, through deaths and second Runners, until it has ended.

And one of several Runners on one store, as in a deployment that rolls on: each in a process of its own, of which none
dies, and some are paused for so long that they are taken for dead.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from batch_bridge import Bridge, FlushPolicy, Runner
from batch_bridge.errors import RequestError, StoreInUseError
from simulation import check
from simulation.checkpointer import SimSaver
from simulation.graphs import SHAPES
from simulation.plans import COMMON, DEATHS, Places
from simulation.provider import REFUSED, Provider, SimProvider
from simulation.scheduler import process_of
from simulation.store import SimStore
from simulation.world import Blip, Dead, World

T = TypeVar("T")

PLACES: Places = {
    "store": (60, (*COMMON, "half", "half")),
    "saver": (60, COMMON),
    "provider": (16, (*COMMON, "late", "twice")),
    "step": (900, ("die",)),
    "cancel": (8, DEATHS),
}


FLEET: Places = {
    "store": (70, ("fail", "lose", "half", "slow", "outage", "pause", "pause", "pause after")),
    "saver": (30, ("fail", "lose", "slow")),
    "provider": (12, ("fail", "lose", "slow", "late", "twice", "pause", "pause", "pause after")),
}


async def fleet(world: World) -> None:
    """Run it in several Runners at once, and check what has come of it."""
    await history(world, is_fleet=True)


async def history(world: World, *, is_fleet: bool = False) -> None:
    """Run it, and check what has come of it."""
    draws = random.Random(f"{world.plan.host} {world.plan.seed} history")
    shape = draws.choice(SHAPES)
    names = [f"t{number}" for number in range(draws.choice((1, 2, 2, 3)))]
    if draws.random() < 0.15:
        names[0] = f"{REFUSED} {names[0]}"
    store, saver = SimStore(world), SimSaver(world)
    provider = Provider(world, trouble=draws.choice((0.0, 0.0, 0.3)))
    policy = draws.choice(
        (
            FlushPolicy(),
            FlushPolicy(max_requests=2),
            FlushPolicy(max_requests=1),
            FlushPolicy(max_age=draws.choice((0.5, 60.0))),
        )
    )
    options = {"flush": policy, "poll_interval": draws.choice((5, 60)), "attempts": 3}
    store_patience = timedelta(seconds=draws.choice((30, 300)))
    limit = draws.choice((None, 1))
    is_named = draws.random() < 0.9  # else it is not known how many threads there are, and many are looked for
    configs = [{"configurable": {"thread_id": f"run:{number}"}} for number in range(len(names))] if is_named else None

    to_cancel = names[:1] if any(each.place == "cancel" for each in world.plan.faults) else []
    when = random.Random(f"{world.plan.host} {world.plan.seed} cancel").choice((0.5, 3.0, 10.0, 30.0))

    left = list(to_cancel)

    async def cancel(runner: Runner[Any, Any]) -> None:
        await asyncio.sleep(when)
        if left:
            left.clear()
            world.mark("cancel")
            await runner.cancel(thread_id="run:0")

    @asynccontextmanager
    async def cancelled(runner: Runner[Any, Any]) -> AsyncIterator[None]:
        """Have somebody cancel the first thread's requests meanwhile, once."""
        cancelling = asyncio.get_running_loop().create_task(cancel(runner)) if left else None
        try:
            yield
        finally:
            if cancelling is not None:
                cancelling.cancel()
                await asyncio.gather(cancelling, return_exceptions=True)

    def opened() -> Runner[Any, Any]:
        return Runner(
            shape.graph,
            Bridge(SimProvider(provider), **options),
            checkpointer=saver,
            store=store,
            patience=timedelta(hours=2),
            store_patience=store_patience,
            progress=False,
        )

    async def life() -> tuple[list[Any], Any]:
        process_of.get().may_pause = lambda: False
        async with opened() as runner:
            process_of.get().may_pause = lambda: _waits(runner)
            inputs = [{"name": name, "answers": []} for name in names]
            async with cancelled(runner):
                results = await runner.abatch(
                    inputs, configs, run_id="run", return_exceptions=True, max_concurrency=limit
                )
            return results, await runner.report()

    async def lives(main: Callable[[], Awaitable[T]]) -> T:
        for _ in range(len(world.plan.faults) + 3):
            try:
                return await world.run(main)
            except (Dead, Blip, StoreInUseError) as error:
                world.trace.append((world.loop.time(), "ended", type(error).__name__))
                await asyncio.sleep(500.0 if isinstance(error, Blip) else draws.choice((0.0, 1.0, 100.0)))
        raise AssertionError("it ends for ever without a result")

    async def session() -> None:
        async with opened():
            await asyncio.sleep(200.0)

    async def late() -> tuple[list[Any], Any]:
        await asyncio.sleep(draws.choice((0.0, 0.1, 3.0, 60.0)))
        return await lives(life)

    if is_fleet:
        several = [lives(life), *(late() for _ in range(draws.choice((1, 1, 2))))]
    else:
        several = [lives(life), late()] if draws.random() < 0.25 else [lives(life)]
    ended = await asyncio.gather(*several)
    is_down = world.is_down("store")
    for results, _ in ended:
        check.answers(shape, names, results, to_cancel)
    assert not store.changed, store.changed
    questions = [question for name in names for question in shape.questions(name)]
    check.paid(provider, questions, [question for name in to_cancel for question in shape.questions(name)])
    has_died = len(world.processes) > len(several)
    if to_cancel:  # no thread waits until a cancelled batch has ended: the next session on the store does
        await asyncio.sleep(500.0)
        await lives(session)
    has_slept = any(each[1] == "paused" for each in world.trace)
    check.rows(store, has_failed=_has_failed(ended), has_died=has_died, has_slept=has_slept, is_down=is_down)
    if to_cancel:
        return
    final = max(ended, key=lambda each: each[1].requests)
    check.report(provider, final[1], has_failed=_has_failed(ended))


def _waits(runner: Runner) -> bool:
    """Return whether a Runner is at its run, and all of its threads wait."""
    calls = [] if runner._opened.session is None else runner._opened.session.roster.calls
    return bool(calls) and not any(each.busy for each in calls)


def _has_failed(ended: list[tuple[list[Any], Any]]) -> bool:
    return any(isinstance(result, RequestError) for results, _ in ended for result in results)
