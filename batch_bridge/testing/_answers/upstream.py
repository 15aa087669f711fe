"""Asks another OpenAI-compatible server for the answers."""

import asyncio
from collections.abc import Sequence

import httpx

from batch_bridge.testing._answers.answer import Answer, AnswerRequest, refused

ATTEMPTS = 4
FIRST_DELAY = 0.5
TIMEOUT = httpx.Timeout(600.0, connect=10.0)
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})


class Upstream:
    """An answerer that forwards every request, a bounded number at a time.

    Args:
        base_url: Where the other server is, with its `/v1`.
        key: Its API key, if it needs one.
        concurrency: Requests in flight at once, over all batches.
    """

    remote = True

    def __init__(self, base_url: str, *, key: str | None, concurrency: int) -> None:
        self.concurrency = concurrency
        self._base_url = base_url.rstrip("/")
        self._slots = asyncio.Semaphore(concurrency)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(headers=headers, limits=limits, timeout=TIMEOUT)

    async def many(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        """An answer for each; what fails for the moment is asked again a few times."""
        return await asyncio.gather(*map(self._one, requests))

    async def _one(self, request: AnswerRequest) -> Answer:
        url = self._base_url + request.url.removeprefix("/v1")
        answer = refused(502, "The upstream was not asked.")
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_DELAY * 2 ** (attempt - 1))
            async with self._slots:
                answer = await self._ask(url, request)
            if answer.status_code not in _AGAIN:
                break
        return answer

    async def _ask(self, url: str, request: AnswerRequest) -> Answer:
        try:
            response = await self._client.post(url, json=request.body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return refused(502, f"The upstream {url} cannot be reached: {error!r}", code="upstream_unreachable")
        try:
            return Answer(response.status_code, response.json())
        except ValueError:
            text = f"The upstream {url} answered {response.status_code} with something that is not JSON."
            return refused(response.status_code if response.is_error else 502, text, code="upstream_not_json")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
