"""Agents of three dependent calls each, in one run that continues when it is started again.

`windows_job.py BASE_URL FILE COUNT SUBMITTED`; prints one line of JSON for the finished run: `done` or an error's code
for each agent. Each batch is a line of the file SUBMITTED once its id is in the ledger.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import TypedDict

from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI

from batch_bridge import Bridge, Runner, wait
from batch_bridge.events import Event, Submitted
from batch_bridge.providers.openai import OpenAIBatch


class State(TypedDict, total=False):
    name: str
    out: list[str]


async def agent(state: State) -> State:
    out: list[str] = []
    for step in range(3):
        answer = await wait({"model": "gpt-5-mini", "input": f"{state['name']} step {step} {''.join(out)[:40]}"})
        out.append(answer["output"][0]["content"][0]["text"])
    return {"out": out}


async def main(base_url: str, path: Path, count: int, submitted: Path) -> None:
    graph = StateGraph(State).add_node(agent).add_edge(START, "agent")
    bridge = Bridge(OpenAIBatch(AsyncOpenAI(base_url=base_url, api_key="windows")), mode="window:2h", poll_interval=0.2)
    with submitted.open("a", buffering=1) as log:

        def note(event: Event) -> None:
            if isinstance(event, Submitted):
                log.write(f"{event.batch}\n")

        async with Runner(graph, bridge, path=path, progress=False, on_event=note) as runner:
            inputs = [{"name": f"agent {number}"} for number in range(count)]
            results = await runner.abatch(inputs, run_id="agents", return_exceptions=True)
    print(json.dumps([getattr(each, "code", "done") for each in results]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
