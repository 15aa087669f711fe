"""Agents with a batched model under a Runner, against the same agents parked at an interrupt by hand, side by side.

By hand is a chat model whose `_agenerate` interrupts and returns what it is resumed with: the least that an agent can
do that is to wait. The batched `ChatOpenAI` builds the SDK's request each time, and lets the SDK parse the answer. Both
sides answer at once. Each runs in a fresh process of its own; figures are medians of the pairs.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from typing import Any

CONCURRENCY = 64


def _inputs(count: int) -> Any:
    from langchain_core.messages import HumanMessage

    return ({"messages": [HumanMessage(f"question {index:08d}", id=f"q{index}")]} for index in range(count))


def _settled_memory() -> int:
    """Return the bytes of all live objects; 0 where they are not traced, since that takes time."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _answer(text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


async def by_hand(agents: int, _: str) -> dict[str, float]:
    """Park every agent at an interrupt, then resume every agent."""
    from langchain.agents import create_agent
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command, interrupt

    class Parking(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "parking"

        def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
            said = interrupt([{"role": "user", "content": each.content} for each in messages])
            return ChatResult(generations=[ChatGeneration(message=AIMessage(said))])

        async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            return self._generate(messages, *args, **kwargs)

    agent = create_agent(Parking(), checkpointer=InMemorySaver())
    gate = asyncio.Semaphore(CONCURRENCY)

    async def step(index: int, given: Any) -> Any:
        async with gate:
            return await agent.ainvoke(given, {"configurable": {"thread_id": f"run:{index}"}})

    async def chunks(values: Any) -> list[Any]:
        values = list(values)
        return [each for at in range(0, agents, 1000) for each in await asyncio.gather(*values[at : at + 1000])]

    await step(-1, next(_inputs(1)))
    before, started, cpu = _settled_memory(), time.perf_counter(), time.process_time()
    parked = await chunks(step(*each) for each in enumerate(_inputs(agents)))
    took = time.perf_counter()
    more, paused = _settled_memory() - before, time.perf_counter() - took
    ids = [each["__interrupt__"][0].id for each in parked]
    results = await chunks(step(i, Command(resume={each: f"answer {i}"})) for i, each in enumerate(ids))
    assert all(each["messages"][-1].text == f"answer {index}" for index, each in enumerate(results))
    return {
        "wall": time.perf_counter() - started - paused,
        "cpu": time.process_time() - cpu - paused,
        "parked": more / agents,
    }


async def batched_ones(agents: int, path: str) -> dict[str, float]:
    """Do the same with a batched model and a Runner."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    from batch_bridge import Bridge, FlushPolicy, Runner
    from batch_bridge.langchain import batched

    more, paused, before = 0, 0.0, 0

    async def submit(items: list[Any]) -> list[str]:
        nonlocal more, paused
        if len(items) > 1:
            started = time.perf_counter()
            more = _settled_memory() - before
            paused = time.perf_counter() - started
        return [item["body"]["messages"][-1]["content"].removeprefix("question ") for item in items]

    def poll(handle: list[str]) -> list[Any]:
        return [_answer(f"answer {int(each)}") for each in handle]

    model = batched(ChatOpenAI(model="gpt-4o-mini", base_url="http://127.0.0.1:1/v1", api_key="none"))
    bridge = Bridge(submit=submit, poll=poll, flush=FlushPolicy(max_requests=1_000_000))
    async with Runner(create_agent(model), bridge, path=path, progress=False) as runner:
        await runner.abatch(_inputs(1))
        before, started, cpu = _settled_memory(), time.perf_counter(), time.process_time()
        async for index, result in runner.abatch_as_completed(_inputs(agents), max_concurrency=CONCURRENCY):
            assert result["messages"][-1].text == f"answer {index}"
        return {
            "wall": time.perf_counter() - started - paused,
            "cpu": time.process_time() - cpu - paused,
            "parked": more / agents,
        }


def measure(side: str, agents: int, kind: str, *, trace: bool = False) -> dict[str, float]:
    """Run one side in a fresh process, for its time or, traced, for its memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = ":memory:" if kind == "memory" else os.path.join(folder, "run.db")
        command = [sys.executable, __file__, "--side", side, "--agents", str(agents), "--path", path]
        done = subprocess.run([*command, *["--trace"][: int(trace)]], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)


def compare(agents: int, rounds: int) -> dict[str, float]:
    """Return medians: wall and CPU of batched / by hand, and the bytes that a parked agent takes, state and all."""
    took: dict[str, list[dict[str, float]]] = {"by_hand": [], "batched": []}
    for each in range(rounds):
        for side in took if each % 2 == 0 else reversed(took):
            took[side].append(measure(side, agents, "memory"))

    def median(name: str) -> float:
        pairs = zip(took["batched"], took["by_hand"], strict=True)
        return statistics.median(one[name] / other[name] for one, other in pairs)

    def parked(side: str, kind: str) -> float:
        return measure(side, agents // 2, kind, trace=True)["parked"]

    return {
        "wall": median("wall"),
        "cpu": median("cpu"),
        "ms_by_hand": statistics.median(each["cpu"] for each in took["by_hand"]) / agents * 1000,
        "ms_batched": statistics.median(each["cpu"] for each in took["batched"]) / agents * 1000,
        "bytes_by_hand": parked("by_hand", "memory"),
        "bytes": parked("batched", "memory"),
        "bytes_in_a_file": parked("batched", "file"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("by_hand", "batched"))
    parser.add_argument("--path", default=":memory:")
    parser.add_argument("--trace", action="store_true")
    asked = parser.parse_args()
    if asked.trace:
        tracemalloc.start()
    if asked.side:
        side = by_hand if asked.side == "by_hand" else batched_ones
        print(json.dumps(asyncio.run(side(asked.agents, asked.path))))
    else:
        print(json.dumps(compare(asked.agents, asked.rounds), indent=1))


if __name__ == "__main__":
    main()
