"""What a type checker knows of a Runner: results have the type of the graph's output."""

import asyncio
from typing import Any, TypedDict, assert_type

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel

from batch_bridge import Bridge, FlushPolicy, Pending, Runner, wait


class State(TypedDict):
    topic: str
    joke: str


class Context(TypedDict):
    tone: str


class Model(BaseModel):
    topic: str = ""


async def joke(state: State, runtime: Runtime[Context]) -> dict[str, str]:
    return {"joke": str(await wait(f"{runtime.context['tone']}: {state['topic']}"))}


def submit(items: list[str]) -> str:
    return ",".join(items)


def poll(handle: str) -> list[str]:
    return handle.split(",")


def bridge() -> Bridge:
    return Bridge(submit=submit, poll=poll, poll_interval="10ms", flush=FlushPolicy(max_idle="10ms"))


graph = StateGraph(State, context_schema=Context).add_node("joke", joke).add_edge(START, "joke")
INPUTS: list[State] = [{"topic": "cats", "joke": ""}]


async def main() -> None:
    context: Context = {"tone": "dry"}
    async with Runner(graph, bridge(), path=":memory:", progress=False) as runner:
        assert_type(runner, Runner[State, Context])
        results = await runner.abatch(INPUTS, context=context)
        assert_type(results, list[State])
        print(results[0]["joke"].upper())
        assert_type(await runner.ainvoke(INPUTS[0], context=context), State)
        some = await runner.abatch(INPUTS, context=context, return_exceptions=True)
        assert_type(some, list[State | Exception])
        async for index, result in runner.abatch_as_completed(INPUTS, context=context):
            assert_type(index, int)
            assert_type(result, State)
        chunks = await runner.ainvoke(INPUTS[0], context=context, stream_mode="updates")
        assert_type(chunks, Any)
        handle = await runner.submit(INPUTS[0])
        assert_type(await runner.result(handle, on_pending="return"), State | Pending)


def blocking() -> None:
    runner = Runner(graph.compile(), bridge())
    assert_type(runner.batch(INPUTS, run_id="r"), list[State])
    assert_type(runner.invoke(INPUTS[0]), State)
    of_model = StateGraph(Model)
    assert_type(Runner(of_model, bridge()).batch([{}]), list[dict[str, Any]])


async def served(runner: Runner) -> Any:
    """A Runner of which nothing is known."""
    return await runner.ainvoke({"topic": "cats"})


def mistakes() -> None:
    runner = Runner(graph, bridge())
    runner.batch(INPUTS, context="dry")  # MISTAKE
    runner.batch(INPUTS)[0]["punchline"]  # MISTAKE
    Runner(graph, bridge(), pathh="run.db")  # MISTAKE


if __name__ == "__main__":
    asyncio.run(main())
