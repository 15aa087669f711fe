"""Looking for a batch whose creation we did not see the end of."""

from collections.abc import Iterable

from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._shared.http.response_limits import endless
from batch_bridge.providers._shared.ids import checked
from batch_bridge.providers.openai._batch import OpenAIBatchObject
from batch_bridge.providers.openai._batch_calls import BatchCalls
from batch_bridge.providers.openai._clients import OpenAIClients
from batch_bridge.providers.openai._failure import is_gone, is_unsupported, unavailable
from batch_bridge.providers.openai._handle import OpenAIUpload

_MARGIN = 3_600
"""Seconds before the upload of an input file in which a batch of an earlier try may have been created."""


async def search(clients: OpenAIClients, calls: BatchCalls, key: str, upload: OpenAIUpload) -> list[OpenAIBatchObject]:
    """Return the batches that were created for a key, oldest first.

    Batches that hold nothing are left out: those that failed, or were cancelled, with the input file of an
    earlier try, and those that failed because their input file had been fenced.

    Raises:
        ProviderUnavailable: The listing failed, or a batch must be waited for until it shows what it holds.
        SubmissionUnknown: The server cannot list batches.
    """
    matches = [
        batch for batch in await _list(clients, calls, upload["uploaded_at"] - _MARGIN) if _matches(batch, key, upload)
    ]
    matches.sort(key=lambda batch: batch.created_at)
    live = [batch for batch in matches if batch.status not in ("failed", "cancelled", "cancelling")]
    sure, doubtful = await _told_apart(clients, live)
    if sure:
        return [*sure, *doubtful]
    if doubtful:
        raise ProviderUnavailable(
            f"batch {doubtful[0].id} is being validated, and its input file has been deleted; it will be checked again"
        )
    own = [batch for batch in matches if batch.input_file_id == upload["input_file_id"]]
    return [batch for batch in own if batch.status != "failed" or await _has_input(clients, batch)]


async def _told_apart(
    clients: OpenAIClients, live: Iterable[OpenAIBatchObject]
) -> tuple[list[OpenAIBatchObject], list[OpenAIBatchObject]]:
    """Separate running batches from those that may yet fail because they have no input file to read."""
    sure: list[OpenAIBatchObject] = []
    doubtful: list[OpenAIBatchObject] = []
    for batch in live:
        is_sure = batch.status != "validating" or await _has_input(clients, batch)
        (sure if is_sure else doubtful).append(batch)
    return sure, doubtful


async def _has_input(clients: OpenAIClients, batch: OpenAIBatchObject) -> bool:
    file_id = batch.input_file_id
    if file_id is None:
        return True
    checked(file_id, "file")
    try:
        await clients.call("files.retrieve", lambda client: client.files.retrieve(file_id))
    except Exception as error:
        if is_gone(error):
            return False
        raise unavailable(f"looking up the input file {file_id}", error) from error
    return True


async def _list(clients: OpenAIClients, calls: BatchCalls, since: int) -> list[OpenAIBatchObject]:
    """Return the batches created since then; the API has the newest first, and no filter."""
    found: dict[str, OpenAIBatchObject] = {}
    after: str | None = None
    while True:
        try:
            page = await calls.page(after)
        except Exception as error:
            if is_unsupported(error):
                raise SubmissionUnknown(
                    "this server cannot list batches, so the batch may or may not have been created; look it "
                    f"up, and send the requests again if it was not ({unavailable('the listing', error)})"
                ) from error
            raise unavailable("listing the batches", error) from error
        if page is None:
            raise ProviderUnavailable("listing the batches was answered with no list; check the client's base_url")
        batches = page.batches
        is_new = any(batch.id not in found for batch in batches)
        found.update((batch.id, batch) for batch in batches)
        if not is_new or page.more is False:
            break
        first, last = batches[0].created_at, batches[-1].created_at
        if last < since and first >= last:
            break
        if len(found) > clients.limits.listed:
            raise endless(clients.limits)
        after = page.after
    return [batch for batch in found.values() if batch.created_at >= since or not batch.created_at]


def _matches(batch: OpenAIBatchObject, key: str, upload: OpenAIUpload) -> bool:
    return batch.key == key or (batch.key is None and batch.input_file_id == upload["input_file_id"])
