"""An option that nothing takes is an error that says which one was meant; nothing is run, sent or opened first."""

import asyncio
import inspect

import pytest
from helpers import Desk, config_of, memory, one_node, within
from langchain_openai import ChatOpenAI
from langgraph.pregel import Pregel
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, load_bridges, wait, wrap_openai
from batch_bridge.errors import BatchBridgeError
from batch_bridge.langchain import batched
from batch_bridge.providers import create
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.runner._options import HANDED_ON
from batch_bridge.testing import BatchServer


async def node(state):
    return {"out": [await wait("q")]}


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("checkpoint_id", r'config=\{"configurable": \{"checkpoint_id": …\}\}'),
        ("recursion_limit", r"config=\{'recursion_limit': …\}"),
        ("tags", r"config=\{'tags': …\}"),
        ("max_concurrency", r"config=\{'max_concurrency': …\}"),
    ],
)
async def test_what_belongs_into_the_config_is_said_to(wrong, where):
    async with memory(one_node(node), Desk().bridge()) as runner:
        with pytest.raises(TypeError, match=where):
            await runner.ainvoke({}, **{wrong: "t"})


async def test_a_sync_twin_opens_no_file_first(tmp_path):
    runner = Runner(one_node(node), Desk().bridge(), path=tmp_path / "run.db", progress=False)

    def call():
        runner.batch([{}], runid="r")

    with pytest.raises(TypeError, match="did you mean run_id="):
        await asyncio.to_thread(call)
    assert not (tmp_path / "run.db").exists()


def test_each_option_of_langgraphs_ainvoke_is_named():
    taken = [
        each.name
        for method in (Pregel.ainvoke, Pregel.astream)
        for each in inspect.signature(method).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    ]
    assert set(taken) - {"context"} <= set(HANDED_ON)


async def test_a_graph_of_ones_own_says_what_it_takes():
    graph = one_node(node).compile()
    kind = type(graph)

    class Own(kind):
        async def ainvoke(self, input, config=None, *, loud=False, **options):  # noqa: A002
            return await super().ainvoke(input, config, **options)

    graph.__class__ = Own
    async with memory(graph, Desk().bridge()) as runner:
        assert (await within(runner.ainvoke({}, loud=True)))["out"] == ["q!"]
        with pytest.raises(TypeError, match="did you mean loud="):
            await runner.ainvoke({}, laud=True)


async def test_a_config_that_names_its_thread_at_the_top_names_it_as_in_langgraph():
    desk = Desk()
    async with memory(one_node(node), desk.bridge()) as runner:
        await within(runner.ainvoke({}, {"thread_id": "t"}))
        assert (await runner._opened.session.graph.aget_state(config_of("t"))).values["out"] == ["q!"]
        await within(runner.abatch([{}], [{"thread_id": "u"}], run_id="r"))
        assert (await runner._opened.session.graph.aget_state(config_of("u"))).values["out"] == ["q!"]
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
