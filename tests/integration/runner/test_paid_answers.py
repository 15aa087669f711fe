"""Answers that were paid for reach those who asked, over real HTTP and real files; what a line holds harms no other.

The server's answers are rewritten on their way: what it cannot write itself, a provider may.
"""

from typing import TypedDict

import httpx2
import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from batch_bridge import Batcher, Bridge, ResponseCache, Runner, wait, wrap_openai
from batch_bridge.errors import RequestFailed
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MANY = 6
WEI = 115792089237316195423570985008687907853
ODD = b'{"wei": %d, "half": "a\\ud83d", "deep": %s1%s}'


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture(autouse=True)
def calm(server):
    server.reset_stats()


class Rewriting(httpx2.AsyncHTTPTransport):
    """Puts something into the answer of one prompt, in the content of files and in realtime answers."""

    def __init__(self, added: bytes, prompt: str) -> None:
        super().__init__()
        self._added = b'"odd":%s,"system_fingerprint":%s' % (added, added)
        self._prompt = prompt.encode()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if not request.url.path.endswith(("/content", "/chat/completions")):
            return response
        lines = (await response.aread()).split(b"\n")
        await response.aclose()
        whole = b"\n".join(
            line.replace(b'"system_fingerprint":"fp_stand_in"', self._added) if self._prompt in line else line
            for line in lines
        )
        headers = {"content-type": "application/json"}
        return httpx2.Response(response.status_code, content=whole, headers=headers, request=request)


def client_of(server, added=b"null", number=2, key="test"):
    http = DefaultAsyncHttpxClient(transport=Rewriting(added, f"question {number}."))
    return AsyncOpenAI(base_url=server.base_url, api_key=key, http_client=http)


def item(number):
    return [{"role": "user", "content": f"question {number}."}]


def odd(levels):
    return ODD % (WEI, b"[" * levels, b"]" * levels)


def depth_of(value):
    depth = 0
    while isinstance(value, list):
        (value,), depth = value, depth + 1
    return depth


@pytest.mark.parametrize("levels", [3, 255, 1_000, 5_000])
async def test_a_durable_batcher_hands_out_an_odd_answer_and_its_neighbours_and_pays_once(server, tmp_path, levels):
    provider = OpenAIBatch(client_of(server, odd(levels), key=f"batcher {levels}"), model="m")
    async with Batcher(provider, path=tmp_path / "batcher.db", poll_interval=0.01) as batcher:
        answers = await batcher.amap(map(item, range(MANY)))
    assert [f"question {number}." in answers[number]["choices"][0]["message"]["content"] for number in range(MANY)]
    own = answers[2]["odd"]
    assert (own["wei"], own["half"], depth_of(own["deep"])) == (WEI, "a\ud83d", levels)
    assert (server.stats.batches, server.stats.paid, server.stats.paid_twice) == (1, MANY, 0)


class State(TypedDict, total=False):
    number: int
    wei: str
    depth: int


async def ask(state: State) -> State:
    answer = await wait(item(state["number"]))
    own = answer.get("odd") or {}
    return {"wei": str(own.get("wei")), "depth": depth_of(own.get("deep"))}


@pytest.mark.parametrize("levels", [255, 5_000])
async def test_a_node_gets_an_odd_answer_and_the_same_run_again_pays_nothing(server, tmp_path, levels):
    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
    for _ in range(2):
        bridge = Bridge(
            OpenAIBatch(client_of(server, odd(levels), key=f"runner {levels}"), model="m"), poll_interval=0.01
        )
        async with Runner(graph, bridge, path=tmp_path / "run.db", progress=False) as runner:
            results = await runner.abatch([{"number": number} for number in range(MANY)], run_id="r")
        assert results[2]["wei"] == str(WEI)
        assert results[2]["depth"] == levels
        assert all(each["wei"] == "None" for each in results[:2] + results[3:])
    assert (server.stats.batches, server.stats.paid) == (1, MANY)


async def test_a_cache_keeps_an_odd_answer(server, tmp_path):
    with ResponseCache(tmp_path / "cache.db") as cache:
        for _ in range(2):
            provider = OpenAIBatch(client_of(server, odd(1_000), key="cache"), model="m")
            async with Batcher(provider, cache=cache, poll_interval=0.01) as batcher:
                own = (await batcher.amap([item(2)]))[0]["odd"]
            assert (own["wei"], own["half"], depth_of(own["deep"])) == (WEI, "a\ud83d", 1_000)
        assert cache.stats.hits == 1
    assert server.stats.paid == 1


@pytest.mark.parametrize("mode", ["batch", "realtime"])
async def test_both_lanes_read_leniently_and_alike(server, mode):
    added = b'{"nan": NaN, "byte": "\xff", "control": "\x01", "escape": "\\q", "wei": %d}' % WEI
    provider = OpenAIBatch(client_of(server, added, key=mode), model="m")
    async with Batcher(provider, mode=mode, poll_interval=0.01) as batcher:
        own = (await batcher.amap([item(1), item(2)]))[1]["odd"]
    assert own == {"nan": None, "byte": "�", "control": "\x01", "escape": "\\q", "wei": WEI}


async def test_the_wrapped_client_gives_what_the_client_gives(server):
    own = client_of(server, odd(20), key="wrapped")
    provider = OpenAIBatch(lambda: client_of(server, odd(20), key="wrapped"), model="m")
    wanted = await own.chat.completions.create(model="m", messages=item(2))
    given = await wrap_openai(own, provider=provider, poll_interval=0.01).chat.completions.create(
        model="m", messages=item(2)
    )
    assert given.model_extra["odd"] == wanted.model_extra["odd"]
    assert given.model_extra["odd"]["wei"] == WEI


async def test_a_langchain_message_keeps_what_its_answer_holds(server):
    provider = OpenAIBatch(client_of(server, odd(300), key="message"), model="m")
    async with Batcher(provider, poll_interval=0.01) as batcher:
        messages = await batcher.amap([[HumanMessage(f"question {number}.")] for number in range(3)])
    assert [f"question {number}." in messages[number].text for number in range(3)]
    own = messages[2].response_metadata["system_fingerprint"]
    assert (own["wei"], own["half"], depth_of(own["deep"])) == (WEI, "a\ud83d", 300)


async def test_a_broken_line_is_its_requests_error_and_is_not_sent_again(server):
    server.configure(garbled_line=0.5, seed=4)
    try:
        provider = OpenAIBatch(client_of(server, key="garbled"), model="m")
        async with Batcher(provider, poll_interval=0.01) as batcher:
            ended = await batcher.amap(map(item, range(20)), return_exceptions=True)
    finally:
        server.configure(garbled_line=0.0, seed=0)
    broken = [each for each in ended if isinstance(each, RequestFailed)]
    assert 0 < len(broken) < len(ended)
    assert {(each.code, each.retryable) for each in broken} == {("unreadable_answer", True)}
    assert (server.stats.batches, server.stats.paid) == (1, 20)


async def test_lines_that_never_ran_are_sent_again_and_paid_once(server):
    server.configure(unrun_line=0.5, seed=3)
    try:
        provider = OpenAIBatch(client_of(server, key="unrun"), model="m")
        async with Batcher(Bridge(provider, poll_interval=0.01, attempts=20)) as batcher:
            answers = await batcher.amap(map(item, range(10)))
    finally:
        server.configure(unrun_line=0.0, seed=0)
    assert all("choices" in each for each in answers)
    assert server.stats.batches > 1
    assert (server.stats.paid, server.stats.paid_twice) == (10, 0)
