"""The outcomes of an ended batch: its results are fetched, and then read; and the bill, which stands in them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from anthropic import AsyncAnthropic

from batch_bridge._core.models import Errored, Outcome, Usage
from batch_bridge._core.wording.log import logger_of
from batch_bridge.providers._shared.ids import checked
from batch_bridge.providers._shared.results.download import Download, fetched, held
from batch_bridge.providers._shared.results.line_splitter import TooLong
from batch_bridge.providers._shared.results.result import Unreadable
from batch_bridge.providers.anthropic._clients import AnthropicClients
from batch_bridge.providers.anthropic._failure import is_gone, unavailable
from batch_bridge.providers.anthropic._handle import read_custom_id
from batch_bridge.providers.anthropic._messages import input_tokens
from batch_bridge.providers.anthropic._result import read_pair, read_result

logger = logger_of(__name__)


class AnthropicUsageTotal:
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


async def fetch(clients: AnthropicClients, batch_id: str) -> Download:
    """Fetch the results of a batch. An error in the middle is raised when they are read."""
    name = checked(batch_id, "batch")

    async def into(download: Download) -> None:
        """Take the bytes as they come: the SDK's own decoder gives up at the first line that is no JSON."""

        async def stream(client: AsyncAnthropic) -> None:
            decoder = await client.messages.batches.results(name)
            async with aclosing(decoder.http_response) as response:
                async for chunk in response.aiter_bytes():
                    await download.write(chunk)

        await clients.call("messages.batches.results", stream, "results")

    return await fetched(into, is_gone, lambda error: unavailable(f"reading the results of batch {batch_id}", error))


async def read_outcomes(
    clients: AnthropicClients,
    batch_id: str,
    results: Download | None,
    requests: Sequence[str],
    usage_total: AnthropicUsageTotal,
) -> AsyncIterator[tuple[str, Outcome]]:
    """Yield the outcomes in a batch's results, in the order of their lines, and fill in the bill.

    Requests whose result cannot be read come last, with an error of their own.
    No more than a piece of the results and one line is held. If they are gone, which may be known before (`None`), all
    requests get errors.

    Raises:
        ProviderUnavailable: The download broke off; the batch must be polled, and read, again.
        ResponseRejected: The same, for what the provider sent.
    """
    broken = Unreadable(f"batch {batch_id}", "custom_id")
    if results is not None:
        async with held(results):
            async for pair in _read(results, broken, usage_total, clients.limits.answer_bytes):
                yield pair
    if results is None or results.is_gone:
        logger.warning("batch %s: its results are gone", batch_id)
        for request_id in requests:
            yield request_id, lost(batch_id)
    for name, errored in broken.outcomes():
        if (named := read_custom_id(name)) is not None:
            yield named[0], errored


async def _read(
    results: Download, broken: Unreadable, usage_total: AnthropicUsageTotal, most: int
) -> AsyncIterator[tuple[str, Outcome]]:
    known: set[str] = set()
    async for line in results.lines(most):
        if isinstance(line, TooLong):
            broken.too_long(line, most)
            continue
        result = read_result(line)
        pair = read_pair(result) if result is not None else None
        if result is not None and pair is not None:
            if pair[0] not in known:
                known.add(pair[0])
                usage_total.add(result)
            yield pair
        elif line.strip():
            broken.add(line)


async def read_tag(clients: AnthropicClients, batch_id: str) -> str | None:
    """Return the tag in a batch's results; empty for a foreign batch, `None` if no result shows it.

    Raises:
        ProviderUnavailable: Later.
    """
    results = await fetch(clients, batch_id)
    async with held(results):
        async for line in results.lines(clients.limits.answer_bytes):
            if not isinstance(line, TooLong) and (result := read_result(line)) is not None:
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
