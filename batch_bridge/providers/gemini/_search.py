"""Looking for a batch whose creation we did not see the end of."""

from collections.abc import Iterable
from urllib.parse import urlencode

from batch_bridge.errors import ProviderUnavailable
from batch_bridge.providers._shared.http.response_limits import endless
from batch_bridge.providers._shared.ids import checked_resource
from batch_bridge.providers.gemini._clients import GeminiClients
from batch_bridge.providers.gemini._failure import is_gone, unavailable
from batch_bridge.providers.gemini._job import GeminiJob, GeminiUpload, read_job

_PAGE = 100
"""Batches in one page of a listing."""


async def search(clients: GeminiClients, key: str, upload: GeminiUpload) -> list[GeminiJob]:
    """Return the batches that were created for a key, oldest first.

    Batches that hold nothing are left out: those that failed, or were cancelled, with the input file of an
    earlier try, and those that failed because their input file had been fenced.

    Raises:
        ProviderUnavailable: The listing failed, or a batch must be waited for until it shows what it holds.
    """
    matches = sorted(
        [job for job in await _list(clients) if job.key == key], key=lambda job: (job.created_at, job.name)
    )
    live = [job for job in matches if job.state not in ("failed", "cancelled", "cancelling")]
    sure, doubtful = await _told_apart(clients, live)
    if sure:
        return [*sure, *doubtful]
    if doubtful:
        raise ProviderUnavailable(
            f"{doubtful[0].name} has not started, and its input file has been deleted; it will be checked again"
        )
    own = [job for job in matches if job.input_file in (None, upload["input_file"])]
    return [job for job in own if job.state != "failed" or await _has_input(clients, job)]


async def _told_apart(clients: GeminiClients, live: Iterable[GeminiJob]) -> tuple[list[GeminiJob], list[GeminiJob]]:
    """Separate running batches from those that may yet fail because they have no input file to read."""
    sure: list[GeminiJob] = []
    doubtful: list[GeminiJob] = []
    for job in live:
        is_sure = job.state not in ("pending", "queued") or await _has_input(clients, job)
        (sure if is_sure else doubtful).append(job)
    return sure, doubtful


async def _has_input(clients: GeminiClients, job: GeminiJob) -> bool:
    if job.input_file is None:
        return True
    checked_resource(job.input_file, "files")
    try:
        await clients.read("files.get", job.input_file)
    except Exception as error:
        if is_gone(error):
            return False
        raise unavailable(f"looking up the input file {job.input_file}", error) from error
    return True


async def _list(clients: GeminiClients) -> list[GeminiJob]:
    """Return all batches that the API lists: it documents no order, so none is left out."""
    found: dict[str, GeminiJob] = {}
    token, pages = "", 0
    while True:
        pages += 1
        query = urlencode({"pageSize": _PAGE, **({"pageToken": token} if token else {})})
        try:
            page = await clients.read("batches.list", f"batches?{query}")
        except Exception as error:
            raise unavailable("listing the batches", error) from error
        shown = page.get("operations") or ()
        fresh = {job.name: job for each in shown if (job := read_job(each)) is not None and job.name not in found}
        found |= fresh
        token = str(page.get("nextPageToken") or "")
        if not token or (shown and not fresh):
            return list(found.values())
        if max(len(found), pages) > clients.limits.listed:  # a page may be empty
            raise endless(clients.limits)
