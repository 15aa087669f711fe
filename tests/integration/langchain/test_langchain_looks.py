"""A batched chat model as others see it: callbacks, who looks at the model, and in which mode it is."""

import asyncio
import subprocess
import sys

import openai
import pytest
from helpers import memory, one_node, within
from langchain_answers import answer
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tracers.context import collect_runs
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from langchain_parts import bridge, chat, desk, in_node, look_up, model

from batch_bridge import Batcher, RequestFailed
from batch_bridge.errors import ResultPending, UsageError
from batch_bridge.langchain import batched

# -- what callbacks see --------------------------------------------------------------------------------------------


class Diary(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_chat_model_start(self, *args, **kwargs):
        self.seen.append("start")

    def on_llm_end(self, response, **kwargs):
        self.seen.append((response.llm_output or {}).get("batch_bridge") or "end")

    def on_llm_error(self, error, **kwargs):
        self.seen.append(type(error).__name__)


@pytest.mark.parametrize("sync", [True, False])
async def test_callbacks_see_a_parked_call_as_parked(sync):
    asker, diary, usage = batched(model()), Diary(), UsageMetadataCallbackHandler()
    options = {"callbacks": [diary, usage]}

    def node(state):
        return {"x": asker.invoke("hi", options).text}

    async def anode(state):
        return {"x": (await asker.ainvoke("hi", options)).text}

    await in_node(node if sync else anode)
    assert diary.seen == ["start", "parked", "start", "end"]
    (counted,) = usage.usage_metadata.values()
    assert (
        counted["output_tokens"]
        == answer(
            "/v1/chat/completions",
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": False},
        ).body["usage"]["completion_tokens"]
    )


async def test_a_trace_of_a_parked_call_has_no_error():
    asker, runs = batched(model()), []

    async def node(state):
        with collect_runs() as collector:
            try:
                return {"x": (await asker.ainvoke("hi")).text}
            finally:
                runs.extend(collector.traced_runs)

    await in_node(node)
    parked, answered = runs
    assert parked.error is None
    assert parked.outputs["llm_output"] == {"batch_bridge": "parked"}
    assert answered.error is None
    assert answered.outputs["generations"][0][0]["text"]


async def test_callbacks_see_a_failure_as_an_error(server):
    diary = Diary()
    asker = batched(chat(server))
    with pytest.raises(openai.BadRequestError, match="it is bad"):
        await within(asker.ainvoke("fail 400", {"callbacks": [diary]}))
    assert diary.seen[0] == "start"
    assert diary.seen[1:] in (["OpenAIInvalidRequestError"], ["BadRequestError"])  # the newer and the older name


# -- the same to everybody who looks at it ---------------------------------------------------------------------------


def test_it_looks_like_the_model_that_was_given():
    given = model(temperature=0.5, streaming=True)
    before = dict(given.__dict__)
    made = batched(given)
    assert isinstance(made, ChatOpenAI)
    assert type(made).__name__ == "ChatOpenAI"
    assert (made._llm_type, made.model_name, made.profile) == (given._llm_type, given.model_name, given.profile)
    assert made._get_ls_params() == given._get_ls_params()
    assert made._identifying_params == given._identifying_params
    assert dumpd(made) == dumpd(given)
    assert dumpd(made.bind_tools([look_up])) == dumpd(given.bind_tools([look_up]))
    assert dumpd(made.with_retry())["id"] == dumpd(given.with_retry())["id"]
    assert made.root_async_client is given.root_async_client
    assert given.__dict__ == before


async def test_what_is_changed_later_counts():
    asker = batched(model())
    asker.temperature = 0.25
    copied = asker.model_copy(update={"model_name": "gpt-4o"})
    chosen = asker.configurable_fields(model_name=ConfigurableField(id="model"))

    async def node(state):
        await asker.ainvoke("one")
        await copied.ainvoke("two")
        await chosen.ainvoke("three", {"configurable": {"model": "gpt-4.1"}})
        return {"x": True}

    _, far_side = await in_node(node)
    bodies = [item["body"] for item in far_side.requests]
    assert [each["model"] for each in bodies] == ["gpt-4o-mini", "gpt-4o", "gpt-4.1"]
    assert bodies[0]["temperature"] == 0.25


async def test_azure_names_its_deployment():
    given = AzureChatOpenAI(
        azure_endpoint="https://example.invalid",
        api_key="test",
        api_version="2025-04-01-preview",
        azure_deployment="cheap",
        model="gpt-4o-mini",
    )
    asker = batched(given)

    async def node(state):
        return {"x": (await asker.ainvoke("hi")).text}

    (text,), far_side = await in_node(node)
    assert "hi" in text
    assert far_side.requests[0]["body"]["model"] == "cheap"
    assert far_side.requests[0]["url"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"extra_headers": {"X-Tenant": "a"}}, "header 'x-tenant'"),
        ({"extra_query": {"tenant": "a"}}, "query parameter 'tenant'"),
    ],
)
async def test_what_a_line_has_no_place_for_is_refused(options, named):
    asker, far_side = batched(model()), desk()

    async def node(state):
        return {"x": await asker.ainvoke("hi", **options)}

    with pytest.raises(UsageError, match=named):
        await in_node(node, far_side)
    assert far_side.batches == []


async def test_headers_of_the_client_do_no_harm():
    asker = batched(model(default_headers={"X-Tenant": "a"}, organization="org"))

    async def node(state):
        return {"x": (await asker.ainvoke("hi")).text}

    (text,), _ = await in_node(node)
    assert "hi" in text


async def test_a_bridge_to_another_api_refuses_the_call(server):
    asker = batched(model())  # at another address than the bridge's

    async def node(state):
        return {"x": (await asker.ainvoke("hi")).text}

    async with memory(one_node(node), bridge(server)) as runner:
        (error,) = await within(runner.abatch([{}], return_exceptions=True))
    assert isinstance(error, RequestFailed)
    assert "its client's base_url is 'http://127.0.0.1:1/v1'" in str(error)
    assert server.stats.requests == 0


# -- modes ---------------------------------------------------------------------------------------------------------


def test_realtime_is_the_model_as_it_was_given(monkeypatch):
    given = model()
    assert batched(given, mode="realtime") is given
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "realtime")
    assert batched(given) is given
    assert batched(given, mode="batch") is not given
    monkeypatch.setenv("BATCH_BRIDGE_MODE", "relatime")
    with pytest.raises(ValueError, match="BATCH_BRIDGE_MODE='relatime'"):
        batched(given)
    with pytest.raises(ValueError, match=r"batched\(mode='fast'\)"):
        batched(given, mode="fast")


async def test_any_other_model_is_pooled_and_says_so():
    running, most = 0, 0

    class Other(FakeListChatModel):
        async def _agenerate(self, *args, **kwargs):
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(5):
                await asyncio.sleep(0)
            running -= 1
            return await super()._agenerate(*args, **kwargs)

    with pytest.warns(UserWarning, match=r"batched\(Other object\): no batch API is known"):
        made = batched(Other(responses=["hi"]), max_concurrency=3)
    assert isinstance(made, Other)
    answers = await asyncio.gather(*(made.ainvoke("a") for _ in range(20)))
    assert [each.content for each in answers] == ["hi"] * 20
    assert most == 3
    assert [chunk.content async for chunk in made.astream("a")][:2] == ["h", "i"]
    assert [chunk.content for chunk in made.stream("a")][:2] == ["h", "i"]
    assert made.invoke("a").content == "hi"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda: "gpt-4o", "pass a chat model"),
        (lambda: model().bind_tools([look_up]), "wrap the model first"),
        (lambda: batched(model()), "already batched"),
    ],
)
def test_what_cannot_be_batched(wrong, hint):
    with pytest.raises(TypeError, match=hint):
        batched(wrong())


async def test_come_back_tomorrow(tmp_path):
    far_side = desk()
    for expected in (ResultPending, AIMessage):
        async with Batcher(
            submit_func=far_side.submit,
            poll_func=far_side.poll,
            poll_interval=0.02,
            path=tmp_path / "batches.db",
            on_pending="raise",
        ) as batcher:
            try:
                said = await within(batched(model(), batcher).ainvoke("hi"))
            except ResultPending as pending:
                said = pending
            assert isinstance(said, expected)
    assert far_side.sizes == [1]


def test_no_vendor_is_imported_before_a_model_of_it_is_given():
    program = (
        "import sys, batch_bridge.langchain\n"
        "vendors = ('langchain_openai', 'langchain_anthropic', 'langchain_google_genai', 'langchain', 'anthropic', 'google.genai')\n"
        "print([each for each in vendors if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
