"""The outcomes of an ended batch, read as its files arrive."""

import logging
from collections.abc import AsyncIterator, Sequence

from batch_bridge._models import Errored, Outcome
from batch_bridge.providers._openai_batch import Batch
from batch_bridge.providers._openai_clients import Clients
from batch_bridge.providers._openai_failure import is_gone, unavailable
from batch_bridge.providers._openai_result import read_line
from batch_bridge.providers._result import is_broken
from batch_bridge.providers._splitter import LineSplitter

logger = logging.getLogger("batch_bridge")


class _Gone(Exception):  # a fact, told apart below
    """The file is not there any more."""


async def read_outcomes(clients: Clients, batch: Batch, members: Sequence[str]) -> AsyncIterator[tuple[str, Outcome]]:
    """Yield the outcomes in a batch's output file, then those in its error file, in the order of their lines.

    No more than a piece of a file and one line is held. If the output file is gone, its requests get errors.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
    """
    left = set[str]()
    if batch.output_file_id is not None:
        try:
            async for pair in _read(clients, batch, batch.output_file_id):
                yield pair
        except _Gone:
            left.update(members)
    if batch.error_file_id is not None:
        try:
            async for pair in _read(clients, batch, batch.error_file_id):
                left.discard(pair[0])
                yield pair
        except _Gone:
            logger.warning("batch %s: its error file %s is gone", batch.id, batch.error_file_id)
    if left:
        logger.warning("batch %s: its output file %s is gone", batch.id, batch.output_file_id)
    lost = Errored(
        f"the output file {batch.output_file_id} of batch {batch.id} is gone (the API answers 404): it was "
        "deleted, or has expired; what it held was billed and cannot be read any more",
        code="output_file_missing",
    )
    for request_id in members:
        if request_id in left:
            yield request_id, lost


async def _read(clients: Clients, batch: Batch, file_id: str) -> AsyncIterator[tuple[str, Outcome]]:
    strange = 0
    broken: dict[str, Outcome] = {}
    async for line in _lines(clients, file_id):
        if not line.strip():
            continue
        pair = read_line(line)
        if pair is None:
            strange += 1
        elif is_broken(pair[1]):
            broken.setdefault(*pair)
        else:
            yield pair
    for pair in broken.items():  # last: another line of the same request may be whole
        yield pair
    if strange:
        logger.warning("batch %s: put aside %d lines of %s that cannot be read", batch.id, strange, file_id)


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
