"""The outcomes of an ended batch, read as its files arrive."""

import logging
from collections.abc import AsyncIterator, Sequence

from batch_bridge._models import Errored, Outcome
from batch_bridge.providers._item import read_mark
from batch_bridge.providers._openai_batch import Batch
from batch_bridge.providers._openai_clients import Clients
from batch_bridge.providers._openai_failure import is_gone, unavailable
from batch_bridge.providers._openai_result import read_line
from batch_bridge.providers._result import Unreadable
from batch_bridge.providers._splitter import LineSplitter

logger = logging.getLogger("batch_bridge")


class _Gone(Exception):  # a fact, told apart below
    """The file is not there any more."""


async def read_outcomes(clients: Clients, batch: Batch, members: Sequence[str]) -> AsyncIterator[tuple[str, Outcome]]:
    """Yield the outcomes in a batch's output file, then those in its error file, in the order of their lines.

    Requests whose line cannot be read come last, with an error of their own. No more than a piece of a file and one
    line is held, and the beginnings of lines that cannot be read. If the output file is gone, its requests get errors.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
    """
    left = set[str]()
    broken = Unreadable(f"batch {batch.id}", "custom_id")
    if batch.output_file_id is not None:
        try:
            async for pair in _read(clients, batch.output_file_id, broken):
                yield pair
        except _Gone:
            logger.warning("batch %s: its output file %s is gone", batch.id, batch.output_file_id)
            left.update(members)
    if batch.error_file_id is not None:
        try:
            async for pair in _read(clients, batch.error_file_id, broken):
                left.discard(pair[0])
                yield pair
        except _Gone:
            logger.warning("batch %s: its error file %s is gone", batch.id, batch.error_file_id)
    for name, errored in broken.outcomes():
        yield read_mark(name)[0], errored
    for request_id in members:
        if request_id in left:
            yield request_id, _lost(batch)


def _lost(batch: Batch) -> Errored:
    return Errored(
        f"the output file {batch.output_file_id} of batch {batch.id} is gone (the API answers 404): it was "
        "deleted, or has expired; what it held was billed and cannot be read any more",
        code="output_file_missing",
    )


async def _read(clients: Clients, file_id: str, broken: Unreadable) -> AsyncIterator[tuple[str, Outcome]]:
    async for line in _lines(clients, file_id):
        if not line.strip():
            continue
        if (pair := read_line(line)) is not None:
            yield pair
        else:
            broken.add(line)


async def _lines(clients: Clients, file_id: str) -> AsyncIterator[bytes]:
    splitter = LineSplitter()
    clients.calls["files.content"] += 1
    try:
        client = await clients.open()
        async with client.files.with_streaming_response.content(file_id) as response:
            async for chunk in response.iter_bytes():
                for line in splitter.feed(chunk):
                    yield line
    except Exception as error:
        if is_gone(error):
            raise _Gone from error
        raise unavailable(f"downloading {file_id}", error) from error
    for line in splitter.end():
        yield line
