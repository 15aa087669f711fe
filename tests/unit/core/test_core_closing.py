"""Closing several things: whatever fails or is cancelled meanwhile, all are closed and nothing is lost."""

import asyncio

import pytest

from batch_bridge._core.closing import Closing


async def closing(raised, ended):
    """Close two things after an error; the first takes until it is cancelled."""
    begun = asyncio.Event()

    async def slow():
        begun.set()
        await asyncio.Event().wait()

    async def quick():
        ended.append("quick")

    async def block():
        async with Closing((slow, quick)):
            if raised is not None:
                raise raised

    task = asyncio.create_task(block())
    await begun.wait()
    task.cancel()
    await asyncio.wait((task,))
    return task


@pytest.mark.parametrize("raised", [None, ValueError("the block")])
async def test_a_cancellation_while_closing_is_one(raised):
    ended = []
    task = await closing(raised, ended)
    assert task.cancelled()
    assert ended == ["quick"]


async def test_the_error_of_the_block_is_noted_on_the_cancellation():
    task = await closing(ValueError("the block"), [])
    with pytest.raises(asyncio.CancelledError) as told:
        await task
    assert any("ValueError: the block" in note for note in getattr(told.value, "__notes__", ()))


async def test_a_close_that_meets_anothers_cancellation_hides_no_error():
    async def meets():
        raise asyncio.CancelledError

    async def block():
        async with Closing((meets,)):
            raise ValueError("the block")

    with pytest.raises(ValueError, match="the block"):
        await block()
