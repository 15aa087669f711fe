"""Who leaves a lane, and when: what was not created, what another lane refuses, and what has just ended."""

import pytest
from ladder_world import Clock, Lane, World, request

from batch_bridge.errors import ProviderUnavailable

HOUR = 3600


def constant(seconds):
    return lambda _: seconds


class Shut(Lane):
    """A lane whose create calls are turned away up to a time; it holds an input file for each that is prepared."""

    opens_at = float("inf")
    prepares = 0

    def __post_init__(self):
        super().__post_init__()
        self.files = set()

    async def prepare(self, key, requests):
        self.prepares += 1
        self.files.add(self.prepares)
        return {**await super().prepare(key, requests), "file": self.prepares}

    async def submit(self, key, requests, prepared):
        if self.clock.seconds < self.opens_at:
            raise ProviderUnavailable("full")
        return await super().submit(key, requests, prepared)

    async def fence(self, prepared):
        self.files.discard(prepared["file"])


@pytest.mark.parametrize("opens_at", [float("inf"), 26 * HOUR - 659])
async def test_what_could_not_be_created_moves_on_once_and_leaves_no_file(opens_at):
    clock = Clock()
    batch, realtime = Shut("batch", clock, constant(5 * HOUR)), Lane("realtime", clock, constant(4))
    batch.opens_at = opens_at
    world = World([batch, realtime], clock)
    await world.open()
    await world.run([(0, request(1, 26 * HOUR))])
    ((answered_at, lane),) = world.answered.values()
    assert lane == "realtime"
    assert answered_at <= 26 * HOUR
    assert (batch.prepares, batch.files) == (1, set()), "one upload, and it was deleted"
    assert not batch.sent, "nothing is created only to be stopped"
