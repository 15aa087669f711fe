"""What the server's integration tests share: lines, uploads, and waiting for a batch with a bound."""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types import Batch

from batch_bridge.testing import BatchServer

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def client_of(server: BatchServer, key: str | None = None) -> AsyncOpenAI:
    """A real client that never tries again by itself; its key is its own, and so are its files and batches."""
    return AsyncOpenAI(
        base_url=server.base_url,
        api_key=key or uuid.uuid4().hex,
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(verify=False),  # plain HTTP; loading certificates takes longer than a test
    )


def line(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": f"ask {custom_id}"}]} | body
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def chats(count: int, prefix: str = "r") -> bytes:
    return jsonl([line(f"{prefix}{index}") for index in range(count)])


async def upload(client: AsyncOpenAI, content: bytes) -> str:
    return (await client.files.create(file=("in.jsonl", content), purpose="batch")).id


async def create(client: AsyncOpenAI, file_id: str, **more: Any) -> Batch:
    return await client.batches.create(
        **{"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"} | more
    )


async def submit(client: AsyncOpenAI, content: bytes, **more: Any) -> Batch:
    return await create(client, await upload(client, content), **more)


async def until(check: Callable[[], Awaitable[Any]], *, within: float = 90.0) -> Any:
    """Ask until the answer is true, for a bounded time, and ever less often."""
    deadline = time.monotonic() + within
    pause = 0.01
    while True:
        if answer := await check():
            return answer
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(pause)
        pause = min(0.2, pause * 1.2)


async def reached(client: AsyncOpenAI, batch_id: str, *statuses: str, within: float = 90.0) -> Batch:
    """The batch once it has one of the statuses; by default once it has ended."""

    async def look() -> Batch | None:
        batch = await client.batches.retrieve(batch_id)
        return batch if batch.status in (statuses or ENDED) else None

    return await until(look, within=within)


async def ran(client: AsyncOpenAI, content: bytes, *, within: float = 90.0, **more: Any) -> Batch:
    return await reached(client, (await submit(client, content, **more)).id, within=within)


async def rows(client: AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a result file."""
    if file_id is None:
        return []
    text = (await client.files.content(file_id)).text
    return [json.loads(row) for row in text.splitlines()]
