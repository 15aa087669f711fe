"""`Batcher` with `OpenAIBatch` against a script written by hand for one batch: client CPU, side by side.

The script knows everything beforehand: one model, one file, one batch, no retries, no ids but the line's number. It is
the floor: what orjson, httpx and the JSON itself cost, with all that is the same in each line written once. Both sides
send a batch of ten first, which imports what is imported when it is needed, and then open their clients anew. Two
figures are made of that: the total of a run, what is opened once included, and the marginal cost of one request more,
which is the slope between a tenth of the requests and all.
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

from cpu import cpu
from process_memory import peak, resident
from random_words import conversations

SIZE = 1000
WARMING = 10


async def by_hand(url: str, key: str, items: list[Any]) -> list[Any]:
    """Upload one file, create one batch, poll, download, sort."""
    import httpx
    import orjson

    head = b'","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-mini","messages":'
    dumps = orjson.dumps
    lines = b"".join([b'{"custom_id":"%d%b%b}}\n' % (index, head, dumps(item)) for index, item in enumerate(items)])
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600) as client:
        upload = await client.post("/files", files={"file": ("in.jsonl", lines)}, data={"purpose": "batch"})
        batch = (
            await client.post(
                "/batches",
                json={
                    "input_file_id": upload.json()["id"],
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                },
            )
        ).json()
        while batch["status"] != "completed":
            await asyncio.sleep(0.2)
            batch = (await client.get(f"/batches/{batch['id']}")).json()
        content = (await client.get(f"/files/{batch['output_file_id']}/content")).content
    answers: list[Any] = [None] * len(items)
    for line in content.splitlines():
        row = orjson.loads(line)
        answers[int(row["custom_id"])] = row["response"]["body"]
    return answers


async def batched(url: str, key: str, items: list[Any]) -> list[Any]:
    """Do the same in one line."""
    from openai import AsyncOpenAI

    from batch_bridge import Batcher
    from batch_bridge.providers.openai import OpenAIBatch

    async with (
        AsyncOpenAI(base_url=url, api_key=key, timeout=600) as client,
        Batcher(OpenAIBatch(client, model="gpt-4o-mini"), poll_interval=0.4) as batcher,
    ):
        return await batcher.amap(items)


async def run(side: str, url: str, key: str, count: int, size: int) -> dict[str, float]:
    """Run one side, warm."""
    work = by_hand if side == "by_hand" else batched
    items = conversations(count, size)
    await work(url, f"{key}-warm", conversations(WARMING, size))
    gc.collect()
    before, used, wall = resident(), cpu(), time.perf_counter()
    answers = await work(url, key, items)
    took = {"cpu": cpu() - used, "wall": time.perf_counter() - wall, "memory": peak() - before}
    assert len(answers) == count
    assert all(answer["choices"] for answer in answers)
    return took


def _measure(side: str, url: str, key: str, count: int, size: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--url", url, "--key", key]
    done = subprocess.run(
        [*command, "--requests", str(count), "--bytes", str(size)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def compare(count: int, size: int, rounds: int) -> dict[str, float]:
    """Return medians: CPU of Batcher / by hand, in all and marginal; µs a request on both sides; MB above imports."""
    from batch_bridge.testing import BatchServer

    few = count // 10
    with BatchServer(latency=0) as server:
        took: dict[str, list[dict[str, float]]] = {"by_hand": [], "batched": []}
        for each in range(rounds):
            for side in took if each % 2 == 0 else reversed(took):
                less, more = [
                    _measure(side, server.base_url, f"{side}-{each}-{number}", number, size) for number in (few, count)
                ]
                took[side].append({**more, "slope": (more["cpu"] - less["cpu"]) / (count - few)})
    middle = {
        (side, name): statistics.median(each[name] for each in runs)
        for side, runs in took.items()
        for name in ("cpu", "slope", "memory")
    }
    ratios = [b["cpu"] / a["cpu"] for a, b in zip(took["by_hand"], took["batched"], strict=True)]
    return {
        "cpu": statistics.median(ratios),
        "marginal": middle["batched", "slope"] / middle["by_hand", "slope"],
        "us_by_hand": middle["by_hand", "cpu"] / count * 1e6,
        "us_batched": middle["batched", "cpu"] / count * 1e6,
        "marginal_us_by_hand": middle["by_hand", "slope"] * 1e6,
        "marginal_us_batched": middle["batched", "slope"] * 1e6,
        "megabytes": middle["batched", "memory"] / 1e6,
        "megabytes_by_hand": middle["by_hand", "memory"] / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=SIZE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=("by_hand", "batched"))
    parser.add_argument("--url")
    parser.add_argument("--key")
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(asyncio.run(run(asked.side, asked.url, asked.key, asked.requests, asked.bytes))))
    else:
        print(json.dumps(compare(asked.requests, asked.bytes, asked.rounds)))


if __name__ == "__main__":
    main()
