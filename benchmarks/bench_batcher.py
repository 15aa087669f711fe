"""`Batcher` with `OpenAIBatch` against a script written by hand for one batch: client CPU, side by side.

The script knows everything beforehand: one model, one file, one batch, no retries, no ids but the line's number. It is
the floor: what orjson, httpx and the JSON itself cost. Imports are not counted on either side.
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

from process_memory import peak, resident

SIZE = 1000


def _items(count: int, size: int) -> list[list[dict[str, str]]]:
    filler = "lorem ipsum dolor " * (size // 18 + 1)
    return [[{"role": "user", "content": f"{index:08d} {filler}"[:size]}] for index in range(count)]


async def by_hand(url: str, key: str, count: int, size: int) -> dict[str, float]:
    """Upload one file, create one batch, poll, download, sort."""
    import httpx
    import orjson

    items = _items(count, size)
    gc.collect()
    before, cpu, wall = resident(), time.process_time(), time.perf_counter()
    lines = b"".join(
        orjson.dumps(
            {
                "custom_id": str(index),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "gpt-4o-mini", "messages": item},
            }
        )
        + b"\n"
        for index, item in enumerate(items)
    )
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
    answers: list[Any] = [None] * count
    for line in content.splitlines():
        row = orjson.loads(line)
        answers[int(row["custom_id"])] = row["response"]["body"]
    assert all(answers)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "memory": resident() - before}


async def batched(url: str, key: str, count: int, size: int) -> dict[str, float]:
    """Do the same in one line."""
    from openai import AsyncOpenAI

    from batch_bridge import Batcher
    from batch_bridge.providers.openai import OpenAIBatch

    items = _items(count, size)
    async with AsyncOpenAI(base_url=url, api_key=key, timeout=600) as client:
        provider = OpenAIBatch(client, model="gpt-4o-mini")
        gc.collect()
        before, cpu, wall = resident(), time.process_time(), time.perf_counter()
        async with Batcher(provider, poll_interval=0.4) as batcher:
            answers = await batcher.amap(items)
            took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        assert len(answers) == count
        assert all(answers)
        return {**took, "memory": peak() - before}


def _measure(side: str, url: str, key: str, count: int, size: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--url", url, "--key", key]
    done = subprocess.run(
        [*command, "--requests", str(count), "--bytes", str(size)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def compare(count: int, size: int, rounds: int) -> dict[str, float]:
    """Return medians: CPU of Batcher / by hand, µs a request on both sides, and MB above the imports."""
    from batch_bridge.testing import BatchServer

    with BatchServer(latency=0) as server:
        took: dict[str, list[dict[str, float]]] = {"by_hand": [], "batched": []}
        for each in range(rounds):
            for side in took if each % 2 == 0 else reversed(took):
                took[side].append(_measure(side, server.base_url, f"{side}-{each}", count, size))
    ratios = [b["cpu"] / a["cpu"] for a, b in zip(took["by_hand"], took["batched"], strict=True)]
    micros = {side: statistics.median(each["cpu"] for each in runs) / count * 1e6 for side, runs in took.items()}
    return {
        "cpu": statistics.median(ratios),
        "us_by_hand": micros["by_hand"],
        "us_batched": micros["batched"],
        "megabytes": statistics.median(each["memory"] for each in took["batched"]) / 1e6,
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
        side = by_hand if asked.side == "by_hand" else batched
        print(json.dumps(asyncio.run(side(asked.url, asked.key, asked.requests, asked.bytes))))
    else:
        print(json.dumps(compare(asked.requests, asked.bytes, asked.rounds)))


if __name__ == "__main__":
    main()
