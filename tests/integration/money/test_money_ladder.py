"""A budget that holds a few requests at a time, and lanes: those in the last lane wait for money, as anywhere."""

import asyncio
from itertools import product
from string import ascii_lowercase

from openai import AsyncOpenAI

from batch_bridge import Batcher, Budget
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

COUNT = 10


def questions():
    words = ("".join(letters) for letters in product(ascii_lowercase, repeat=2))
    return [[{"role": "user", "content": f"a question about {next(words)}"}] for _ in range(COUNT)]


async def test_in_the_last_lane_requests_wait_until_money_has_come_back():
    with BatchServer() as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="k")
        provider = OpenAIBatch(client, model="gpt-5-mini")
        budget = Budget(usd=0.007, output_tokens=1000)  # three of them at a time
        lanes = ["batch", "flex", "realtime"]
        async with Batcher(provider, poll_interval=0.05, budget=budget, ladder=lanes) as batcher:
            asked = [batcher.asubmit(each, deadline="2m") for each in questions()]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        await client.close()
    assert not [each for each in answers if isinstance(each, Exception)]
