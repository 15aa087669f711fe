"""Agents with a tool loop of three model calls each, in one run that continues when it is started again.

`agents_job.py FOLDER BASE_URL COUNT`; prints one line of JSON for the finished run: what each agent said last.
"""

import asyncio
import json
import sys
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from batch_bridge import Bridge, Runner
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch


@tool
def look_up(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


async def main(folder: Path, base_url: str, count: int) -> None:
    model = batched(ChatOpenAI(model="gpt-4o-mini", base_url=base_url, api_key="test"))
    provider = OpenAIBatch(AsyncOpenAI(base_url=base_url, api_key="test"))
    inputs = [{"messages": [HumanMessage(f"question {index}", id=f"q{index}")]} for index in range(count)]
    bridge = Bridge(provider, poll_interval=0.2)
    agent = create_agent(model, tools=[look_up])
    async with Runner(agent, bridge, path=folder / "run.db", progress=False) as runner:
        results = await runner.abatch(inputs, run_id="agents")
    print(json.dumps([[message.type for message in each["messages"]] for each in results]))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
