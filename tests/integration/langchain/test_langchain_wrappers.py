"""LangChain's retries and fallbacks around a batched model, and a user's own `except Exception`."""

import pytest
from helpers import Desk, memory, one_node, within
from langchain_answers import answer
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langchain_parts import look_up
from pydantic import BaseModel

from batch_bridge import RequestFailed
from batch_bridge.errors import SwallowedInterruptError
from batch_bridge.langchain import batched


class Report(BaseModel):
    """A report."""

    title: str


class Flaky(Desk):
    """A desk that fails the first request for a model named "flaky", and each for one named "broken"."""

    def __init__(self):
        super().__init__(self._judge)
        self._failed = 0

    def _judge(self, item):
        name = item["body"]["model"]
        if name == "broken" or (name == "flaky" and not self._failed):
            self._failed += 1
            return RuntimeError("the line failed")
        return answer(item["url"], item["body"]).body

    @property
    def models(self):
        return [item["body"]["model"] for item in self.requests]


class Never(ChatOpenAI):
    """A realtime model that must not be asked."""

    async def _agenerate(self, *args, **kwargs):
        pytest.fail("it was asked")

    _generate = _agenerate


def model(name, kind=ChatOpenAI):
    return kind(model=name, api_key="test", base_url="http://127.0.0.1:1/v1")


async def in_node(node):
    desk = Flaky()
    async with memory(one_node(node), desk.bridge()) as runner:
        (result,) = await within(runner.abatch([{}]))
    return result["x"], desk


WRAPPED = {
    "model": lambda made: made,
    "tools": lambda made: made.bind_tools([look_up], tool_choice="none"),
    "bound": lambda made: made.bind(temperature=0).with_config(tags=["x"]),
    "schema": lambda made: made.with_structured_output(Report),
    "raw": lambda made: made.with_structured_output(Report, include_raw=True),
    "tools of a schema": lambda made: made.with_structured_output(Report, method="function_calling"),
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("sync", [True, False])
async def test_a_retry_lets_a_parked_thread_pass_and_asks_again_after_a_failure(wrap, sync):
    asker = WRAPPED[wrap](batched(model("flaky"))).with_retry(retry_if_exception_type=(RequestFailed,))

    async def anode(state):
        return {"x": await asker.ainvoke("hi")}

    def node(state):
        return {"x": asker.invoke("hi")}

    answered, desk = await in_node(node if sync else anode)
    assert answered
    assert desk.sizes == [1, 1]


async def test_a_retry_does_not_take_a_parked_thread_for_a_failure():
    starts = []

    class Diary(BaseCallbackHandler):
        def on_chat_model_start(self, *args, **kwargs):
            starts.append("start")

    asker = batched(model("good")).with_retry()

    async def node(state):
        return {"x": (await asker.ainvoke("hi", {"callbacks": [Diary()]})).text}

    await in_node(node)
    assert len(starts) == 2  # once to park, once to be answered


async def test_a_retry_gives_up():
    asker = batched(model("broken")).with_retry(stop_after_attempt=3)

    async def node(state):
        return {"x": await asker.ainvoke("hi")}

    with pytest.raises(RequestFailed, match="the line failed"):
        await in_node(node)


async def test_a_retry_of_many():
    asker = batched(model("flaky")).with_retry()

    async def node(state):
        return {"x": [each.text for each in await asker.abatch([f"question {index}" for index in range(5)])]}

    texts, desk = await in_node(node)
    assert [f"question {index}" in text for index, text in enumerate(texts)] == [True] * 5
    assert desk.sizes == [5, 1]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("sync", [True, False])
async def test_a_fallback_is_not_asked_because_a_thread_parks(wrap, sync):
    asker = WRAPPED[wrap](batched(model("good"))).with_fallbacks([WRAPPED[wrap](model("other", Never))])

    async def anode(state):
        return {"x": await asker.ainvoke("hi")}

    def node(state):
        return {"x": asker.invoke("hi")}

    answered, desk = await in_node(node if sync else anode)
    assert answered
    assert desk.models == ["good"]


async def test_a_fallback_is_asked_after_a_failure():
    asker = batched(model("broken")).with_fallbacks([batched(model("good"))])

    async def node(state):
        return {"x": [(await asker.ainvoke("hi")).text, *[each.text for each in await asker.abatch(["a", "b"])]]}

    texts, desk = await in_node(node)
    assert ["hi" in texts[0], "a" in texts[1], "b" in texts[2]] == [True] * 3
    assert desk.models == ["broken", "good", "broken", "broken", "good", "good"]


async def test_fallbacks_keep_what_langchain_gives_them():
    asker = batched(model("broken")).with_fallbacks([batched(model("good"))]).bind_tools([look_up])

    async def node(state):
        return {"x": (await asker.ainvoke("hi")).tool_calls}

    calls, desk = await in_node(node)
    assert calls[0]["name"] == "look_up"
    assert desk.models == ["broken", "good"]


async def test_streams_of_fallbacks():
    asker = batched(model("broken")).with_fallbacks([batched(model("good"))])

    async def anode(state):
        return {"x": [chunk.text async for chunk in asker.astream("hi")]}

    def node(state):
        return {"x": [chunk.text for chunk in asker.stream("hi")]}

    for each in (anode, node):
        texts, desk = await in_node(each)
        assert len(texts) == 1
        assert "hi" in texts[0]
        assert desk.models == ["broken", "good"]


async def test_a_chain_with_a_retry_parks():
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | batched(model("good"))
    asker = chain.with_retry(wait_exponential_jitter=False)

    async def node(state):
        return {"x": (await asker.ainvoke({"text": "hi"})).text}

    text, desk = await in_node(node)
    assert "hi" in text
    assert desk.models == ["good"]


async def test_a_chain_with_a_batched_fallback_parks():
    prompt = ChatPromptTemplate.from_messages([("user", "{text}")])
    asker = (prompt | batched(model("good"))).with_fallbacks([prompt | batched(model("other"))])

    async def node(state):
        return {"x": (await asker.ainvoke({"text": "hi"})).text}

    text, desk = await in_node(node)
    assert "hi" in text
    assert desk.models == ["good"]


async def test_a_chain_whose_fallback_swallows_the_interrupt_is_an_error():
    prompt = ChatPromptTemplate.from_messages([("user", "{text}")])
    asker = (prompt | batched(model("good"))).with_fallbacks([prompt | FakeListChatModel(responses=["in realtime"])])

    async def node(state):
        return {"x": (await asker.ainvoke({"text": "hi"})).text}

    with pytest.raises(SwallowedInterruptError, match="caught the interrupt"):
        await in_node(node)


async def test_a_user_s_own_except_exception_is_an_error():
    asker = batched(model("good"))

    async def node(state):
        try:
            return {"x": (await asker.ainvoke("hi")).text}
        except Exception:
            return {"x": "swallowed"}

    with pytest.raises(SwallowedInterruptError, match="caught the interrupt"):
        await in_node(node)
