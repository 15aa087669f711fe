"""What a node asks has changed while its thread was parked: another prompt, or today's date in it."""

import asyncio
import logging

import pytest
from helpers import Desk, one_node, within

from batch_bridge import FlushPolicy, Runner, wait, wait_many
from batch_bridge.errors import NondeterministicNodeError


def asking(prompt):
    """A graph whose node asks this."""

    async def node(state):
        return {"out": [await wait(prompt() if callable(prompt) else prompt)]}

    return one_node(node)


class Job:
    """A job that is started again and again, as by a daily timer: each time another Runner on the same file."""

    def __init__(self, tmp_path, *, checkpointer=None):
        self.desk = Desk()
        self.path = tmp_path / "run.db"
        self.saver = checkpointer
        self.unclaimed = 0

    async def start(self, graph, *, until_sent, threads=1):
        """Run until `until_sent` requests have been sent in all, and stop; `None`: to the end."""
        self.desk.let_go()
        bridge = self.desk.bridge(flush=FlushPolicy(max_requests=threads))
        async with Runner(graph, bridge, path=self.path, progress=False) as runner:
            runner._opened.session.grace = 0.1
            call = asyncio.ensure_future(runner.abatch([{"x": i} for i in range(threads)], run_id="daily"))
            if until_sent is None:
                result = await within(call)
                self.unclaimed = (await runner.report()).unclaimed
                return [each["out"] for each in result]
            while len(self.desk.requests) < until_sent:
                assert not call.done(), call.result()
                await asyncio.sleep(0.001)
            self.desk.hold()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            self.unclaimed = (await runner.report()).unclaimed
            return None


async def test_a_prompt_that_is_edited_twice_is_answered(tmp_path):
    job = Job(tmp_path)
    await job.start(asking("first"), until_sent=1)
    await job.start(asking("second"), until_sent=2)
    await job.start(asking("third"), until_sent=3)
    assert await job.start(asking("third"), until_sent=None) == [["third!"]]
    assert job.desk.requests == ["first", "second", "third"]
    assert job.unclaimed == 2


async def test_a_date_in_a_prompt_works_for_a_week_of_daily_restarts(tmp_path):
    job = Job(tmp_path)
    for day in range(7):
        await job.start(asking(f"on day {day}"), until_sent=day + 1)
    assert await job.start(asking("on day 6"), until_sent=None) == [["on day 6!"]]
    assert job.desk.requests == [f"on day {day}" for day in range(7)]
    assert job.unclaimed == 6


async def test_one_that_another_session_has_killed_goes_on_in_the_next(tmp_path):
    job = Job(tmp_path)
    counter = iter(range(100))
    await job.start(asking("first"), until_sent=1)
    with pytest.raises(NondeterministicNodeError):
        await job.start(asking(lambda: f"take {next(counter)}"), until_sent=None)
    assert await job.start(asking("at last"), until_sent=None) == [["at last!"]]


async def test_within_one_session_a_node_that_asks_for_something_else_each_time_is_still_an_error(tmp_path):
    job, counter = Job(tmp_path), iter(range(100))
    with pytest.raises(NondeterministicNodeError, match="other requests each time"):
        await job.start(asking(lambda: f"take {next(counter)}"), until_sent=None)
    assert len(job.desk.requests) == 2


async def test_a_key_that_is_renamed_is_asked_for_under_its_new_name(tmp_path):
    def graph(key):
        async def node(state):
            return {"out": [await wait("q", key=key)]}

        return one_node(node)

    job = Job(tmp_path)
    await job.start(graph("a"), until_sent=1)
    await job.start(graph("b"), until_sent=2)
    assert await job.start(graph("b"), until_sent=None) == [["q!"]]
    assert job.unclaimed == 1


async def test_answers_that_no_wait_takes_are_counted_once_and_said_once(tmp_path, caplog):
    job = Job(tmp_path)
    await job.start(asking("old"), until_sent=3, threads=3)
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        await job.start(asking("new"), until_sent=6, threads=3)
    assert job.unclaimed == 0  # the node may ask for them yet: it is run again
    with caplog.at_level(logging.WARNING, "batch_bridge"):
        assert await job.start(asking("new"), until_sent=None, threads=3) == [["new!"]] * 3
    assert job.unclaimed == 3
    first, total = [each.getMessage() for each in caplog.records if "paid" in each.getMessage()]
    assert "thread 'daily:" in first
    assert "Report.unclaimed" in first
    assert "old" not in first
    assert total.startswith("3 paid answers")
    await job.start(asking("new"), until_sent=None, threads=3)
    assert job.unclaimed == 3


async def test_a_wait_that_is_gone_leaves_its_answer_unclaimed(tmp_path):
    async def node(state):
        return {"out": ["nothing to ask"]}

    job = Job(tmp_path)
    await job.start(asking("q"), until_sent=1)
    assert await job.start(one_node(node), until_sent=None) == [["nothing to ask"]]
    assert job.unclaimed == 1


async def test_of_many_waits_only_what_has_changed_is_asked_again(tmp_path):
    def graph(*items):
        async def node(state):
            return {"out": await wait_many(items)}

        return one_node(node)

    job = Job(tmp_path)
    await job.start(graph("a", "b", "c"), until_sent=3, threads=1)
    assert await job.start(graph("a", "B", "c"), until_sent=None) == [["a!", "B!", "c!"]]
    assert job.desk.counts == {"a": 1, "b": 1, "c": 1, "B": 1}
    assert job.unclaimed == 1


async def test_slow_siblings_and_retries_leave_nothing_unclaimed(tmp_path):
    async def slow(state):
        first = asyncio.ensure_future(wait("a"))

        async def second():
            await asyncio.sleep(0.1)
            return await wait("b")

        return {"out": await asyncio.gather(first, second())}

    job = Job(tmp_path)
    assert await job.start(one_node(slow), until_sent=None) == [["a!", "b!"]]
    assert job.unclaimed == 0
