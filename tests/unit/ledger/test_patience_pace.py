"""Calls that have failed together are not made again together."""

import asyncio
from datetime import timedelta

import pytest

from batch_bridge._ledger.patience import Patience


@pytest.fixture
def paces():
    """Return how to let a call fail until the patience ends, and how long it waits between its attempts."""

    async def run(limit):
        pauses = []

        async def sleep(seconds):
            pauses.append(seconds)

        async def fail():
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            await Patience("ledger", limit=timedelta(seconds=limit), sleep=sleep).call(fail)
        return pauses

    return run


async def test_each_call_waits_for_a_time_of_its_own(paces):
    calls = await asyncio.gather(*(paces(60) for _ in range(8)))
    for attempt in range(8):
        longest = min(0.02 * 2**attempt, 5)
        waits = [pauses[attempt] for pauses in calls]
        assert len(set(waits)) == len(waits)
        assert all(longest / 2 <= each <= longest for each in waits)


async def test_chance_does_not_change_how_long_a_call_is_tried(paces):
    for pauses in [await paces(60) for _ in range(8)]:
        assert sum(pauses) == pytest.approx(60)
        assert max(pauses) <= 5
