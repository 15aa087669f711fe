"""Many requests at once are judged and queued as each would be by itself."""

import random
from datetime import timedelta

import pytest
from fakes import T0, FakeProvider, FakeStore, at

from batch_bridge._core.models import CachedPrefix, Measure, Request
from batch_bridge._core.policy.batching import Waiting
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import intake
from batch_bridge._engine.deduplication import Deduplication
from batch_bridge._engine.settings import EngineSettings
from batch_bridge._engine.state import State
from batch_bridge._engine.waiting.ladder import Ladder
from batch_bridge._engine.waiting.queue import Queue
from batch_bridge._ledger.make import budgeted
from batch_bridge.errors import RequestRefused

HOUR = timedelta(hours=1)


def measure(request):
    if "refused" in request.item:
        raise RequestRefused("no", code="bad_item")
    if "broken" in request.item:
        raise ZeroDivisionError
    prefix = CachedPrefix("p", HOUR) if "prefix" in request.item else None
    return Measure(f"model {len(request.item) % 3}", len(request.item), None, prefix)


LADDERS = {
    "none": lambda: None,
    "no deadline": lambda: Ladder.of_fallback(None, "wait_for_cancel", FakeProvider(), is_own=True),
    "an own fallback": lambda: Ladder.of_fallback(HOUR, "wait_for_cancel", FakeProvider(), is_own=True),
    "another fallback": lambda: Ladder.of_fallback(HOUR, "wait_for_cancel", FakeProvider(measure=measure)),
    "no fallback": lambda: Ladder.of_fallback(HOUR, "pay_again", None),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("ladder", LADDERS)
def test_they_are_judged_as_each_is(ladder, shared):
    provider = FakeProvider(measure=measure)
    deduplication = Deduplication("bridge", provider, None, dedupe=True) if shared else None
    settings = EngineSettings(ladder=LADDERS[ladder](), deduplication=deduplication)
    state = State("bridge", provider, FlushPolicy(), budgeted(FakeStore(), "bridge"), settings)
    items = ["one", "four", "refused", "broken", "prefix", "of a tenant", "of its own deadline", "last"]
    requests = [
        Request(
            f"{number:032x}",
            f"thread {number % 2}",
            item,
            "tenant" if "tenant" in item else "",
            deadline=timedelta(minutes=5) if "deadline" in item else None,
        )
        for number, item in enumerate(items)
    ]
    together = intake.judge_all(state, requests, T0)
    assert together == [intake.judge(state, each, T0, T0) for each in requests]


@pytest.mark.parametrize("seed", range(20))
def test_they_are_queued_as_each_is(seed):
    drawn = random.Random(seed)
    arrived = [
        Waiting(
            f"{name}",
            drawn.choice(["a", "b"]) if seed % 2 else "a",
            drawn.randrange(9),
            at(number),
            tenant=drawn.choice(["", "t"]) if seed % 3 else "",
            thread=drawn.choice("xyz"),
            late_at=at(drawn.randrange(50)) if drawn.random() < seed / 20 else None,
        )
        for number, name in enumerate(drawn.sample(range(16), drawn.randrange(16)))
    ]
    together, alone = Queue(T0), Queue(T0)
    for queue in (together, alone):
        queue.add(Waiting("3", "a", 1, at(-1)))
    together.add_all(arrived)
    for each in arrived:
        alone.add(each)
    assert _seen(together) == _seen(alone)
    gone = [each.id for each in together.pick(5)]
    for queue in (together, alone):
        queue.discard_all(queue.pick(5))
        assert not any(each in queue for each in gone)
    assert _seen(together) == _seen(alone)


def _seen(queue):
    return (
        list(queue),
        queue.pick(99),
        queue.late_at,
        queue.late(at(25)),
        queue.summary(at(60)),
        queue.newest,
        queue.oldest,
        [queue.held(each) for each in ("", "t")],
        [queue.of_thread(each) for each in "xyz"],
        {group: queue.size(group) for group in queue.groups},
    )
