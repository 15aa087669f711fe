"""Whether a server has what a bridge needs of it: LangGraph's own has; others that speak its API may not."""

from typing import Any
from uuid import uuid4

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError

from batch_bridge.errors import BridgeUnreachableError


async def check_search(client: LangGraphClient, bridge: str) -> None:
    """Check that a search for threads by their ids returns no others. Costs one call.

    A tick takes a thread that such a search does not return for deleted, and reads the interrupts of those it returns.

    Raises:
        BridgeUnreachableError: The server ignores the ids.
    """
    unknown = str(uuid4())
    try:
        found: Any = await client.threads.search(ids=[unknown], limit=1)
    except (APIStatusError, httpx.HTTPError):
        return  # this user may not look, or the server does not answer now; the run itself will fail then
    if found:
        raise BridgeUnreachableError(
            f"wait(…, batcher={bridge!r}): this server ignores `ids` in a search for threads (it found one for an id "
            "that no thread has), so a bridge cannot find parked threads; nothing was sent. Run the graph on a "
            "LangGraph "
            "server whose POST /threads/search supports `ids`, or in a Runner"
        )
