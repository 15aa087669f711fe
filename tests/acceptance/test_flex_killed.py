"""A job in the flex tier whose process is killed: each request ends once, and is called once at most."""

import json
import random
import signal
import time

import warm

from batch_bridge.testing import BatchServer

JOB = """
import asyncio, json, sys
from openai import AsyncOpenAI
from batch_bridge import Batcher
from batch_bridge.providers.openai import OpenAIBatch

async def main():
    client = AsyncOpenAI(base_url=sys.argv[1], api_key="flex")
    provider = OpenAIBatch(client, model="gpt-5-mini").flex(concurrency=8)
    async with Batcher(provider, path=sys.argv[2]) as batcher:
        items = [[{"role": "user", "content": f"question {n}"}] for n in range(60)]
        results = await batcher.amap(items, return_exceptions=True)
    print(json.dumps([getattr(each, "code", "answered") for each in results]))

asyncio.run(main())
"""


def test_flex_is_killed_and_goes_on(tmp_path):
    chance = random.Random(3)
    job = tmp_path / "job.py"
    job.write_text(JOB)
    with BatchServer(flex_seconds=0.1, flex_refusal=0.2) as server:
        command = [str(job), server.base_url, str(tmp_path / "run.db")]
        for kill in range(3):
            answered = server.stats.flex
            process = warm.start(command)
            while process.poll() is None and server.stats.flex < answered + chance.randint(3, 12):
                time.sleep(0.01)
            assert process.poll() is None, kill
            process.send_signal(signal.SIGKILL)
            process.wait()
        ended = json.loads(warm.run(command).stdout)
        assert len(ended) == 60
        assert set(ended) == {"answered", "realtime_interrupted"}
        assert ended.count("realtime_interrupted") <= 3 * 16
        assert ended.count("answered") <= server.stats.flex <= 60
