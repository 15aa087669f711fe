"""A job whose prompts begin alike is killed: while the first of them is answered, and while the others are."""

import json
import signal
import time

import warm

from batch_bridge.testing import BatchServer

JOB = """
import asyncio, json, sys
from anthropic import AsyncAnthropic
from batch_bridge import Batcher
from batch_bridge.providers.anthropic import AnthropicBatch

MARK = {"type": "ephemeral", "ttl": "1h"}

def ask(number):
    book = f"Book {number % 2}. " + "All happy families are alike. " * 100
    system = [{"type": "text", "text": book, "cache_control": MARK}]
    return {"system": system, "messages": [{"role": "user", "content": f"Question {number}?"}]}

async def main():
    client = AsyncAnthropic(base_url=sys.argv[1], api_key="primed")
    provider = AnthropicBatch(client, model="claude-haiku-4-5", lost_after=1, prime=True)
    async with Batcher(provider, path=sys.argv[2], max_batch_size=50, poll_interval=0.2) as batcher:
        answers = await batcher.amap([ask(number) for number in range(50)])
    usage = [answer["usage"] for answer in answers]
    print(json.dumps([sum(bool(each[name]) for each in usage) for name in sys.argv[3:]]))

asyncio.run(main())
"""


IMPORTS = ("batch_bridge.providers.anthropic", "anthropic.types.messages")


def test_no_request_is_sent_twice_and_each_prefix_is_written_once(tmp_path):
    job = tmp_path / "job.py"
    job.write_text(JOB)
    with BatchServer(latency=0.5) as server:
        names = ["cache_creation_input_tokens", "cache_read_input_tokens"]
        command = [str(job), server.root_url, str(tmp_path / "run.db"), *names]
        for created in (1, 2):
            process = warm.start(command, imports=IMPORTS)
            while process.poll() is None and server.stats.batches < created:
                time.sleep(0.01)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        written, read = json.loads(warm.run(command, imports=IMPORTS).stdout)
        assert (written, read) == (2, 48)
        assert (server.stats.batches, server.stats.paid, server.stats.paid_twice) == (2, 50, 0)
