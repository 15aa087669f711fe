"""`wrap_openai` against the client that it wraps, calls gathered in a plain script: client CPU, side by side.

The unwrapped calls end in an in-memory transport: no network, no TLS, no server, only what the SDK itself needs to
build a request and to parse the answer. The wrapped ones go through a `Batcher`, an upload, a batch and a download from
a server in another process. Imports are not counted on either side; both get the same answer.
"""

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from cpu import cpu as cpu_time
from process_memory import peak, resident
from random_words import conversations

SIZE = 1000
MODEL = "gpt-4o-mini"


async def _gather(client: Any, asked: list[Any]) -> dict[str, float]:
    gc.collect()
    before, cpu, wall = resident(), cpu_time(), time.perf_counter()
    answers = await asyncio.gather(
        *(client.chat.completions.create(model=MODEL, messages=messages) for messages in asked)
    )
    took = {"cpu": cpu_time() - cpu, "wall": time.perf_counter() - wall}
    assert all(answer.choices[0].message.content for answer in answers)
    return {**took, "memory": peak() - before}


async def unwrapped(url: str, key: str, count: int, size: int) -> dict[str, float]:
    """Call the client as it is, into memory."""
    from openai import AsyncOpenAI
    from openai._base_client import AsyncHttpxClientWrapper  # its HTTP library is httpx2 or httpx

    http = sys.modules[AsyncHttpxClientWrapper.__mro__[2].__module__.split(".")[0]]
    asked = conversations(count, size)
    async with AsyncOpenAI(base_url=url, api_key=key) as real:
        raw = await real.chat.completions.with_raw_response.create(model=MODEL, messages=asked[0])
        content = raw.content

    class Memory(http.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            headers = {"content-type": "application/json"}
            return http.Response(200, content=content, headers=headers, request=request)

    async with AsyncOpenAI(base_url=url, api_key=key, http_client=http.AsyncClient(transport=Memory())) as client:
        await _gather(client, asked[:10])  # what is made once, is made
        return await _gather(client, asked)


async def wrapped(url: str, key: str, count: int, size: int) -> dict[str, float]:
    """Call the wrapped client."""
    from openai import AsyncOpenAI

    from batch_bridge import wrap_openai

    asked = conversations(count, size)
    async with wrap_openai(AsyncOpenAI(base_url=url, api_key=f"{key}-warm"), poll_interval=0.4) as client:
        await _gather(client, asked[:10])  # what is imported when it is needed, is imported
    async with wrap_openai(AsyncOpenAI(base_url=url, api_key=key, timeout=600), poll_interval=0.4) as client:
        return await _gather(client, asked)


def _measure(side: str, url: str, count: int, size: int, round_: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--url", url, "--key", f"{side}-{round_}"]
    done = subprocess.run(
        [*command, "--requests", str(count), "--bytes", str(size)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def compare(count: int, size: int, rounds: int) -> dict[str, float]:
    """Return medians: CPU of wrapped / unwrapped, µs a call on both sides, and MB above the imports."""
    from batch_bridge.testing import BatchServer

    with BatchServer(latency=0) as server:
        took: dict[str, list[dict[str, float]]] = {"unwrapped": [], "wrapped": []}
        for each in range(rounds):
            for side in took if each % 2 == 0 else reversed(took):
                took[side].append(_measure(side, server.base_url, count, size, each))
    ratios = [b["cpu"] / a["cpu"] for a, b in zip(took["unwrapped"], took["wrapped"], strict=True)]
    return {
        "cpu": statistics.median(ratios),
        **{f"us_{side}": statistics.median(run["cpu"] for run in runs) / count * 1e6 for side, runs in took.items()},
        **{f"mb_{side}": statistics.median(run["memory"] for run in runs) / 1e6 for side, runs in took.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=SIZE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=("unwrapped", "wrapped"))
    parser.add_argument("--url")
    parser.add_argument("--key")
    asked = parser.parse_args()
    if asked.side:
        side = unwrapped if asked.side == "unwrapped" else wrapped
        print(json.dumps(asyncio.run(side(asked.url, asked.key, asked.requests, asked.bytes))))
    else:
        print(json.dumps(compare(asked.requests, asked.bytes, asked.rounds)))


if __name__ == "__main__":
    main()
