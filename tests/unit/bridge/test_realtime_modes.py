"""The switch: which way a bridge's requests go, by argument, environment and provider."""

import asyncio
import logging
import math
from datetime import timedelta

import pytest
from fakes import FakeProvider, request
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, FlushPolicy, Limits
from batch_bridge._core.models import Measure, Succeeded
from batch_bridge._core.provider import has_realtime
from batch_bridge.bridge._mode_switch import ModeSwitch
from batch_bridge.errors import ProviderUnavailable
from batch_bridge.providers._realtime.provider import Realtime, Reply, is_realtime
from batch_bridge.providers.openai import OpenAIBatch

LONG = FlushPolicy(max_requests=7, max_age=3600, when=lambda _: False)


class Both(FakeProvider):
    """A provider that has a twin."""

    name_of_its_own = "both"

    def __init__(self):
        super().__init__(limits=Limits(requests=5))
        self.twins = 0
        self.asked = []
        self.closed = []

    def realtime(self):
        self.twins += 1

        async def answer(asked):
            self.asked.append(asked.id)
            return Reply(Succeeded("at once"))

        async def close():
            self.closed.append("twin")

        return Realtime(answer, measure=lambda _: Measure("twin", 1), close=close, concurrency=3)

    async def aclose(self):
        self.closed.append("batch")


@pytest.fixture(autouse=True)
def _no_mode(monkeypatch):
    monkeypatch.delenv("BATCH_BRIDGE_MODE", raising=False)


def policy(bridge):
    return bridge._flush


async def send(provider, requests):
    """Lead a batch to its end; the handle, and the outcomes."""
    prepared = await provider.prepare("key", requests)
    handle = await provider.submit("key", requests, prepared)
    reply = await provider.poll(handle, [each.id for each in requests])
    while not hasattr(reply, "missing"):
        await reply.news
        reply = await provider.poll(handle, [])
    return prepared, handle, [outcome async for _, outcome in reply.outcomes]


@pytest.mark.parametrize(
    ("argument", "environment", "expected"),
    [
        (None, None, "batch"),
        (None, "", "batch"),
        (None, "batch", "batch"),
        (None, "realtime", "realtime"),
        ("batch", "realtime", "batch"),
        ("realtime", "batch", "realtime"),
        ("realtime", None, "realtime"),
    ],
)
def test_the_argument_counts_before_the_environment(monkeypatch, argument, environment, expected):
    if environment is not None:
        monkeypatch.setenv("BATCH_BRIDGE_MODE", environment)
    bridge = Bridge(Both(), mode=argument, flush=LONG)
    assert bridge.mode == expected
    assert policy(bridge).max_requests == 7
    if expected == "realtime":
        assert (policy(bridge).max_age, policy(bridge).when) == (timedelta(0), None)
        assert bridge.linger < 0.1
        assert bridge.provider.limits.requests is None
        assert repr(bridge) == "Bridge(Both, name='bridge', mode='realtime')"
    else:
        assert policy(bridge) == LONG
        assert bridge.provider.limits.requests == 5
        assert bridge.provider.room is None
        assert repr(bridge) == "Bridge(Both, name='bridge')"


def test_typos_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"Bridge.*'real-time'.*auto"):
        Bridge(Both(), mode="real-time")
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "relatime")
    with pytest.raises(ValueError, match="BATCH_BRIDGE_MODE='relatime'"):
        Bridge(Both())
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "auto")
    with pytest.raises(ValueError, match="BATCH_BRIDGE_MODE='auto'"):
        Bridge(Both())


async def test_batch_mode_sends_batches():
    provider = Bridge(both := Both()).provider
    _, handle, _ = await send(provider, [request(1)])
    assert both.take() == ["prepare", "submit", "poll"]
    assert not is_realtime(handle)
    assert both.twins == 0
    await provider.aclose()
    assert both.closed == ["batch"]


async def test_realtime_mode_sends_calls():
    provider = Bridge(both := Both(), mode="realtime").provider
    prepared, handle, outcomes = await send(provider, [request(1), request(2)])
    assert outcomes == [Succeeded("at once")] * 2
    assert is_realtime(prepared)
    assert is_realtime(handle)
    assert both.take() == []
    assert provider.room == 6
    await provider.release(handle)
    await provider.aclose()
    assert both.closed == ["twin", "batch"]


async def test_auto_chooses_by_the_size_of_a_batch():
    bridge = Bridge(both := Both(), mode="auto", realtime_below=3, flush=LONG)
    assert policy(bridge) == LONG
    assert bridge.provider.room is None
    for count, calls in ((1, []), (2, []), (3, ["prepare", "submit", "poll"]), (4, ["prepare", "submit", "poll"])):
        prepared, handle, outcomes = await send(bridge.provider, [request(n) for n in range(count)])
        assert len(outcomes) == count
        assert both.take() == calls
        assert is_realtime(prepared) == is_realtime(handle) == (not calls)
        await bridge.provider.release(handle)
        both.take()


@pytest.mark.parametrize("mode", ["batch", "realtime"])
async def test_what_was_sent_the_other_way_is_looked_after_that_way(mode):
    both = Both()
    batch, realtime = Bridge(both, mode="batch").provider, Bridge(both, mode="realtime").provider
    prepared = await batch.prepare("key", [request(1)])
    handle = await batch.submit("key", [request(1)], prepared)
    at_once = await realtime.submit("key", [request(2)], at_once_prepared := await realtime.prepare("k", [request(2)]))
    both.take()
    after = Bridge(both, mode=mode).provider  # the next process, in one mode or the other
    assert await after.find("key", prepared) == [handle]
    await after.fence(prepared)
    outcomes = [outcome async for _, outcome in (await after.poll(handle, [request(1).id])).outcomes]
    assert outcomes == [Succeeded(request(1).item)]
    await after.cancel(handle)
    await after.release(handle)
    assert both.take() == ["find", "fence", "poll", "cancel", "release"]
    assert await after.find("k", at_once_prepared) == []
    await after.fence(at_once_prepared)
    ended = await after.poll(at_once, [request(2).id])
    assert ended.missing.code == "realtime_interrupted"
    await after.cancel(at_once)
    await after.release(at_once)
    assert both.take() == []
    assert both.asked == []


def test_what_else_a_provider_has_can_be_asked():
    provider = Bridge(Both()).provider
    assert provider.name_of_its_own == "both"
    assert has_realtime(provider)
    with pytest.raises(AttributeError):
        _ = provider.nothing_like_this
    with pytest.raises(AttributeError):
        _ = ModeSwitch.__new__(ModeSwitch)._batch


def test_a_pair_has_no_realtime_way():
    pair = {"submit": lambda items: items, "poll": lambda handle: handle}
    for options in ({"mode": "realtime"}, {"mode": "auto", "realtime_below": 2}):
        with pytest.raises(TypeError, match=r"CallableProvider does not support realtime.*OpenAIBatch"):
            Bridge(**pair, **options)
    with pytest.raises(TypeError, match="does not support realtime"):
        Batcher(submit_func=pair["submit"], poll_func=pair["poll"], mode="realtime")


def test_from_the_environment_a_pair_is_sent_at_once_and_says_so(monkeypatch, caplog):
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "realtime")
    with caplog.at_level(logging.WARNING, logger="batch_bridge"):
        bridge = Bridge(submit=lambda items: items, poll=lambda handle: handle, flush=LONG)
    assert len(caplog.records) == 1
    assert "BATCH_BRIDGE_MODE" in caplog.text
    assert "CallableProvider" in caplog.text
    assert policy(bridge).max_age == timedelta(0)
    assert bridge.mode == "batch"


def test_auto_needs_its_number_and_nothing_else_takes_it():
    for below in (None, 0, -1, 1.5, True):
        with pytest.raises(ValueError, match="whole number from 1"):
            Bridge(Both(), mode="auto", realtime_below=below)
    for mode in (None, "batch", "realtime"):
        with pytest.raises(ValueError, match="realtime_below"):
            Bridge(Both(), mode=mode, realtime_below=3)


def test_a_twin_given_as_the_provider_answers_at_once():
    twin = Both().realtime()
    for mode in (None, "realtime"):
        bridge = Bridge(twin, mode=mode, flush=LONG)
        assert bridge.mode == "realtime"
        assert bridge.provider is twin
        assert policy(bridge).max_age == timedelta(0)
    for options in ({"mode": "batch"}, {"mode": "auto", "realtime_below": 3}):
        with pytest.raises(ValueError, match="realtime only"):
            Bridge(twin, **options)


async def test_a_twin_that_knows_its_batch_twin_looks_after_what_that_has_sent():
    twin = OpenAIBatch(AsyncOpenAI(api_key="x"), model="gpt").realtime()
    provider = Bridge(twin).provider
    assert isinstance(provider, ModeSwitch)
    assert provider._twin is twin
    assert provider.identity == twin.batch.identity
    await provider.aclose()


async def test_a_twin_alone_loses_no_batch():
    for handle in ("batch-1", {"id": "batch-1"}, None, 3):
        with pytest.raises(ProviderUnavailable, match="batch API"):
            await Both().realtime().poll(handle, [])


def test_openai_has_a_twin_that_refuses_the_same():
    batch = OpenAIBatch(AsyncOpenAI(api_key="x"), model="gpt", limits=Limits(requests=2, bytes=1000))
    twin = batch.realtime(concurrency=3)
    assert twin.limits == Limits(requests=None, bytes=1000)
    item = request(1).item
    assert twin.measure(request(1, messages=[item])) == batch.measure(request(1, messages=[item]))
    assert "concurrency=3" in repr(twin)
    assert Bridge(batch, mode="realtime").provider._below == math.inf


def test_a_small_batch_that_is_late_is_finished_by_the_fallback():
    class Slow(FakeProvider):
        def realtime(self):
            async def answer(request):
                await asyncio.sleep(0.5)
                return Reply(Succeeded(f"answer to {request.item}"))

            async def close():
                pass

            return Realtime(answer, measure=self.measure, close=close, batch=self, concurrency=2)

    with Batcher(Slow(), mode="auto", realtime_below=10, deadline=0.2, poll_interval=0.1) as batcher:
        assert batcher.map(list("abcdef")) == [f"answer to {each}" for each in "abcdef"]
