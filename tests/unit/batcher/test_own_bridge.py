"""A Batcher takes a bridge with all that a bridge takes, and refuses to be told the same twice."""

import pytest

from batch_bridge import Batcher, Bridge, FlushPolicy
from batch_bridge.events import Submitted


class Echo:
    def __init__(self):
        self.batches = []

    def submit(self, items):
        self.batches.append(items)
        return items

    def poll(self, handle):
        return [f"{item}!" for item in handle]

    def bridge(self, **options):
        return Bridge(submit=self.submit, poll=self.poll, poll_interval=0.01, **options)


def test_it_has_the_flush_policy_of_its_bridge():
    echo = Echo()
    with Batcher(echo.bridge(flush=FlushPolicy(max_requests=2))) as batcher:
        assert batcher.map(["a", "b", "c", "d"]) == ["a!", "b!", "c!", "d!"]
    assert echo.batches == [["a", "b"], ["c", "d"]]


def test_it_runs_the_engine_of_its_bridge():
    bridge = Echo().bridge(attempts=5)
    with Batcher(bridge) as batcher:
        assert batcher._worker.bridge is bridge


async def test_the_events_of_its_bridge_are_told():
    seen = []
    async with Batcher(Echo().bridge(on_event=seen.append)) as batcher:
        await batcher.amap(["a"])
    assert [each.requests for each in seen if isinstance(each, Submitted)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mode": "batch"}, "mode="),
        ({"max_batch_size": 3, "poll_interval": 1}, "max_batch_size=, poll_interval="),
        ({"flush": FlushPolicy()}, "flush="),
        ({"submit_func": list, "poll_func": list}, "submit_func=, poll_func="),
        ({"name": "x", "deadline": 3}, "name=, deadline="),
        ({"on_event": print}, r"on_event=…\): give one of them"),
    ],
)
def test_what_a_bridge_has_is_not_said_again(options, named):
    with pytest.raises(TypeError, match=named):
        Batcher(Echo().bridge(on_event=print), **options)


def test_a_flush_policy_and_its_parts_are_not_given_together():
    with pytest.raises(TypeError, match=r"Batcher\(flush=…, max_batch_age=\): a flush policy says all of it"):
        Batcher(submit_func=list, poll_func=list, flush=FlushPolicy(), max_batch_age=3)


@pytest.mark.parametrize("name", ["find_func", "max_batch_idle", "attempts", "on_deadline", "prices", "telemetry"])
def test_what_only_a_bridge_takes_a_batcher_does_not(name):
    with pytest.raises(TypeError, match=name):
        Batcher(submit_func=list, poll_func=list, **{name: None})
