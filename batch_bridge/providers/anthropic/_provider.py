"""Anthropic's Message Batches API."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from anthropic.types.messages import MessageBatch

from batch_bridge._core.durations import Within, required
from batch_bridge._core.models import JSON, Ended, Errored, InProgress, Limits, Measure, Request
from batch_bridge._money import Ask
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._realtime.provider import ATTEMPTS, CONCURRENCY, Realtime
from batch_bridge.providers._shared.allow import Allowed, check, read_allow
from batch_bridge.providers._shared.batch_api import BatchAPIProvider
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits
from batch_bridge.providers._shared.ids import checked
from batch_bridge.providers._shared.lanes import Lanes
from batch_bridge.providers.anthropic import _failure as failure
from batch_bridge.providers.anthropic._batch import read_batch
from batch_bridge.providers.anthropic._batch_names import Memory
from batch_bridge.providers.anthropic._call import FRAME, AnthropicCall, read_item, write_create
from batch_bridge.providers.anthropic._clients import AnthropicClients, Own
from batch_bridge.providers.anthropic._download import AnthropicUsageTotal, fetch, read_outcomes
from batch_bridge.providers.anthropic._handle import read_handle, read_prepared, tag_of, write_handle
from batch_bridge.providers.anthropic._prefix import prefix_of
from batch_bridge.providers.anthropic._realtime import AnthropicCaller
from batch_bridge.providers.anthropic._search import newest, search
from batch_bridge.providers.anthropic._settings import AnthropicSettings, read_defaults

LIMITS: Final = Limits(requests=100_000, bytes=256_000_000 - FRAME)
"""The limits of one batch; a create call is a few bytes longer than its requests.

Source: platform.claude.com/docs/en/build-with-claude/batch-processing, "Batch limitations": 100,000 requests or 256 MB.
"""
MAX_TOKENS: Final = 4_096
"""The default length of an answer; the API requires one."""
LOST_AFTER: Final = timedelta(minutes=10)
"""How long to look for a batch whose create response was lost: as long as the SDK itself waits for a response."""


class AnthropicBatch(Lanes, BatchAPIProvider[AnthropicClients]):
    """Answers requests through Anthropic's Message Batches API.

    An item is a list of messages (dicts, or LangChain messages), a request body, or a whole entry of a batch
    (`params`; its `custom_id` is not used). Leading system messages become the body's `system`. The
    answer is the message's body as a dict, or an `AIMessage` if the item contained LangChain messages. A body is sent
    unchanged, except that a missing `model` or `max_tokens` is added.

    The API accepts several models in one batch; here a batch has one, so that it has one price.

    Limitations: the API's create call accepts no name of ours and is not idempotent, and a batch shows its
    requests only once it has ended. A batch whose create response was lost is therefore found in three steps. `prepare`
    records the newest batch of the workspace; candidates are newer batches of the same size; their results show
    whether they are ours, so candidates that have not ended are waited for. Without a candidate for `lost_after`, the
    create call is considered lost and the requests are sent again. Such a call cannot be stopped: if it takes effect
    later, its batch is paid too. With `lost_after=None` nothing is ever sent again,
    and the requests fail with the code `submission_unknown`, which is `retryable`.

    Args:
        client: An `AsyncAnthropic`, which the caller closes; or a function that returns a new one and is
            called once for each event loop, `AnthropicBatch(lambda: AsyncAnthropic(http_client=…))`, because an
            `http_client=` of your own works in one loop only. Without it, clients are created when they are
            needed, from `ANTHROPIC_API_KEY` and the SDK's other environment variables. Its `max_retries` is
            not used: the engine knows which calls are safe to repeat.
        model: The model of items that name none.
        max_tokens: The `max_tokens` of items that name none.
        defaults: Fields for bodies that do not have them, such as `{"temperature": 0}`.
        betas: Names of beta features, which the API expects in a header for the whole batch.
        lost_after: How long to look for a batch whose create response was lost, from the first search. After that its
            requests are sent again; with `None` never.
        delete_batches: Delete a batch and its results once its outcomes are stored. The API keeps them for 29 days.
        limits: The limits of one batch, if they differ from Anthropic's.
        responses: Limits for the server's responses: sizes, times, hosts.
        prime: Send one request of each prefix that `cache_control` marks before the others that begin so, which follow
            when it is answered, and read the cache instead of writing it. A batch seldom reads what it has written
            itself. Only worth it for prefixes that live until then: give them `"ttl": "1h"`.
        allow: Restricts items that contain user input: `Allow(models=…, endpoints=…, fields=…)`, or
            `"messages"` for lists of messages only. `None` allows everything.

    Attributes:
        limits: The limits of one batch.
        calls: The number of API calls by their name in the SDK, such as `"messages.batches.retrieve"`.

    Raises:
        TypeError: The client is not asynchronous, or another argument has the wrong type.
        ValueError: The API does not accept an argument.
    """

    _errors = failure.CLASSIFIER
    _is_gone = staticmethod(failure.is_gone)

    def __init__(
        self,
        client: Own | None = None,
        *,
        model: str | None = None,
        max_tokens: int = MAX_TOKENS,
        defaults: Mapping[str, object] | None = None,
        betas: Sequence[str] = (),
        lost_after: Within = LOST_AFTER,
        delete_batches: bool = False,
        limits: Limits = LIMITS,
        responses: ResponseLimits | None = None,
        prime: bool = False,
        allow: Allowed = None,
    ) -> None:
        super().__init__(AnthropicClients(client, responses or USUAL), limits, deletes=delete_batches)
        self._allow = read_allow("AnthropicBatch", allow)
        self._settings = AnthropicSettings(
            defaults=read_defaults(defaults, model, max_tokens),
            betas=betas,
            lost_after=None if lost_after is None else required(lost_after, "AnthropicBatch(lost_after={given})"),
            prime=prime,
        )
        self._memory = Memory()

    def __repr__(self) -> str:
        model = self._settings.defaults.get("model")
        return f"AnthropicBatch(model={model!r})" if model else "AnthropicBatch()"

    def measure(self, request: Request) -> Measure:
        """Return a request's model, the exact length of its entry in the create call, and its prefix with `prime`.

        Raises:
            RequestRefused: It is not a request, or a batch does not support it.
        """
        call = self._read(request)
        size = call.size(request.id)  # refuses what cannot be written
        prefix = prefix_of(call.body, self._settings.betas) if self._settings.prime else None
        return Measure(call.model, size, prefix=prefix)

    def identity(self, request: Request) -> bytes:
        """Return what decides a request's answer: the whole body, and where the client sends it.

        It contains no secret: neither the key nor a password in the base URL. Called on an event loop.

        Raises:
            RequestRefused: It is not a request.
            ProviderError: There is no API key.
        """
        return self._read(request).identity([*self._clients.place(), *self._settings.betas])

    def realtime(self, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Realtime:
        """Return a provider that answers in realtime, through the Messages API and at full price.

        Args:
            concurrency: The number of concurrent calls in one event loop.
            attempts: Attempts for a request that failed temporarily (408, 409, 429, 5xx) or could not be sent.

        Raises:
            ValueError: An argument is not a positive integer.
        """
        caller = AnthropicCaller(self._clients.twin(), self._read, self._settings.headers())
        return Realtime.of(self, caller, concurrency=concurrency, attempts=attempts)

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Record the workspace's newest batch, so that later batches can be recognized.

        Raises:
            ProviderUnavailable: Try again later.
            SubmissionRefused: The API refused to list batches, or there is no API key.
        """
        last, is_listed = None, True
        try:
            last = await newest(self._clients)
        except ProviderUnavailable:
            raise
        except Exception as error:
            if not failure.is_unsupported(error):
                raise failure.of_prepare("listing the batches", error) from error
            is_listed = False
        return {
            "key": key,
            "model": self._read(requests[0]).model,
            "requests": len(requests),
            "newest": None if last is None else last.id,
            "newest_at": None if last is None else last.created_at,
            "is_listed": is_listed,
        }

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Create the batch, once.

        Raises:
            ProviderUnavailable: It was not created; try again later.
            SubmissionUnknown: It may have been created.
            SubmissionRefused: It was not created and will not be.
        """
        body = await asyncio.to_thread(self._write, requests, tag_of(key))
        options: Any = {"headers": self._settings.headers()}
        sent_at = time.time()
        self._memory.sent(key)
        try:
            created = await self._clients.call(
                "messages.batches.create",
                lambda client: client.post("/v1/messages/batches", cast_to=MessageBatch, content=body, options=options),
                "requests",
            )
        except Exception as error:
            raise failure.of_create("creating the batch", error) from error
        batch = read_batch(created)
        if batch is None:
            raise SubmissionUnknown(
                "the response to the create call contains no batch; whether it exists will be looked up"
            )
        self._memory.tags[batch.id] = tag_of(key)
        return write_handle(batch, read_prepared(prepared), created_at=sent_at)

    def _id(self, handle: JSON) -> str:
        return checked(read_handle(handle)["id"], "batch")

    async def _look(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        known = read_handle(handle)
        batch_id = known["id"]
        self._memory.tags[batch_id] = tag_of(known["key"])
        try:
            seen = await self._clients.call(
                "messages.batches.retrieve", lambda client: client.messages.batches.retrieve(batch_id)
            )
        except Exception as error:
            if failure.is_gone(error):
                return self._memory.not_found(batch_id, known["created_at"])
            raise failure.unavailable(f"polling batch {batch_id}", error) from error
        batch = read_batch(seen)
        if batch is None:
            raise ProviderUnavailable(
                f"the response to polling batch {batch_id} contains no batch; check the client's base_url"
            )
        if not self._memory.has_ended(batch):
            return batch.progress()
        missing = Errored(
            f"batch {batch_id} has ended, and its results do not contain this request",
            code="missing_result",
            retryable=True,
        )
        usage_total = AnthropicUsageTotal(known["model"])
        results = await fetch(self._clients, batch_id) if batch.has_results else None
        outcomes = read_outcomes(self._clients, batch_id, results, requests, usage_total)
        return Ended(outcomes, missing=missing, usage=usage_total.usage)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:  # noqa: ARG002
        """Return the handles of the batches that were created for a key, oldest first. Waits for candidates to end.

        Raises:
            ProviderUnavailable: The API is unreachable, or the result is not certain yet.
            SubmissionUnknown: The API cannot tell.
        """
        sought = read_prepared(prepared)
        found = await search(self._clients, sought, self._memory)
        return [write_handle(batch, sought, created_at=batch.created_at) for batch in found]

    async def fence(self, prepared: JSON) -> None:
        """Wait until a create call without a batch is considered lost, because it cannot be stopped.

        Raises:
            ProviderUnavailable: `lost_after` has not passed yet.
            SubmissionUnknown: `lost_after` is `None`.
        """
        self._memory.wait_out(read_prepared(prepared)["key"], self._settings.lost_after)

    async def _cancel(self, batch: str) -> None:
        await self._clients.call("messages.batches.cancel", lambda client: client.messages.batches.cancel(batch))

    def _forget(self, batch: str) -> None:
        self._memory.forget(batch)

    async def _delete_batch(self, handle: JSON) -> None:
        batch = self._id(handle)
        await self._clients.call("messages.batches.delete", lambda client: client.messages.batches.delete(batch))

    def _write(self, requests: Sequence[Request], tag: str) -> bytes:
        """Return the body of a create call: the SDK would write it on the event loop, and hold it three times."""
        return write_create(self._read(request).entry(request.id, tag) for request in requests)

    @property
    def vendor(self) -> str | None:
        """Whose prices these are."""
        return "anthropic"

    def ask(self, request: Request) -> Ask:
        """Return a request's model, and the body that is posted.

        Raises:
            RequestRefused: It is no request.
        """
        call = self._read(request)
        return Ask(call.model, call.body)

    def _read(self, request: Request) -> AnthropicCall:
        item = request.item
        call = read_item(item, self._settings.defaults)
        check(self._allow, item, item.get("params", item) if type(item) is dict else item, model=call.model)
        return call
