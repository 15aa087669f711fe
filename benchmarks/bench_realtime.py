"""`Batcher` in realtime mode against `asyncio.gather` with a semaphore, on the same OpenAI client: wall, side by side.

The client's transport is in memory and answers after `--latency` seconds, so nothing but the two ways is measured. Both
make 64 calls at a time; neither can be quicker than calls / 64 * latency.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import Any

CONCURRENCY = 64
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def _client(latency: float) -> Any:
    try:
        import httpx2 as http
    except ImportError:  # openai before 3
        import httpx as http  # type: ignore[no-redef]
    from openai import AsyncOpenAI

    async def answer(_: Any) -> Any:
        await asyncio.sleep(latency)
        return http.Response(200, json=ANSWER)

    return AsyncOpenAI(api_key="x", http_client=http.AsyncClient(transport=http.MockTransport(answer)))


async def gathered(items: list[Any], latency: float) -> float:
    """Write it by hand."""
    client, gate = _client(latency), asyncio.Semaphore(CONCURRENCY)

    async def ask(messages: Any) -> Any:
        async with gate:
            return await client.chat.completions.create(model="gpt-4o-mini", messages=messages)

    started = time.perf_counter()
    await asyncio.gather(*map(ask, items))
    return time.perf_counter() - started


async def bridged(items: list[Any], latency: float) -> float:
    """Say `mode="realtime"`."""
    from batch_bridge import Batcher
    from batch_bridge.providers.openai import OpenAIBatch

    async with Batcher(OpenAIBatch(_client(latency), model="gpt-4o-mini"), mode="realtime") as batcher:
        started = time.perf_counter()
        await batcher.amap(items)
        return time.perf_counter() - started


async def _run(side: str, count: int, latency: float) -> float:
    items = [[{"role": "user", "content": f"question {index}"}] for index in range(count)]
    work = gathered if side == "gathered" else bridged
    await work(items[:CONCURRENCY], 0.0)  # imports, and what the SDK builds once
    return await work(items, latency)


def _measure(side: str, count: int, latency: float) -> float:
    command = [sys.executable, __file__, "--side", side, "--calls", str(count), "--latency", str(latency)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout))


def compare(count: int, latency: float, rounds: int) -> dict[str, float]:
    """Return medians: wall of the bridge / by hand, and seconds of each."""
    took: dict[str, list[float]] = {"gathered": [], "bridged": []}
    for each in range(rounds):
        for side in took if each % 2 == 0 else reversed(took):
            took[side].append(_measure(side, count, latency))
    ratios = [ours / plain for plain, ours in zip(took["gathered"], took["bridged"], strict=True)]
    return {"wall": statistics.median(ratios), **{side: statistics.median(runs) for side, runs in took.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=("gathered", "bridged"))
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(asyncio.run(_run(asked.side, asked.calls, asked.latency))))
    else:
        print(json.dumps(compare(asked.calls, asked.latency, asked.rounds)))


if __name__ == "__main__":
    main()
