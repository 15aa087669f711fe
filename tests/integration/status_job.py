"""A run over two waves that a test kills, and begins again: python status_job.py <base_url> <file> <threads> <mode>."""

import asyncio
import sys
from datetime import timedelta

from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI
from typing_extensions import TypedDict

from batch_bridge import Bridge, FlushPolicy, Runner, wait
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    x: int
    first: str
    second: str


def _ask(text):
    return [{"role": "user", "content": text}]


def _said(answer):
    return answer["choices"][0]["message"]["content"]


async def first(state):
    return {"first": _said(await wait(_ask(f"first {state['x']}")))}


async def second(state):
    return {"second": _said(await wait(_ask(f"second {state['x']}")))}


def graph():
    built = StateGraph(State).add_node(first).add_node(second)
    return built.add_edge(START, "first").add_edge("first", "second").add_edge("second", END)


def bridge(base_url):
    client = AsyncOpenAI(base_url=base_url, api_key="test")
    return Bridge(
        OpenAIBatch(client, model="gpt-4o-mini"),
        poll_interval=timedelta(seconds=0.1),
        flush=FlushPolicy(max_requests=100, max_age=timedelta(seconds=60)),
    )


async def main(base_url, path, threads):
    async with Runner(graph(), bridge(base_url), path=path) as runner:
        await runner.abatch([{"x": x} for x in range(int(threads))], run_id="eval", return_exceptions=True)
        print(await runner.report())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
