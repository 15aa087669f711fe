"""Structured extraction in a LangGraph graph: the node keeps its realtime code, with Pydantic objects back.

Each invoice is a thread. All threads park at their call of the client, one batch answers them, and a second one answers
the question that needs the first answer. Stop it and run it again: it continues where it was.
"""

import argparse
import asyncio
from typing import TypedDict

from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI
from pydantic import BaseModel

from batch_bridge import Bridge, Runner, wrap_openai
from batch_bridge.providers.openai import OpenAIBatch

INVOICES = [f"Invoice {number}: {number} boxes of tea at 4.50 each, for Smith & Sons." for number in range(1, 9)]
MODEL = "gpt-4o-mini"


class Invoice(BaseModel):
    """What is asked for."""

    customer: str
    item: str
    quantity: int


class State(TypedDict, total=False):
    text: str
    invoice: Invoice
    reply: str


client = wrap_openai(AsyncOpenAI(), batcher="openai")


async def extract(state: State) -> State:
    answer = await client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": state["text"]}], response_format=Invoice
    )
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    return {"invoice": parsed}


async def reply(state: State) -> State:
    answer = await client.responses.create(
        model=MODEL, instructions="Write one line that confirms this order.", input=state["invoice"].model_dump_json()
    )
    return {"reply": answer.output_text}


graph = StateGraph(State).add_node(extract).add_node(reply).add_edge(START, "extract").add_edge("extract", "reply")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", default="structured_extraction.db")
    parser.add_argument("--poll-interval", type=float, default=30, help="seconds")
    asked = parser.parse_args()
    bridge = Bridge(OpenAIBatch(), name="openai", poll_interval=asked.poll_interval)
    async with Runner(graph, bridge, path=asked.path) as runner:
        for result in await runner.abatch([{"text": text} for text in INVOICES], run_id="invoices-1"):
            print(f"{result['invoice'].quantity} x {result['invoice'].item}: {result['reply']}")


if __name__ == "__main__":
    asyncio.run(main())
