"""The outcomes of an ended batch: those inside it, or those of its responses file."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Container, Sequence
from itertools import islice
from typing import IO, Any

from google.genai.files import AsyncFiles

from batch_bridge._models import Errored, Outcome
from batch_bridge.providers._gemini_clients import Clients
from batch_bridge.providers._gemini_failure import is_gone, unavailable
from batch_bridge.providers._gemini_job import Job
from batch_bridge.providers._gemini_result import Bill, read_inlined, read_line
from batch_bridge.providers._item import read_mark, write_mark
from batch_bridge.providers._result import Unreadable
from batch_bridge.providers._spool import spool

logger = logging.getLogger("batch_bridge")

_STREAMS = "destination" in inspect.signature(AsyncFiles.download).parameters
"""Whether the SDK can write a download to a file; older ones hold all of it in memory."""
_LINES = 500
"""Lines that are read from disk at once."""


async def read_outcomes(
    clients: Clients, job: Job, members: Sequence[str], bill: Bill, *, messages: bool | Container[int] = False
) -> AsyncIterator[tuple[str, Outcome]]:
    """Yield the outcomes of a batch, and add what they cost to its bill.

    A responses file goes to a temporary file on disk; a few of its lines are held at a time. If it is gone, its
    requests get errors. Those whose line cannot be read come last, with an error of their own.

    Args:
        clients: Who asks the API.
        job: The batch.
        members: Its requests, in the order sent.
        bill: Adds up what they cost.
        messages: Whether their answers are to be LangChain messages, or the places of those whose are.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
    """
    if job.inlined is not None:
        sent = [write_mark(each, wants_message=_is_in(messages, place)) for place, each in enumerate(members)]
        for pair in read_inlined(job.inlined, sent, bill):
            yield pair
    if job.responses_file is None:
        return
    async with spool() as file:
        if await _download(clients, job, job.responses_file, file):
            async for pair in _read(job, file, bill):
                yield pair
            return
    lost = Errored(
        f"the results {job.responses_file} of {job.name} are gone (the API does not find them): they were deleted, or "
        "have expired; what they held was billed and cannot be read any more",
        code="output_file_missing",
    )
    for request_id in members:
        yield request_id, lost


async def _read(job: Job, file: IO[bytes], bill: Bill) -> AsyncIterator[tuple[str, Outcome]]:
    broken = Unreadable(job.name, "key")
    while lines := await asyncio.to_thread(_next, file):
        for line in lines:
            if (pair := read_line(line, bill)) is not None:
                yield pair
            elif line.strip():
                broken.add(line)
    for name, errored in broken.outcomes():
        yield read_mark(name)[0], errored


def _is_in(messages: bool | Container[int], place: int) -> bool:  # noqa: FBT001  # it is data
    return messages if isinstance(messages, bool) else place in messages


async def _download(clients: Clients, job: Job, name: str, file: IO[bytes]) -> bool:
    """Write a file of the API's to disk; false if it is not there any more."""
    into: Any = {"destination": _Writer(file)} if _STREAMS else {}
    try:
        content: Any = await clients.call("files.download", lambda client: client.aio.files.download(file=name, **into))
    except Exception as error:
        if is_gone(error):
            logger.warning("%s: its results %s are gone", job.name, name)
            return False
        raise unavailable(f"downloading {name}", error) from error
    if content is not None:
        await asyncio.to_thread(file.write, content)
    await asyncio.to_thread(file.seek, 0)
    return True


class _Writer:
    """A file that the SDK's chunks are written to in a thread: it awaits what `write` returns."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def write(self, chunk: bytes) -> None:
        """Write a chunk."""
        await asyncio.to_thread(self._file.write, chunk)


def _next(file: IO[bytes]) -> list[bytes]:
    return list(islice(file, _LINES))
