"""What the faults of the simulator do."""

import asyncio
import contextlib

import pytest

from batch_bridge._core.models import Request
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from simulation.provider import Provider, SimProvider
from simulation.scheduler import SimLoop, process_of
from simulation.world import Dead, Fault, Plan, World

REQUEST = Request("1", "t", {"q": "why"})


@pytest.fixture
def loop():
    loop = SimLoop("order")
    yield loop
    loop.close()


def world_of(loop, *faults):
    return World(loop, Plan("test", 0, faults))


def test_a_paused_process_does_nothing_until_it_goes_on_and_its_clock_has_gone_on(loop):
    world = world_of(loop, Fault("store", 2, "pause", 40.0))
    seen = []

    async def beats():
        for _ in range(3):
            await asyncio.sleep(5.0)
            await world.call("store", "beat", lambda: seen.append((process_of.get().number, loop.time() // 1)))

    async def both():
        await asyncio.gather(world.run(beats), world.run(beats))

    loop.run_until_complete(both())
    times = {number: [at for each, at in seen if each == number] for number in (0, 1)}
    paused = next(number for _, told, number in (each for each in world.trace if len(each) == 3) if told == "paused")
    assert times[paused][0] >= 45.0
    assert times[1 - paused][-1] < 45.0


def test_a_process_that_runs_a_graph_is_paused_later(loop):
    world = world_of(loop, Fault("store", 1, "pause", 40.0))
    at = []

    async def main():
        process_of.get().may_pause = lambda: len(at) >= 2
        for _ in range(4):
            await world.call("store", "", lambda: at.append(loop.time()))

    loop.run_until_complete(world.run(main))
    assert at[1] < 40.0 <= at[2]


def test_a_create_call_that_is_done_twice_makes_two_batches_which_are_listed_later(loop):
    world = world_of(loop, Fault("provider", 2, "twice", 5.0))
    provider = Provider(world)
    sim = SimProvider(provider)

    async def main():
        file = await sim.prepare("k", [REQUEST])
        with pytest.raises(SubmissionUnknown):
            await sim.submit("k", [REQUEST], file)
        with pytest.raises(ProviderUnavailable):
            await sim.find("k", file)
        await asyncio.sleep(5.0)
        first, second = await sim.find("k", file)
        await sim.cancel(second)
        await asyncio.sleep(100.0)
        assert [provider.look(each).is_double for each in (first, second)] == [False, True]
        assert [provider.look(each).state for each in (first, second)] == ["ended", "ended"]

    loop.run_until_complete(world.run(main))
    assert provider.paid.total() == 1


def test_a_batch_is_refused_whose_input_another_process_has_deleted(loop):
    sim = SimProvider(Provider(world_of(loop)))

    async def main():
        file = await sim.prepare("k", [REQUEST])
        await sim.fence(file)
        with pytest.raises(SubmissionRefused):
            await sim.submit("k", [REQUEST], file)

    loop.run_until_complete(world_of(loop).run(main))


def test_a_fault_may_come_at_a_call_of_a_verb_and_a_death_some_calls_of_the_store_after_it(loop):
    world = world_of(loop, Fault("submit", 2, "lose"), Fault("then", 2, "die"))
    done = []

    async def main():
        for verb in ("find", "submit", "submit"):
            await world.call("store", "", lambda: None)
            with contextlib.suppress(ConnectionError):
                await world.call("provider", verb, lambda verb=verb: done.append(verb))
        for number in range(3):
            await world.call("store", "", lambda number=number: done.append(number))

    with pytest.raises(Dead):
        loop.run_until_complete(world.run(main))
    assert done == ["find", "submit", "submit", 0]
    assert [each.place for each in world.fired] == ["submit", "then"]
