"""Fifty questions to an agent with tools, in batches: `create_agent` as it is, and one line for the model.

Each step of all fifty agents is one batch: at half the price, and at the pace of the provider's batch API. End it
whenever you like, and run it again: it continues where it was.

Without OPENAI_API_KEY the answers are stand-ins from a Batch API server on this machine.
"""

import asyncio
import contextlib
import os
import sys

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from batch_bridge import Bridge, Runner
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MODEL = "gpt-4o-mini"
CITIES = ("Oslo", "Lima", "Chad", "Bonn", "Rome", "Baku", "Cork", "Kyiv", "Hilo", "Riga")
QUESTIONS = ("Do I need a coat in {}?", "Can I swim in {}?", "Umbrella in {}?", "Is {} hot?", "Does it snow in {}?")


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: {len(city) * 5} °C, {'rain' if len(city) % 2 else 'sun'}"


async def main(state: str = "agent_tools.db") -> None:
    model = batched(ChatOpenAI(model=MODEL))  # the one line
    agent = create_agent(model, tools=[weather], system_prompt="Use the tool, then answer in one sentence.")
    inputs = [{"messages": [("user", question.format(city))]} for city in CITIES for question in QUESTIONS]
    async with Runner(agent, Bridge(OpenAIBatch()), path=state) as runner:
        async for index, result in runner.abatch_as_completed(inputs, run_id="weather-1"):
            print(f"{inputs[index]['messages'][0][1]} {result['messages'][-1].text}")


@contextlib.contextmanager
def somebody_to_ask():
    """Start a Batch API server where there is no API key."""
    if os.environ.get("OPENAI_API_KEY"):
        yield
        return
    with BatchServer(latency=1) as server:
        os.environ |= {"OPENAI_API_KEY": "stand-in", "OPENAI_BASE_URL": server.base_url}
        yield


if __name__ == "__main__":
    with somebody_to_ask():
        asyncio.run(main(*sys.argv[1:2]))
