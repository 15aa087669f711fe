"""How many submitted threads run side by side: more after short turns of the loop, few while it is busy."""

import asyncio

import virtual

from batch_bridge.runner._threads.pace import FEW, LONG_TURN, Pace


def turn(seconds):
    """Let the present turn of the loop take so long."""
    asyncio.get_running_loop()._jumping.now += seconds


async def measured(pace, seconds, running=FEW):
    """Have threads wait while a turn takes so long; return once its end is known."""
    pace.look(running)
    turn(seconds)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_each_short_turn_makes_room_for_more_up_to_the_limit_that_was_given():
    async def main():
        limits = []
        pace = Pace(30, lambda: limits.append(pace.limit))
        for _ in range(4):
            await measured(pace, LONG_TURN / 2)
            await asyncio.sleep(0.001)
        assert limits == [2 * FEW, 3 * FEW, 30, 30]

    virtual.run(main)


def test_a_long_turn_leaves_half_of_them_and_never_less_than_a_few():
    async def main():
        pace = Pace(64, lambda: None)
        for _ in range(3):
            await measured(pace, 0)
            await asyncio.sleep(0.001)
        assert pace.limit == 4 * FEW
        limits = []
        for _ in range(3):
            await measured(pace, LONG_TURN)
            limits.append(pace.limit)
            await asyncio.sleep(1)
        assert limits == [2 * FEW, FEW, FEW]

    virtual.run(main)


def test_it_goes_on_by_itself_after_a_long_turn_though_no_thread_stops():
    async def main():
        went_on = asyncio.Event()
        pace = Pace(64, went_on.set)
        await measured(pace, 1)
        assert not went_on.is_set()
        await went_on.wait()

    virtual.run(main)


def test_a_limit_below_a_few_holds():
    async def main():
        pace = Pace(2, lambda: None)
        await measured(pace, 0, running=1)
        assert pace.limit == 2
        await asyncio.sleep(0.001)
        await measured(pace, 1, running=1)
        assert pace.limit == 2
        pace.stop()

    virtual.run(main)


def test_nothing_is_called_once_it_was_stopped():
    async def main():
        called = []
        pace = Pace(64, lambda: called.append(1))
        pace.look(FEW)
        pace.stop()
        await asyncio.sleep(1)
        await measured(pace, 1)
        pace.stop()
        await asyncio.sleep(1)
        assert not called

    virtual.run(main)
