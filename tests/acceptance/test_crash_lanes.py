"""The crash matrix of the lanes: the process ends at every step of its engine, and nothing is lost or paid twice.

What cannot be known is said: a create call or a call of a model that had no answer ends its request with an error that
names the doubt, or, where that is asked for, it is made again and counted.
"""

import random
from datetime import timedelta

import pytest
import sampling
from crash_lives import Lane, World
from crash_steps import drawn
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from batch_bridge import Deadline
from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._core.policy.vendor_terms import VendorTerms
from batch_bridge.bridge._ladder import ladder_of
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MANY, FEW = 3, 2
DOUBTS = {"submission_unknown", "realtime_interrupted"}
CALM = {"latency": 0, "response_seconds": 0, "stuck": 0, "stuck_share": 0.99}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as server:
        yield server


@pytest.fixture
def world(monkeypatch):
    world = World()
    world.patch(monkeypatch.setattr)
    return world


def question(number):
    return [{"role": "user", "content": f"question {number}."}]


def openai(client):
    return OpenAIBatch(client, model="gpt-5-mini")


def lane(name):
    return Lane(lambda client: openai(client).lane(name), [question(n) for n in range(MANY)])


def ladder(*names, deadline, policy="wait_for_cancel"):
    def made(provider):
        return ladder_of(
            provider, names, Deadline(within=deadline, then=policy), flush=FlushPolicy(), terms=VendorTerms()
        )

    return Lane(openai, [question(n) for n in range(FEW)], made)


def chosen(steps, verbs, most):
    """Return the steps to die at: all, or so many, of which one comes after each verb."""
    some = drawn(steps, 2)
    if sampling.is_whole:
        return some
    first = [f"after {verb} 1" for verb in verbs]
    others = [each for each in some if each not in first]
    return first + random.Random(sampling.seed).sample(others, min(len(others), most - len(first)))


async def die_everywhere(world, server, asked, check, *, verbs, most=12, **faults):
    """Die at each step that is drawn, and check what became of the requests; return how many requests were in doubt."""
    server.configure(**CALM)
    server.configure(**faults)
    client = AsyncOpenAI(base_url=server.base_url, api_key="any", http_client=DefaultAsyncHttpxClient(verify=False))

    async def live(die_at):
        server.reset_stats()
        return await asked.live(world, client, die_at)

    undisturbed = await live("")
    assert all(isinstance(each, Succeeded) for each in undisturbed.outcomes), undisturbed.outcomes
    steps, died, doubted = chosen(undisturbed.steps, verbs, most), set[str](), 0
    for step in steps:
        ended = await live(step)
        if not ended.died:  # fewer polls this time
            continue
        died.add(step.rpartition(" ")[0])
        doubts = [each for each in ended.outcomes if not isinstance(each, Succeeded)]
        assert all(isinstance(each, Errored) and each.code in DOUBTS for each in doubts), (step, doubts)
        for number, each in enumerate(ended.outcomes):
            assert each in doubts or f"question {number}." in str(each.answer), step
        doubted += len(doubts)
        check(step, ended, len(asked.items) - len(doubts), server.stats)
    assert {f"after {verb}" for verb in verbs} <= died
    return doubted


@pytest.mark.parametrize("window", ["window:2h", "window:8h"])
async def test_a_window_loses_nothing_and_pays_nothing_twice(server, world, window):
    def check(step, ended, answered, stats):
        assert answered <= stats.paid == stats.responses <= MANY, step
        assert stats.paid_twice == stats.bodies_repeated == 0, step

    doubted = await die_everywhere(world, server, lane(window), check, verbs=("prepare", "submit", "poll", "release"))
    assert doubted > 0


async def test_a_window_that_pays_again_counts_it(server, world):
    def pays_again(client):
        return openai(client).window("2h", on_unknown="pay_again")

    def check(step, ended, answered, stats):
        sent_again = sum(each.resubmitted for each in ended.closed)
        assert answered == 1, step
        assert stats.paid_twice == stats.responses - 1, step
        if step.startswith("after submit"):
            assert stats.paid_twice == sent_again == 1, step
        assert stats.paid_twice <= sent_again <= 1, step

    asked = Lane(pays_again, [question(0)], attempts=3)
    assert await die_everywhere(world, server, asked, check, verbs=("prepare", "submit", "poll")) == 0


@pytest.mark.parametrize("tier", ["flex", "realtime"])
async def test_a_tier_loses_nothing_and_calls_nothing_twice(server, world, tier):
    def check(step, ended, answered, stats):
        assert answered <= stats.realtime <= MANY, step
        assert stats.flex == (stats.realtime if tier == "flex" else 0), step

    doubted = await die_everywhere(world, server, lane(tier), check, verbs=("prepare", "submit", "poll", "call"))
    assert doubted > 0


async def test_a_ladder_that_is_left_twice_pays_nothing_twice(server, world):
    def check(step, ended, answered, stats):
        assert stats.paid == 0, step
        assert answered <= stats.realtime <= FEW, step

    asked = ladder("batch", "window:2h", "realtime", deadline=timedelta(hours=30))
    verbs = ("prepare", "submit", "poll", "cancel", "call")
    await die_everywhere(world, server, asked, check, verbs=verbs, most=8, latency=3600, response_seconds=1e9)


async def test_a_ladder_that_pays_again_counts_what_arrives_twice(server, world):
    def check(step, ended, answered, stats):
        twice = sum(each.paid_twice for each in ended.closed)
        uncounted = stats.paid + stats.realtime - answered - twice
        lost = ended.unheard + step.startswith("after call")  # what a call of the dead process came to, nobody knows
        assert 0 <= uncounted <= lost, step

    asked = ladder("batch", "realtime", deadline=timedelta(hours=25), policy="pay_again")
    verbs = ("submit", "poll", "cancel", "call")
    await die_everywhere(world, server, asked, check, verbs=verbs, most=8, stuck=1.0, stuck_share=0.5)
