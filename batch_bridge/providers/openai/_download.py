"""The outcomes of an ended batch: its files are fetched, and then read."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from openai import AsyncOpenAI

from batch_bridge._core.models import Errored, Outcome
from batch_bridge._core.wording.log import logger_of
from batch_bridge.providers._shared.ids import checked
from batch_bridge.providers._shared.item import read_mark
from batch_bridge.providers._shared.results.download import Download, fetched, held
from batch_bridge.providers._shared.results.line_splitter import TooLong
from batch_bridge.providers._shared.results.result import Unreadable
from batch_bridge.providers.openai._batch import OpenAIBatchObject
from batch_bridge.providers.openai._clients import OpenAIClients
from batch_bridge.providers.openai._failure import is_gone, unavailable
from batch_bridge.providers.openai._result import read_lines

logger = logger_of(__name__)

_AT_ONCE: Final = 100
"""Lines that are read at once: what is held in memory beside the lines."""


class ResultFiles(NamedTuple):
    """A batch's output and error file, as far as they came; `None` is one that it does not have."""

    output: Download | None
    errors: Download | None


async def fetch(clients: OpenAIClients, batch: OpenAIBatchObject) -> ResultFiles:
    """Fetch a batch's files. An error in the middle of one is raised when it is read.

    Raises:
        ResponseRejected: The id of a file is invalid.
    """
    ids = [each and checked(each, "file") for each in (batch.output_file_id, batch.error_file_id)]
    return ResultFiles(*[await _fetch(clients, each) if each else None for each in ids])


async def read_outcomes(
    clients: OpenAIClients, batch: OpenAIBatchObject, files: ResultFiles, requests: Sequence[str]
) -> AsyncIterator[list[tuple[str, Outcome]]]:
    """Yield the outcomes in a batch's output file, then those in its error file, in the order of their lines.

    Requests whose line cannot be read come last, with an error of their own. No more than a piece of a file and one
    line is held, and the beginnings of lines that cannot be read. If the output file is gone, its requests get errors.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
        ResponseRejected: The same, for what the provider sent.
    """
    left = set[str]()
    broken = Unreadable(f"batch {batch.id}", "custom_id")
    most = clients.limits.answer_bytes
    async with held(*files):
        if files.output is not None:
            async for pairs in _read(files.output, broken, most):
                yield pairs
            if files.output.is_gone:
                logger.warning("batch %s: its output file %s is gone", batch.id, batch.output_file_id)
                left.update(requests)
        if files.errors is not None:
            async for pairs in _read(files.errors, broken, most):
                left.difference_update([request_id for request_id, _ in pairs])
                yield pairs
            if files.errors.is_gone:
                logger.warning("batch %s: its error file %s is gone", batch.id, batch.error_file_id)
    yield [(read_mark(name)[0], errored) for name, errored in broken.outcomes()]
    yield [(request_id, _lost(batch)) for request_id in requests if request_id in left]


def _lost(batch: OpenAIBatchObject) -> Errored:
    return Errored(
        f"the output file {batch.output_file_id} of batch {batch.id} is gone (the API answers 404): it was "
        "deleted, or has expired; what it held was billed and cannot be read any more",
        code="output_file_missing",
    )


async def _read(file: Download, broken: Unreadable, most: int) -> AsyncIterator[list[tuple[str, Outcome]]]:
    async for lines in file.many_lines(most):
        for start in range(0, len(lines), _AT_ONCE):
            some = lines[start : start + _AT_ONCE]
            whole = [line for line in some if not isinstance(line, TooLong)]
            if len(whole) < len(some):
                for line in some:
                    if isinstance(line, TooLong):
                        broken.too_long(line, most)
            found = read_lines(whole)
            pairs = [pair for pair in found if pair is not None]
            if len(pairs) < len(found):
                for line, pair in zip(whole, found, strict=True):
                    if pair is None and line.strip():
                        broken.add(line)
            yield pairs


async def _fetch(clients: OpenAIClients, file_id: str) -> Download:
    async def into(download: Download) -> None:
        async def stream(client: AsyncOpenAI) -> None:
            async with client.files.with_streaming_response.content(file_id) as response:
                async for chunk in response.iter_bytes():
                    await download.write(chunk)

        await clients.call("files.content", stream, "results")

    return await fetched(into, is_gone, lambda error: unavailable(f"downloading {file_id}", error))
