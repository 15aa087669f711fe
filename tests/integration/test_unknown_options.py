"""An option that nothing takes is an error that says which one was meant; nothing is run, sent or opened first."""

import asyncio
import inspect

import pytest
from helpers import Desk, config_of, memory, one_node, within
from langchain_openai import ChatOpenAI
from langgraph.pregel import Pregel
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, load_bridges, wait, wrap_openai
from batch_bridge._options import InvokeOptions
from batch_bridge.errors import BatchBridgeError
from batch_bridge.langchain import batched
from batch_bridge.providers import create
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


async def node(state):
    return {"out": [await wait("q")]}


async def _drain(results):
    return [each async for each in results]


@pytest.mark.parametrize("method", ["abatch", "abatch_as_completed", "batch", "batch_as_completed"])
@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("runid", "run_id"),
        ("return_exception", "return_exceptions"),
        ("max_concurency", "max_concurrency"),
        ("contxt", "context"),
        ("durabilty", "durability"),
        ("streammode", "stream_mode"),
    ],
)
async def test_a_slip_of_the_pen_says_what_was_meant(tmp_path, method, wrong, meant):
    desk = Desk()
    path = tmp_path / "run.db"
    runner = Runner(one_node(node), desk.bridge(), path=path, progress=False)

    async def call():
        if not method.startswith("a"):
            return await asyncio.to_thread(lambda: list(getattr(runner, method)([{}], **{wrong: 1})))
        async with runner:
            called = getattr(runner, method)([{}], **{wrong: 1})
            return await (called if inspect.iscoroutine(called) else _drain(called))

    with pytest.raises(TypeError, match=rf"Runner\.{method}\({wrong}=…\).*did you mean '{meant}'"):
        await call()
    assert desk.batches == []
    assert method.startswith("a") or not path.exists()


@pytest.mark.parametrize("method", ["ainvoke", "invoke"])
@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("thread_id", r'config=\{"configurable": \{\'thread_id\': …\}\}'),
        ("checkpoint_id", r'config=\{"configurable": \{\'checkpoint_id\': …\}\}'),
        ("run_id", r'abatch\(\).*config=\{"configurable": \{"thread_id": …\}\}'),
        ("recursion_limit", r"config=\{'recursion_limit': …\}"),
        ("tags", r"config=\{'tags': …\}"),
        ("contex", "did you mean 'context'"),
    ],
)
async def test_an_option_of_one_thread_says_where_it_goes(method, wrong, where):
    runner = memory(one_node(node), Desk().bridge())

    async def call():
        if method == "invoke":
            return await asyncio.to_thread(lambda: runner.invoke({}, **{wrong: "t"}))
        async with runner:
            return await runner.ainvoke({}, **{wrong: "t"})

    with pytest.raises(TypeError, match=where):
        await call()


async def test_what_langgraphs_ainvoke_takes_reaches_it():
    async with memory(one_node(node), Desk().bridge()) as runner:
        options = {"durability": "sync", "output_keys": ["out"], "interrupt_before": [], "print_mode": ()}
        [result] = await within(runner.abatch([{"x": 1}], run_id="r", **options))
        assert result == {"out": ["q!"]}
        assert await within(runner.ainvoke({"x": 1}, output_keys="out")) == ["q!"]


def test_each_option_of_langgraphs_ainvoke_is_named():
    taken = [
        each.name
        for method in (Pregel.ainvoke, Pregel.astream)
        for each in inspect.signature(method).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    ]
    assert set(taken) - {"context"} <= set(InvokeOptions.__annotations__)


async def test_a_graph_of_ones_own_says_what_it_takes():
    graph = one_node(node).compile()
    kind = type(graph)

    class Own(kind):
        async def ainvoke(self, input, config=None, *, loud=False, **options):  # noqa: A002
            return await super().ainvoke(input, config, **options)

    graph.__class__ = Own
    async with memory(graph, Desk().bridge()) as runner:
        assert (await within(runner.ainvoke({}, loud=True)))["out"] == ["q!"]
        with pytest.raises(TypeError, match="did you mean 'loud'"):
            await runner.ainvoke({}, laud=True)


async def test_a_config_that_names_its_thread_at_the_top_names_it_as_in_langgraph():
    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        await within(runner.ainvoke({}, {"thread_id": "t"}))
        assert (await runner._session.graph.aget_state(config_of("t"))).values["out"] == ["q!"]
        await within(runner.abatch([{}], [{"thread_id": "u"}], run_id="r"))
        assert (await runner._session.graph.aget_state(config_of("u"))).values["out"] == ["q!"]
    assert desk.requests == ["q", "q"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bridge(submit=print, poll=print, nam="x"),
        lambda: Batcher(submit_func=print, poll_func=print, pth="x"),
        lambda: Runner(one_node(node), Desk().bridge(), pth="x"),
        lambda: wrap_openai(AsyncOpenAI(api_key="k"), bather="x"),
        lambda: batched(ChatOpenAI(model="m", api_key="k"), bather="x"),
        lambda: OpenAIBatch(modl="m"),
        lambda: create("openai", modl="m"),
        lambda: BatchServer(latncy=1),
    ],
)
def test_nothing_that_is_made_swallows_an_unknown_option(make):
    with pytest.raises((TypeError, BatchBridgeError), match=r"nam|pth|bather|modl|latncy"):
        make()


@pytest.mark.parametrize(
    "text",
    [
        "[bridges.b]\nnam = 'x'\n[bridges.b.provider]\nname = 'openai'",
        "[bridges.b.provider]\nname = 'openai'\nmodl = 'm'",
        "[bridge.b.provider]\nname = 'openai'",
        "[bridges.b.provider]\nname = 'openai'\n[bridges.b.flush]\nmax_request = 3",
    ],
)
def test_a_file_of_bridges_swallows_none_either(tmp_path, text):
    path = tmp_path / "bridges.toml"
    path.write_text(text)
    with pytest.raises(BatchBridgeError, match=r"\b(nam|modl|bridge|max_request)\b"):
        load_bridges(path)
