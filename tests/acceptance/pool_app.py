"""A program of several processes: `pool_app.py worker|run|look DSN URL …`. Each thread waits twice, one after the other.

`run RUN COUNT` starts threads, or joins those that run, checks that each has its own answers, and prints how many.
A worker prints `ticks` when it begins to tick. `SKEW` in the environment moves its clock by so many seconds.
"""

import asyncio
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from langgraph.graph import StateGraph
from openai import AsyncOpenAI

from batch_bridge import Bridge, wait
from batch_bridge._core import clock
from batch_bridge.pool import Pool
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    q: str
    first: str
    second: str


async def _ask(text):
    answer = await wait([{"role": "user", "content": text}])
    return answer["choices"][0]["message"]["content"]


async def one(state: State):
    return {"first": await _ask(state["q"])}


async def two(state: State):
    return {"second": await _ask(f"again {state['first']}")}


def pool(dsn, url):
    graph = StateGraph(State).add_node("one", one).add_node("two", two).add_edge("__start__", "one")
    provider = OpenAIBatch(lambda: AsyncOpenAI(base_url=url, api_key="test"), model="m")
    return Pool(graph.add_edge("one", "two"), Bridge(provider, poll_interval=1), dsn=dsn)


async def worker(made):
    async def tell():
        was = False
        while True:
            if made.is_ticking != was:
                was = made.is_ticking
                print("ticks" if was else "rests", time.time(), flush=True)
            await asyncio.sleep(0.02)

    telling = asyncio.create_task(tell())
    print("works", flush=True)
    await made.run()
    telling.cancel()


async def run(made, run_id, count):
    questions = [f"{run_id} {each}" for each in range(count)]
    results = await made.abatch([{"q": each} for each in questions], run_id=run_id)
    right = sum(
        each["first"].endswith(f"You asked: {q}") and each["second"].endswith(f"You asked: again {each['first']}")
        for q, each in zip(questions, results, strict=True)
    )
    print(f"right {right} of {len(results)}", results[0] if right < len(results) else "", flush=True)


async def main(verb, dsn, url, *more):
    skew = timedelta(seconds=float(os.environ.get("SKEW", "0")))
    with clock.ticking(lambda: datetime.now(UTC) + skew):
        made = pool(dsn, url)
        if verb == "worker":
            await worker(made)
        else:
            await run(made, more[0], int(more[1]))


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    asyncio.run(main(*sys.argv[1:]))
