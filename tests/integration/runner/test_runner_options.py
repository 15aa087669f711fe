"""What a Runner's methods are given: LangGraph's own options are handed on, and a slip of the pen is named."""

import inspect

import pytest
from helpers import Desk, config_of, memory, one_node
from langgraph.pregel import Pregel

from batch_bridge import wait
from batch_bridge.runner._options import HANDED_ON


async def ask(state):
    return {"out": [await wait(state["x"])]}


SLIPS = [
    ("runid", r"did you mean run_id=\?"),
    ("return_exception", r"did you mean return_exceptions=\?"),
    ("max_concurency", r"did you mean max_concurrency=\?"),
    ("durabilty", r"did you mean durability=\?"),
    ("thread_id", r'.*config=\{"configurable": \{"thread_id": …\}\}'),
    ("colour", "it accepts inputs, config, run_id.*and LangGraph's stream_mode"),
]


@pytest.mark.parametrize(("name", "says"), SLIPS)
async def test_abatch_names_what_it_does_not_know(name, says):
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        with pytest.raises(TypeError, match=rf"abatch\(\) got an unexpected keyword argument '{name}'; {says}"):
            await runner.abatch([{"x": "a"}], **{name: 1})
        with pytest.raises(TypeError, match=says):
            [each async for each in runner.abatch_as_completed([{"x": "a"}], **{name: 1})]
    assert not desk.batches


@pytest.mark.parametrize("name", ["thread_id", "run_id", "max_concurrency", "configg"])
async def test_ainvoke_names_what_it_does_not_know(name):
    desk = Desk()
    says = {"run_id": "abatch\\(inputs, run_id=…\\)", "thread_id": "thread_id", "configg": "config="}.get(
        name, "it goes into the config"
    )
    async with memory(one_node(ask), desk.bridge()) as runner:
        with pytest.raises(TypeError, match=says):
            await runner.ainvoke({"x": "a"}, **{name: 1})
    assert not desk.batches


def test_the_sync_twins_name_it_too():
    desk = Desk()
    for call in ("batch", "batch_as_completed"):
        with memory(one_node(ask), desk.bridge()) as runner, pytest.raises(TypeError, match="did you mean run_id="):
            list(getattr(runner, call)([{"x": "a"}], runid="r"))
    with memory(one_node(ask), desk.bridge()) as runner, pytest.raises(TypeError, match=r"invoke\(\) got"):
        runner.invoke({"x": "a"}, thread_id="t")
    assert not desk.batches


async def test_langgraphs_own_options_are_handed_on():
    desk = Desk()
    async with memory(one_node(ask), desk.bridge()) as runner:
        result = await runner.ainvoke({"x": "a"}, config_of("t"), durability="exit", output_keys=["out"])
        assert result == {"out": ["a!"]}
        assert [await runner.abatch([{"x": "b"}], version="v1", debug=False)] == [[{"x": "b", "out": ["b!"]}]]


def test_each_option_that_is_handed_on_is_one_of_langgraphs():
    known = {*inspect.signature(Pregel.ainvoke).parameters, *inspect.signature(Pregel.astream).parameters}
    assert set(HANDED_ON) <= known
