"""Looking for a batch whose creation we did not see the end of."""

from functools import partial
from typing import Final

from anthropic import AsyncAnthropic
from anthropic.pagination import AsyncPage
from anthropic.types.messages import MessageBatch

from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._shared.http.response_limits import endless
from batch_bridge.providers.anthropic._batch import AnthropicBatchObject, read_batch
from batch_bridge.providers.anthropic._batch_names import Memory
from batch_bridge.providers.anthropic._clients import AnthropicClients
from batch_bridge.providers.anthropic._download import read_tag
from batch_bridge.providers.anthropic._failure import unavailable
from batch_bridge.providers.anthropic._handle import Prepared, tag_of

_PAGE: Final = 1_000
"""Batches in one page of a listing.

Source: platform.claude.com/docs/en/api/messages/batches/list, `limit`.
"""


async def search(clients: AnthropicClients, prepared: Prepared, memory: Memory) -> list[AnthropicBatchObject]:
    """Return the batches that were created for a key, oldest first, with cancelled batches last.

    Candidates are the batches that are newer than what `prepare` saw and hold as many requests. Which of them are
    ours stands in their results, and so is known once they have ended: no harm is done by waiting, since the answers
    come no sooner. What this process knows by its handle is known at once.

    Raises:
        ProviderUnavailable: The listing failed, or a candidate has not ended.
        SubmissionUnknown: The server cannot list batches, or a candidate's results cannot be read.
    """
    if not prepared["is_listed"]:
        raise SubmissionUnknown(
            "this server cannot list batches, so the batch may or may not have been created; look it up, and send the "
            "requests again if it was not"
        )
    ours: list[AnthropicBatchObject] = []
    running: list[AnthropicBatchObject] = []
    unreadable: list[AnthropicBatchObject] = []
    for batch in await _list_since(clients, prepared):
        if batch.total != prepared["requests"]:
            continue
        if batch.id not in memory.tags and not batch.has_ended:
            running.append(batch)
            continue
        tag = await _tag_in(clients, batch, memory)
        if tag is None:
            unreadable.append(batch)
        elif tag == tag_of(prepared["key"]):
            ours.append(batch)
    if ours:
        return sorted(ours, key=lambda batch: (batch.was_cancelled, batch.created_at))
    if running:
        raise ProviderUnavailable(
            f"batch {running[-1].id} may be the one whose create response was lost; Anthropic's API shows its requests "
            "once it has ended, and it is checked again then"
        )
    if unreadable:
        raise SubmissionUnknown(
            f"batch {unreadable[-1].id} may be the one whose create response was lost, but its results can no longer "
            "be read; look it up, and send the requests again if it is another one"
        )
    return []


async def newest(clients: AnthropicClients) -> AnthropicBatchObject | None:
    """Return the newest batch of the workspace, if there is one; raises the SDK's errors."""
    page = await clients.call("messages.batches.list", partial(_page, after=None, limit=1))
    data = getattr(page, "data", None)
    if not isinstance(data, list):
        raise ProviderUnavailable("listing the batches was answered with no list; check the client's base_url")
    return read_batch(data[0]) if data else None


async def _tag_in(clients: AnthropicClients, batch: AnthropicBatchObject, memory: Memory) -> str | None:
    """Return the tag in the results of a batch, which are read once; `None` if they do not show it."""
    if batch.id in memory.tags:
        return memory.tags[batch.id]
    tag = None if batch.is_archived else await read_tag(clients, batch.id)
    if tag is not None:
        memory.tags[batch.id] = tag
    return tag


async def _list_since(clients: AnthropicClients, prepared: Prepared) -> list[AnthropicBatchObject]:
    """Return the batches that are newer than what `prepare` saw; the API has the newest first, and no filter."""
    found: dict[str, AnthropicBatchObject] = {}
    after: str | None = None
    while True:
        try:
            page = await clients.call("messages.batches.list", partial(_page, after=after, limit=_PAGE))
        except Exception as error:
            raise unavailable("listing the batches", error) from error
        if not isinstance(getattr(page, "data", None), list):
            raise ProviderUnavailable("listing the batches was answered with no list; check the client's base_url")
        batches = [batch for each in page.data if (batch := read_batch(each)) is not None]
        before = len(found)
        for batch in batches:
            if batch.id == prepared["newest"] or batch.created_at < (prepared["newest_at"] or 0.0):
                return list(found.values())
            found[batch.id] = batch
        if len(found) == before or page.has_more is False:
            return list(found.values())
        if len(found) > clients.limits.listed:
            raise endless(clients.limits)
        after = batches[-1].id


async def _page(client: AsyncAnthropic, *, after: str | None, limit: int) -> AsyncPage[MessageBatch]:
    if after is None:
        return await client.messages.batches.list(limit=limit)
    return await client.messages.batches.list(limit=limit, after_id=after)
