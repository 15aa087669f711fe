"""A ladder of lanes over HTTP: where requests go by their deadlines, what a full tier does, and the process after."""

import asyncio
import random
import string
from datetime import timedelta

import pytest
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, wait, wrap_openai
from batch_bridge.bridge import _ladder
from batch_bridge.events import DeadlineTooShort, LaneChanged, Submitted
from batch_bridge.langchain import batched
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

LADDER = ["batch", "window:2h", "flex", "realtime"]


@pytest.fixture(scope="module")
def lanes():
    with BatchServer() as server:
        yield server


@pytest.fixture
def server(lanes):
    lanes.configure(flex_refusal=0, flex_seconds=0, realtime_error=0, latency=0, response_seconds=0)
    lanes.reset_stats()
    return lanes


def key():
    return "".join(random.choices(string.ascii_lowercase, k=12))


def openai(server):
    return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key=key()), model="gpt-5-mini")


def said(number):
    return [{"role": "user", "content": f"question {number} {key()}"}]


async def test_each_request_goes_to_the_cheapest_lane_that_meets_its_deadline(server):
    seen = []
    async with Batcher(openai(server), ladder=LADDER, poll_interval=0.1, on_event=seen.append) as batcher:
        asked = [batcher.asubmit(said(n), deadline=each) for n, each in enumerate(["2d", "3h", "20m", "5m", "1s"])]
        answers = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0.3)
        batcher.flush()
        assert all("question" in str(answer) for answer in await answers)
        report = batcher.report()
    assert {each.lane for each in seen if isinstance(each, Submitted)} == {"batch", "flex", "realtime"}
    assert {lane: line.requests for lane, line in report.cost.by_lane.items()} == {"batch": 1, "flex": 2, "realtime": 2}
    assert [each.lane for each in seen if isinstance(each, DeadlineTooShort)] == ["realtime"]
    stats = server.stats
    assert (stats.batches, stats.flex, stats.realtime, stats.paid_twice) == (1, 2, 4, 0)


async def test_without_flex_three_hours_are_a_window(server):
    provider = openai(server)
    async with Batcher(
        provider, ladder=["batch", "window:2h", "realtime"], deadline="3h", poll_interval=0.1
    ) as batcher:
        await batcher.amap([said(1), {"model": "gpt-5-mini", "input": f"hello {key()}"}])
        assert batcher.report().cost.by_lane.keys() == {"window:2h"}


async def test_an_item_that_a_window_refuses_takes_another_lane(server):
    odd = {"model": "gpt-5-mini", "messages": said(1), "stop": ["x"]}
    async with Batcher(openai(server), ladder=["batch", "window:2h", "realtime"], deadline="3h") as batcher:
        await batcher.asubmit(odd)
        assert batcher.report().cost.by_lane.keys() == {"realtime"}


async def test_a_full_tier_is_left_in_time_and_nothing_is_billed_twice(server, monkeypatch):
    monkeypatch.setitem(_ladder._PROMISES, "flex", timedelta(seconds=1))
    monkeypatch.setitem(_ladder._PROMISES, "realtime", timedelta(seconds=0.5))
    monkeypatch.setitem(_ladder._STOPS, "flex", timedelta(seconds=0.1))
    server.configure(flex_refusal=True)
    seen = []
    options = {"ladder": ["flex", "realtime"], "poll_interval": 0.1, "on_event": seen.append}
    async with Batcher(openai(server), **options) as batcher:
        answers = await batcher.amap([said(n) for n in range(3)], deadline=2)
        report = batcher.report()
    assert len(answers) == 3
    assert report.cost.by_lane.keys() == {"realtime"}
    assert {(each.left, each.lane) for each in seen if isinstance(each, LaneChanged)} == {("flex", "realtime")}
    assert not [each for each in seen if isinstance(each, DeadlineTooShort)]
    assert (server.stats.flex, server.stats.realtime, server.stats.paid_twice) == (0, 3, 0)


async def test_a_process_after_this_one_finds_each_request_in_its_lane(server, tmp_path):
    server.configure(latency=1, response_seconds=1)
    items, provider = [said(1), said(2)], openai(server)
    options = {"ladder": ["batch", "window:2h", "realtime"], "poll_interval": 0.1, "path": tmp_path / "b.db"}
    async with Batcher(provider, on_pending="raise", **options) as first:
        pending = [asyncio.create_task(first.asubmit(items[n], deadline=each)) for n, each in enumerate(["2d", "3h"])]
        await asyncio.sleep(0.3)
        first.flush()
        await asyncio.gather(*pending, return_exceptions=True)
    made = (server.stats.batches, server.stats.responses)
    async with Batcher(provider, **options) as second:
        answers = [second.asubmit(items[n], deadline=each) for n, each in enumerate(["2d", "3h"])]
        await asyncio.gather(*answers)
        report = second.report()
    assert report.cost.by_lane.keys() == {"batch", "window:2h"}
    assert (server.stats.batches, server.stats.responses) == made == (1, 1)
    assert server.stats.paid_twice == 0


# -- where it is said ----------------------------------------------------------------------------------------------


async def test_a_graphs_node_and_the_drop_ins_take_a_ladder(server, tmp_path):
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, StateGraph

    item = said(1)

    async def node(state: dict) -> dict:
        return {"out": await wait(item, deadline="5m")}

    graph = StateGraph(dict).add_node(node).add_edge(START, "node")
    bridge = Bridge(openai(server), ladder=LADDER, poll_interval=0.1)
    async with Runner(graph, bridge, path=tmp_path / "run.db", progress=False) as runner:
        await runner.abatch([{}], run_id="one")
    client = wrap_openai(AsyncOpenAI(base_url=server.base_url, api_key=key()), ladder=LADDER, deadline="5m")
    async with client:
        await client.chat.completions.create(model="gpt-5-mini", messages=said(2))
    model = ChatOpenAI(model="gpt-5-mini", base_url=server.base_url, api_key=key())
    await batched(model, ladder=LADDER, deadline="5m").ainvoke("hello")
    assert (server.stats.batches, server.stats.realtime) == (0, 3)


def test_a_lane_that_the_provider_lacks_is_an_error_that_lists_those_it_has():
    with pytest.raises(ValueError, match=r"AnthropicBatch has no lane 'flex'; its lanes are 'batch', 'realtime'"):
        Bridge(AnthropicBatch(model="claude"), ladder=["batch", "flex", "realtime"])
    provider = OpenAIBatch(model="gpt-5-mini")
    for wrong in ([], ["batch", "batch"], ["nightly"]):
        with pytest.raises(ValueError, match="the lanes are"):
            Bridge(provider, ladder=wrong)
    with pytest.raises(TypeError, match="is no list"):
        Bridge(provider, ladder="batch")
    with pytest.raises(ValueError, match="leave mode= out"):
        Bridge(provider, ladder=["batch"], mode="flex")
    with pytest.raises(ValueError, match="leave fallback= out"):
        Bridge(provider, ladder=["batch", "realtime"], fallback=provider)


def test_the_environment_names_several_lanes(monkeypatch, caplog):
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "batch, window:2h, realtime")
    assert Bridge(OpenAIBatch(model="gpt-5-mini")).ladder == ("batch", "window:2h", "realtime")
    assert Bridge(OpenAIBatch(model="gpt-5-mini"), mode="flex").ladder is None
    assert Bridge(AnthropicBatch(model="claude")).ladder == ("batch", "realtime")
    assert "has no lane 'window:2h'" in caplog.text


def test_a_bridge_says_what_its_ladder_is():
    bridge = Bridge(OpenAIBatch(model="gpt-5-mini"), ladder=["flex", "realtime"], deadline="1h")
    assert repr(bridge) == "Bridge(OpenAIBatch, name='bridge', ladder=['flex', 'realtime'])"
    assert bridge.quote([{"input": "x", "model": "gpt-5-mini"}]).usd.high * 2 == (
        bridge.quote([{"input": "x", "model": "gpt-5-mini"}]).usd_realtime.high
    )
