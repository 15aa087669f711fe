"""The outcomes of an ended batch, read as its results arrive; and the bill, which stands in them."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from batch_bridge._models import Errored, Outcome, Usage
from batch_bridge.providers._anthropic_clients import Clients
from batch_bridge.providers._anthropic_failure import is_gone, unavailable
from batch_bridge.providers._anthropic_handle import read_custom_id
from batch_bridge.providers._anthropic_messages import input_tokens
from batch_bridge.providers._anthropic_result import read_pair, read_result
from batch_bridge.providers._result import Unreadable
from batch_bridge.providers._splitter import LineSplitter

logger = logging.getLogger("batch_bridge")


class Gone(Exception):  # a fact, told apart where it is caught
    """The results are not there any more."""


class Bill:
    """What the results of a batch cost, summed while they are read.

    Args:
        model: What the tokens are billed at, if no result says.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._counts = [0, 0, 0]
        self._is_known = False

    def add(self, line: Mapping[str, object]) -> None:
        """Add the result in a line, if it was billed."""
        result = line.get("result")
        message = result.get("message") if isinstance(result, Mapping) else None
        usage = message.get("usage") if isinstance(message, Mapping) else None
        if not isinstance(message, Mapping) or not isinstance(usage, Mapping):
            return
        if not self._is_known and isinstance(message.get("model"), str):
            self._model = message["model"]
        self._is_known = True
        counts = (input_tokens(usage), usage.get("output_tokens"), usage.get("cache_read_input_tokens"))
        for place, count in enumerate(counts):
            self._counts[place] += count if isinstance(count, int) else 0

    def usage(self) -> Usage | None:
        """Return the sum, or `None` if nothing was billed."""
        given, made, cached = self._counts
        return Usage(self._model, given, made, cached) if self._is_known else None


async def read_outcomes(
    clients: Clients, batch_id: str, members: Sequence[str], bill: Bill, *, are_gone: bool = False
) -> AsyncIterator[tuple[str, Outcome]]:
    """Yield the outcomes in a batch's results, in the order of their lines, and fill in the bill.

    Requests whose result cannot be read come last, with an error of their own.
    No more than a piece of the results and one line is held. If they are gone, which may be known before, all
    requests get errors.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
    """
    known: set[str] = set()
    broken = Unreadable(f"batch {batch_id}", "custom_id")
    try:
        if are_gone:
            raise Gone  # noqa: TRY301
        async for line in _lines(clients, batch_id):
            result = read_result(line)
            pair = read_pair(result) if result is not None else None
            if result is not None and pair is not None:
                if pair[0] not in known:
                    known.add(pair[0])
                    bill.add(result)
                yield pair
            else:
                broken.add(line)
    except Gone:
        logger.warning("batch %s: its results are gone", batch_id)
        for request_id in members:
            yield request_id, lost(batch_id)
    for name, errored in broken.outcomes():
        if (named := read_custom_id(name)) is not None:
            yield named[0], errored


async def read_tag(clients: Clients, batch_id: str) -> str | None:
    """Return the tag in the results of a batch of ours; an empty string is somebody else's, `None` that none tells.

    Raises:
        Gone: There are no results.
        ProviderUnavailable: Later.
    """
    async with aclosing(_lines(clients, batch_id)) as lines:
        async for line in lines:
            if (result := read_result(line)) is not None:
                named = read_custom_id(result["custom_id"])
                return named[1] if named else ""
    return None


def lost(batch_id: str) -> Errored:
    """Return the outcome of requests whose results cannot be read any more."""
    return Errored(
        f"the results of batch {batch_id} are gone (the API keeps them for 29 days): they were deleted, or archived; "
        "what they held was billed and cannot be read any more",
        code="results_missing",
    )


async def _lines(clients: Clients, batch_id: str) -> AsyncGenerator[bytes, None]:
    """Yield the lines as they come: the SDK's own decoder gives up at the first one that is no JSON."""
    splitter = LineSplitter()
    try:
        decoder = await clients.call(
            "messages.batches.results", lambda client: client.messages.batches.results(batch_id)
        )
        async with aclosing(decoder.http_response) as response:
            async for chunk in response.aiter_bytes():
                for line in splitter.feed(chunk):
                    if line.strip():
                        yield line
    except Exception as error:
        if is_gone(error):
            raise Gone from error
        raise unavailable(f"reading the results of batch {batch_id}", error) from error
    for line in splitter.end():
        yield line
