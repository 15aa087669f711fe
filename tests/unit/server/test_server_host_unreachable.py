"""A store or a server that is out of reach when a tick ends: there is a next one all the same."""

import asyncio

import virtual
from hosted import Hosted


class Down(ConnectionError):
    """It cannot be reached."""


def break_for(place, name, seconds):
    """Let a method of something fail for a while."""
    method, until = getattr(place, name), virtual.clock() + seconds

    async def call(*arguments, **named):
        if virtual.clock() < until:
            raise Down
        return await method(*arguments, **named)

    setattr(place, name, call)


def test_a_store_that_was_gone_for_minutes_leaves_a_next_tick():
    async def main():
        hosted = Hosted()
        assert await hosted.here.begin(hosted.store, "run 1")
        break_for(hosted.store, "abatch", 400)
        await hosted.here.fail(Down())
        assert [run["input"]["wake"] for run in hosted.server.created] == ["timer"]

    virtual.run(main)


def test_a_server_that_was_gone_for_minutes_leaves_a_next_tick():
    async def main():
        hosted = Hosted()
        assert await hosted.here.begin(hosted.store, "run 1")
        break_for(hosted.server.runs, "create", 400)
        await hosted.here.fail(Down())
        assert [run["input"]["wake"] for run in hosted.server.created] == ["timer"]

    virtual.run(main)


def test_a_store_that_blips_while_a_run_asks_whose_thread_it_is_on_is_asked_again():
    async def main():
        hosted = Hosted()
        break_for(hosted.store, "abatch", 2)
        assert not await hosted.here.is_ours(hosted.store, "another")
        await asyncio.sleep(0)

    virtual.run(main)
