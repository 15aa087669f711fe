"""The table of faults of windows and flex: what goes wrong in a lane, and what the requests end with.

Each request ends with its own answer or its own error, and nothing is paid twice but where `pay_again` says so; the
report counts it as the server does.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
import sampling
from fault_bench import CALM, in_words, said
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.store.memory import InMemoryStore
from openai import AsyncOpenAI

from batch_bridge import Bridge, RequestError, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

REQUESTS = 30
ALL = f"{REQUESTS} answered"
IN_DOUBT = "RequestFailed (submission_unknown, retryable)"


def window(client: AsyncOpenAI) -> Any:
    provider = OpenAIBatch(client, model="gpt-5-mini").window("2h")
    provider._unseen = 0.0  # what is gone is gone at once
    return provider


def paying_again(client: AsyncOpenAI) -> Any:
    return OpenAIBatch(client, model="gpt-5-mini").window("2h", on_unknown="pay_again")


def flex(client: AsyncOpenAI) -> Any:
    return OpenAIBatch(client, model="gpt-5-mini").flex(concurrency=8)


@dataclass(frozen=True)
class Fault:
    """One fault of a lane.

    Attributes:
        name: What goes wrong.
        lane: Where.
        switches: Options of the server.
        ends: What the requests end with.
        again: How many are paid a second time.
        timeout: Of the client, in seconds.
        calls: Calls that are made at most, where a storm must not be answered by another.
    """

    name: str
    lane: Callable[[AsyncOpenAI], Any]
    switches: Mapping[str, Any]
    ends: str = ALL
    again: int = 0
    timeout: float = 30.0
    calls: int | None = field(default=None)


FAULTS = (
    Fault("create response lost", window, {"next_drop_create_response": 1}, f"{REQUESTS - 1} answered, 1 {IN_DOUBT}"),
    Fault("create response lost, paid again", paying_again, {"next_drop_create_response": 2}, again=2),
    Fault("create 500, no effect", window, {"next_create_error": 1}, f"{REQUESTS - 1} answered, 1 {IN_DOUBT}"),
    Fault("create 500, took effect", window, {"next_create_error_after": 1}, f"{REQUESTS - 1} answered, 1 {IN_DOUBT}"),
    Fault("create 500, took effect, paid again", paying_again, {"next_create_error_after": 1}, again=1),
    Fault("create 429, a storm", window, {"next_create_rate_limit": 20, "retry_after": 0.05}),
    Fault("poll 502, a storm", window, {"next_poll_error": 40}),
    Fault("poll 401 for a while", window, {"next_poll_error": 10, "poll_error_status": 401}),
    Fault(
        "responses fail for now",
        window,
        {"response_failure": True},
        f"{REQUESTS} RequestFailed (server_error, retryable)",
    ),
    Fault(
        "answers are gone", window, {"response_gone": True}, f"{REQUESTS} RequestFailed (response_not_found, retryable)"
    ),
    Fault("refused for want of room, a storm", flex, {"flex_refusal": 0.3}, calls=4 * REQUESTS),
    Fault("refused for want of room, all for a while", flex, {"next_flex_refusal": 5}, calls=2 * REQUESTS),
    Fault("calls answered with 500", flex, {"next_realtime_error": 3}),
    Fault(
        "calls answered with 400",
        flex,
        {"next_realtime_error": 2, "realtime_error_status": 400},
        f"{REQUESTS - 2} answered, 2 RequestFailed (invalid_request_error 400)",
    ),
    Fault("answers slower than the client's timeout", flex, {"flex_seconds": 0.2}, timeout=0.1),
)


class Store(InMemoryStore):
    """Fails at one write or read, before or after it took effect."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        super().__init__()
        self.calls, self._at, self._after = 0, at, after

    async def abatch(self, ops: Any) -> Any:
        self.calls += 1
        held, strikes = list(ops), self.calls == self._at
        if strikes and not self._after:
            raise ConnectionError("the network blinked")
        result = await super().abatch(held)
        if strikes:
            raise ConnectionError("the network blinked")
        return result


class State(TypedDict, total=False):
    prompt: str
    answer: Any


async def ask(state: State) -> State:
    return {"answer": await wait([{"role": "user", "content": state["prompt"]}])}


async def ends(server: BatchServer, fault: Fault, store: Store, count: int = REQUESTS) -> tuple[Counter[str], Any]:
    """Ask in a lane, and return what the requests have ended with, and the report."""
    graph = StateGraph(State).add_node("ask", ask).add_edge("__start__", "ask")
    prompts = [f"What is the square of {number}?" for number in range(count)]
    async with AsyncOpenAI(base_url=server.base_url, api_key=uuid.uuid4().hex, timeout=fault.timeout) as client:
        bridge = Bridge(fault.lane(client), poll_interval=0.05, poll_patience=0.1)
        kept = {"store": store, "checkpointer": InMemorySaver()}
        async with asyncio.timeout(60), Runner(graph, bridge, progress=False, **kept) as runner:
            inputs = [{"prompt": prompt} for prompt in prompts]
            results = await runner.abatch(inputs, run_id="faults", return_exceptions=True)
            report = await runner.report()
    kinds = Counter[str]()
    for prompt, result in zip(prompts, results, strict=True):
        if isinstance(result, RequestError):
            kinds[said(result)] += 1
        else:
            assert prompt in str(result["answer"]), "it got another one's answer"
            kinds["answered"] += 1
    return kinds, report


@pytest.fixture(scope="module")
def bench():
    with BatchServer() as server:
        yield server


@pytest.fixture
def server(bench):
    bench.configure(**CALM)
    bench.reset_stats()
    return bench


@pytest.mark.sampled(most=8)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.lane.__name__}-{fault.name.replace(' ', '-')}")
async def test_every_request_of_a_lane_ends_with_its_own_answer_or_its_own_error(server, fault):
    server.configure(**fault.switches)
    kinds, report = await ends(server, fault, Store())
    stats = server.stats
    assert in_words(kinds) == fault.ends
    assert stats.paid_twice + stats.bodies_repeated == fault.again
    if fault.again:
        assert report.resubmitted == fault.again
    if fault.calls is not None:
        assert stats.flex == REQUESTS
        assert stats.flex + stats.flex_refused <= fault.calls


@pytest.mark.parametrize("after", [False, True], ids=["write-lost", "answer-lost"])
@pytest.mark.parametrize("lane", [window, flex], ids=lambda lane: lane.__name__)
async def test_a_store_that_fails_at_any_call_costs_nothing(server, lane, after):
    fault, few = Fault("", lane, {}), 3
    store = Store()
    await ends(server, fault, store, few)
    places = range(1, store.calls - 2)
    for at in places if sampling.is_whole else random.Random(f"{sampling.seed} {after}").sample(places, 2):
        server.reset_stats()
        kinds, _ = await ends(server, fault, Store(at, after=after), few)
        stats = server.stats
        assert kinds == {"answered": few}, at
        assert (stats.responses, stats.realtime) == ((few, 0) if lane is window else (0, few)), at
