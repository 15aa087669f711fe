"""A job under a budget, of which many processes are forked and killed.

An order is a line of JSON: {"folder", "base_url", "usd", "kill_after"}; the reply is one too: {"status", "results"}. A
child that has not ended after `kill_after` seconds is killed.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Bridge, Budget, FlushPolicy, Price, Prices, Runner, wait
from batch_bridge.errors import BudgetExceeded
from batch_bridge.providers.openai import OpenAIBatch

THREADS = 50
PRICE = Price(input=100, output=10_000, batch=1)
"""Dollars a million tokens: an answer costs about a dime."""
MOST = 40


class State(TypedDict, total=False):
    name: str
    text: str


async def ask(state: State) -> State:
    item = {"messages": [{"role": "user", "content": state["name"]}], "max_tokens": MOST}
    first = await wait(item)
    said = first["choices"][0]["message"]["content"]
    last = await wait({"messages": [{"role": "user", "content": said[:20]}], "max_tokens": MOST})
    return {"text": last["choices"][0]["message"]["content"]}


async def work(order: dict) -> list[str]:
    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
    client = AsyncOpenAI(base_url=order["base_url"], api_key="test")
    provider = OpenAIBatch(client, model="gpt-4o-mini")
    flush = FlushPolicy(max_requests=4, max_age=0.05)
    bridge = Bridge(provider, prices=Prices({"gpt-4o-mini": PRICE}), poll_interval=0.1, flush=flush)
    budget = Budget(usd=order["usd"], output_tokens=MOST)
    async with Runner(graph, bridge, path=Path(order["folder"]) / "run.db", budget=budget, progress=False) as runner:
        inputs = [{"name": f"item {n}"} for n in range(THREADS)]
        results = await runner.abatch(inputs, run_id="job", return_exceptions=True)
        report = await runner.report()
        (Path(order["folder"]) / "cost").write_text(str(report.cost.paid))
    await client.close()
    return [
        "over" if isinstance(each, BudgetExceeded) else repr(each) if isinstance(each, Exception) else "done"
        for each in results
    ]


def live(order: dict, write: int) -> None:
    os.write(write, json.dumps(asyncio.run(work(order))).encode())
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            live(order, write)
        os.close(write)
        alarm = threading.Timer(order["kill_after"], os.kill, (child, signal.SIGKILL))
        if order["kill_after"]:
            alarm.start()
        with os.fdopen(read, "rb") as pipe:
            results = pipe.read()
        _, status = os.waitpid(child, 0)
        alarm.cancel()
        print(json.dumps({"status": status, "results": json.loads(results or b"[]")}), flush=True)


if __name__ == "__main__":
    main()
