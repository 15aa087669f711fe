"""One job, every provider: 200 requests of all kinds have the same outcomes wherever they are sent.

Equal are the answers' texts, their order, the errors' types, HTTP statuses and `retryable`, and how often each request
was sent. Not equal by nature: the `code` of an error, which is the vendor's own word; the shape of an answer, unless
LangChain messages were asked; and statuses that a vendor has no word for, which have a test of their own.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from anthropic import AsyncAnthropic
from google import genai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import StateGraph
from openai import AsyncAzureOpenAI, AsyncOpenAI
from same_job_answers import said

from batch_bridge import Batcher, Bridge, FlushPolicy, Limits, Runner, events, wait
from batch_bridge.errors import RequestError, RequestFailed
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.azure import AzureOpenAIBatch
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

ITEMS = 200
IN_A_BATCH = 64
LIMITS = Limits(requests=100_000, bytes=60_000)
MOST = 256
"""Tokens that the providers' defaults allow an answer; Anthropic takes no request without such a number."""


@pytest.fixture(scope="module")
def server():
    with BatchServer(answerer="same_job_answers:answer") as running:
        yield running


# -- the providers -------------------------------------------------------------------------------------------------


def like_openai(name: str, path: str = "/v1") -> Callable[..., Any]:
    def provider(root, key, model):
        client = AsyncOpenAI(base_url=root + path, api_key=key)
        return OpenAIBatch(client, model=model, defaults={"max_tokens": MOST}, limits=LIMITS, quirks=name)

    return provider


def azure(root, key, model):
    client = AsyncAzureOpenAI(azure_endpoint=root, api_key=key, api_version="2025-04-01-preview")
    return AzureOpenAIBatch(client, model=model, defaults={"max_tokens": MOST}, limits=LIMITS)


def anthropic(root, key, model):
    return AnthropicBatch(AsyncAnthropic(base_url=root, api_key=key), model=model, max_tokens=MOST, limits=LIMITS)


def gemini(root, key, model):
    client = genai.Client(api_key=key, http_options={"base_url": root})
    defaults = {"generationConfig": {"maxOutputTokens": MOST}}
    return GeminiBatch(client, model=model, defaults=defaults, limits=LIMITS)


PROVIDERS = {
    "openai": like_openai("openai"),
    "azure": azure,
    "anthropic": anthropic,
    "gemini": gemini,
    "groq": like_openai("groq"),
    "together": like_openai("together", "/together/v1"),
    "mistral": like_openai("mistral", "/mistral/v1"),
    "doubleword": like_openai("doubleword"),
    "vllm": like_openai("vllm", "/vllm/v1"),
}


def with_settings(name: str, messages: list[Any], temperature: float, most: int) -> dict[str, Any]:
    """A body with settings of its own: the one thing that a vendor's users write otherwise."""
    if name == "gemini":
        return {"messages": messages, "generationConfig": {"temperature": temperature, "maxOutputTokens": most}}
    return {"messages": messages, "temperature": temperature, "max_tokens": most}


# -- the job -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One item, and what it is to end with, as `end_of` puts it."""

    item: Any
    end: Any


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answered(text: str) -> tuple[Any, ...]:
    return ("answered", text, True)


def failed(status: int | None, *, retryable: bool, attempts: int = 1, code: str | None = None) -> tuple[Any, ...]:
    return (RequestFailed, status, retryable, ("errored",) * (attempts - 1), code)


def job(name: str) -> list[Asked]:
    """The items, of ten kinds in turn and in one order."""
    return [kind(name, number) for number, kind in zip(range(ITEMS), KINDS * ITEMS, strict=False)]


def plain(name, n):
    return Asked([user(f"{n}: plain")], answered(said(question=f"{n}: plain", attempts=1)))


def system(name, n):
    messages = [{"role": "system", "content": "Be brief."}, user(f"{n}: hello")]
    return Asked(messages, answered(said(question=f"{n}: hello", system="Be brief.", attempts=1)))


def settings(name, n):
    item = with_settings(name, [user(f"{n}: cool")], 0.25, 17)
    return Asked(item, answered(said(question=f"{n}: cool", temperature=0.25, most=17, attempts=1)))


def turns(name, n):
    messages = [user("One?"), {"role": "assistant", "content": "Two."}, user(f"{n}: three?")]
    return Asked(messages, answered(said(question=f"{n}: three?", turns=3, attempts=1)))


def unicode(name, n):
    text = f"{n}: Grüße, 你好, שלום 👩\u200d👩\u200d👧 \u2028 \\u0000 \t\r\n{{}}"
    return Asked([user(text)], answered(said(question=text, attempts=1)))


def langchain(name, n):
    messages = [SystemMessage("Be kind."), HumanMessage(f"{n}: message")]
    text = said(question=f"{n}: message", system="Be kind.", attempts=1)
    return Asked(messages, ("message", text, True))


def passing(name, n):
    how, attempts = (("500 once", 2), ("429 once", 2), ("500 twice", 3), ("429 twice", 3))[n // len(KINDS) % 4]
    return Asked([user(f"{n}: [{how}]")], answered(said(question=f"{n}: [{how}]", attempts=attempts)))


def lasting(name, n):
    status = (500, 429)[n // len(KINDS) % 2]
    return Asked([user(f"{n}: [{status} always]")], failed(status, retryable=True, attempts=3))


def refused(name, n):
    status = (400, 401, 403, 404)[n // len(KINDS) % 4]
    return Asked([user(f"{n}: [{status} always]")], failed(status, retryable=False))


def bad(name, n):
    if n // len(KINDS) % 2:
        return Asked(f"{n}: no request", failed(None, retryable=False, code="invalid_item"))
    return Asked([user(f"{n}: {'x' * 60_000}")], failed(None, retryable=False, code="item_too_large"))


KINDS = [plain, system, settings, turns, unicode, langchain, passing, lasting, refused, bad]


# -- how it ends ---------------------------------------------------------------------------------------------------


def end_of(result: Any) -> Any:
    """What an item has ended with, in common words."""
    match result:
        case RequestError():
            kinds = tuple(each["kind"] for each in result.attempts)
            own = result.code if result.code in ("invalid_item", "item_too_large") else None
            return (type(result), result.status_code, result.retryable, kinds, own)
        case AIMessage():
            usage = result.usage_metadata or {}
            return ("message", result.text, usage.get("input_tokens", 0) > 0 and usage.get("output_tokens", 0) > 0)
        case {"choices": [{"message": {"content": text}}], "usage": usage}:
            return ("answered", text, usage["prompt_tokens"] > 0)
        case {"content": [{"text": text}], "usage": usage}:
            return ("answered", text, usage["input_tokens"] > 0)
        case {"candidates": [{"content": {"parts": [{"text": text}]}}], "usageMetadata": usage}:
            return ("answered", text, usage["promptTokenCount"] > 0)
        case _:
            raise AssertionError(f"ended with {result!r}")


async def by_batcher(provider, items, note):
    options = {"poll_interval": 0.05, "flush": FlushPolicy(max_requests=IN_A_BATCH, max_age=0.2), "on_event": note}
    async with Batcher(provider, **options) as batcher:
        return await batcher.amap(items, return_exceptions=True)


class State(TypedDict, total=False):
    item: Any
    answer: Any


async def ask(state: State) -> State:
    return {"answer": await wait(state["item"])}


async def by_runner(provider, items, note):
    graph = StateGraph(State).add_node("ask", ask).add_edge("__start__", "ask")
    bridge = Bridge(provider, poll_interval=0.05, flush=FlushPolicy(max_requests=IN_A_BATCH))
    async with Runner(graph, bridge, path=":memory:", progress=False, on_event=note) as runner:
        results = await runner.abatch([{"item": item} for item in items], return_exceptions=True)
    return [each if isinstance(each, Exception) else each["answer"] for each in results]


@pytest.mark.sampled
@pytest.mark.parametrize("host", [by_batcher, by_runner])
@pytest.mark.parametrize("name", PROVIDERS)
async def test_the_same_job_has_the_same_outcomes_at_every_provider(server, name, host):
    asked = job(name)
    server.reset_stats()
    sent: Counter[str] = Counter()
    sizes = []

    def note(event):
        if isinstance(event, events.Submitted):
            sent.update(event.requests)
            sizes.append(len(event.requests))

    model = f"{name}-{host.__name__}"  # of its own, so that the one who answers counts its tries apart
    provider = PROVIDERS[name](server.root_url, model, model)
    results = await host(provider, [each.item for each in asked], note)
    assert [end_of(each) for each in results] == [each.end for each in asked]
    errors = [each for each in results if isinstance(each, RequestError)]
    assert all(str(each) and each.code for each in errors)
    assert all(len(each.attempts) == max(sent[each.request_id] - 1, 0) for each in errors)
    # 9 of 10 items are sent; of the 20 that fail for a while half are sent twice, and half three times, as are those
    # that fail for good; the stand-in has run each of them, and was paid for the answers
    assert Counter(sent.values()) == {1: 140, 2: 10, 3: 30}
    assert max(sizes) <= IN_A_BATCH
    stats = server.stats
    assert (stats.requests, stats.paid, stats.failed) == (250, 140, 110)
    assert (stats.paid_twice, stats.bodies_repeated, stats.realtime) == (0, 0, 0)


STATUSES = {"anthropic": {422: 400, 503: 500}, "gemini": {422: 400}}
"""What is read of a status where the results tell less: a type with Anthropic, a code of `google.rpc.Status` with Gemini."""


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_status_that_a_vendor_has_no_word_for_is_as_passing_as_it_was(server, name):
    items = [[user(f"[{status} always]")] for status in (422, 503)]
    results = await by_batcher(PROVIDERS[name](server.root_url, f"{name} statuses", f"{name}-statuses"), items, None)
    read = STATUSES.get(name, {})
    assert [(each.status_code, each.retryable, len(each.attempts)) for each in results] == [
        (read.get(422, 422), False, 0),
        (read.get(503, 503), True, 2),
    ]
