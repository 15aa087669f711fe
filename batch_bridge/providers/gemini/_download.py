"""The outcomes of an ended batch: those inside it, or those of its responses file."""

import inspect
from collections.abc import AsyncIterator, Container, Sequence
from typing import Any, Final

from google.genai.files import AsyncFiles

from batch_bridge._core.models import Errored, Outcome
from batch_bridge._core.wording.log import logger_of
from batch_bridge.providers._shared.http.response_guard import at_most
from batch_bridge.providers._shared.ids import checked_resource
from batch_bridge.providers._shared.item import read_mark, write_mark
from batch_bridge.providers._shared.results.download import Download, fetched, held
from batch_bridge.providers._shared.results.line_splitter import TooLong
from batch_bridge.providers._shared.results.result import Unreadable
from batch_bridge.providers.gemini._clients import GeminiClients
from batch_bridge.providers.gemini._failure import is_gone, unavailable
from batch_bridge.providers.gemini._job import GeminiJob
from batch_bridge.providers.gemini._result import GeminiUsageTotal, read_inlined, read_line

logger = logger_of(__name__)

_STREAMS = "destination" in inspect.signature(AsyncFiles.download).parameters
"""Whether the SDK can write a download to a file; older ones hold all of it in memory."""
_IN_MEMORY: Final = 100_000_000
"""Bytes that those are taken of."""


async def fetch(clients: GeminiClients, name: str) -> Download:
    """Fetch the results of a batch. An error in the middle is raised when they are read.

    Raises:
        ResponseRejected: They have no such name.
    """
    checked_resource(name, "files")
    limits = clients.limits

    async def into(download: Download) -> None:
        with_file: Any = {"destination": download} if _STREAMS else {}
        most = limits.download_bytes if _STREAMS else min(limits.download_bytes, _IN_MEMORY)
        with at_most(most, "download_bytes"):
            content: Any = await clients.call(
                "files.download", lambda client: client.aio.files.download(file=name, **with_file), "results"
            )
        if content is not None:
            await download.write(content)

    return await fetched(into, is_gone, lambda error: unavailable(f"downloading {name}", error))


async def read_outcomes(
    clients: GeminiClients,
    job: GeminiJob,
    results: Download | None,
    requests: Sequence[str],
    usage_total: GeminiUsageTotal,
    *,
    messages: bool | Container[int] = False,
) -> AsyncIterator[tuple[str, Outcome]]:
    """Yield the outcomes of a batch, and add what they cost to its bill.

    One line of its responses file is held at a time. If that is gone, its requests get errors. Those whose
    line cannot be read come last, with an error of their own.

    Args:
        clients: Who asks the API.
        job: The batch.
        results: Its responses file, if it has one.
        requests: Its requests, in the order sent.
        usage_total: Adds up what they cost.
        messages: Whether their answers are to be LangChain messages, or the places of those whose are.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
        ResponseRejected: The same, for what the provider sent.
    """
    if job.inlined is not None:
        sent = [write_mark(each, wants_message=_is_in(messages, place)) for place, each in enumerate(requests)]
        for pair in read_inlined(job.inlined, sent, usage_total):
            yield pair
    if results is None:
        return
    async with held(results):
        async for pair in _read(job, results, usage_total, clients.limits.answer_bytes):
            yield pair
    if not results.is_gone:
        return
    logger.warning("%s: its results %s are gone", job.name, job.responses_file)
    lost = Errored(
        f"the results {job.responses_file} of {job.name} are gone (the API does not find them): they were deleted, or "
        "have expired; what they held was billed and cannot be read any more",
        code="output_file_missing",
    )
    for request_id in requests:
        yield request_id, lost


async def _read(
    job: GeminiJob, results: Download, usage_total: GeminiUsageTotal, most: int
) -> AsyncIterator[tuple[str, Outcome]]:
    broken = Unreadable(job.name, "key")
    async for line in results.lines(most):
        if isinstance(line, TooLong):
            broken.too_long(line, most)
        elif (pair := read_line(line, usage_total)) is not None:
            yield pair
        elif line.strip():
            broken.add(line)
    for name, errored in broken.outcomes():
        yield read_mark(name)[0], errored


def _is_in(messages: bool | Container[int], place: int) -> bool:  # noqa: FBT001  # it is data
    return messages if isinstance(messages, bool) else place in messages
