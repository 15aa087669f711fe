"""Gemini's Batch API."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import IO, Any, Final

from google import genai
from google.genai import types

from batch_bridge._core.durations import Duration, required
from batch_bridge._core.models import JSON, Ended, InProgress, Limits, Measure, Request
from batch_bridge._money import Ask
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._realtime.provider import ATTEMPTS, CONCURRENCY, Realtime
from batch_bridge.providers._shared.allow import Allowed, check, read_allow
from batch_bridge.providers._shared.batch_api import BatchAPIProvider
from batch_bridge.providers._shared.defaults import read_defaults
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits
from batch_bridge.providers._shared.ids import checked_resource, is_resource
from batch_bridge.providers._shared.lanes import Lanes
from batch_bridge.providers._shared.poll_history import PollHistory
from batch_bridge.providers._shared.results.temp_file import MmapReader, open_temp_file
from batch_bridge.providers.gemini import _failure as failure
from batch_bridge.providers.gemini._call import GeminiCall, read_item
from batch_bridge.providers.gemini._clients import GeminiClients, once
from batch_bridge.providers.gemini._download import fetch, read_outcomes
from batch_bridge.providers.gemini._job import (
    GeminiUpload,
    read_handle,
    read_job,
    read_upload,
    write_handle,
)
from batch_bridge.providers.gemini._realtime import GeminiCaller, check_flex
from batch_bridge.providers.gemini._result import GeminiUsageTotal
from batch_bridge.providers.gemini._search import search

LIMITS: Final = Limits(bytes=2_000_000_000)
"""The limit of one batch: a file of 2 GB. No limit of requests is documented.

Source: ai.google.dev/gemini-api/docs/batch-api, "Input file".
"""
INLINE_BYTES: Final = 20_000_000
"""The limit of a create call.

Source: ai.google.dev/gemini-api/docs/batch-api, "Inline requests": under 20 MB in all.
"""
_FRAME: Final = 64
"""Bytes that an inline request takes beside those of its line, at most."""


class GeminiBatch(Lanes, BatchAPIProvider[GeminiClients]):
    """Answers requests through the batch API of the Gemini Developer API, at half the price of realtime calls.

    An item is a list of messages (dicts of `role` and `content`, or LangChain messages), or a request body: the body
    of `models/{model}:generateContent` (`contents`, `systemInstruction`, `generationConfig`, `tools`, …) and
    the `model`, which becomes part of the batch's address; the rest is sent unchanged. A body may contain `messages`
    in place of `contents`. The answer is the response's body, a `GenerateContentResponse` as the API writes it,
    or an `AIMessage` if the item contained LangChain messages.

    A batch is found again by its display name, which is our key. Its input is a file; deleting the file stops a
    create call that is still under way. Inline requests, which are part of the create call (`inline_bytes`), save
    an upload and a download, but such a call cannot be stopped: if its response is lost, the batch is looked
    for during `inline_doubt`, then its requests are sent again. A batch that appears later is paid too.

    Limitations: a batch that expired (after 48 hours) has no results, not even of completed requests. Results of a
    cancelled batch are not documented; they are read if there are any. Embeddings are not sent in batches.
    Vertex AI's batches, which use object storage, are not supported.

    Source: ai.google.dev/gemini-api/docs/batch-api (prices: half; ai.google.dev/gemini-api/docs/pricing).

    Args:
        client: A `google.genai.Client` of the Gemini Developer API, which the caller closes. Without it,
            clients are created when they are needed, from `GEMINI_API_KEY` or `GOOGLE_API_KEY`. Its retry options are
            not used: the engine knows which calls are safe to repeat.
        model: The model of items that name none.
        defaults: Fields for bodies that do not have them, such as `{"generationConfig": {"temperature": 0}}`.
        inline_bytes: Batches of up to this many bytes are sent inside the create call; at most `INLINE_BYTES`.
        inline_doubt: How long to look for such a batch if its create response was lost.
        delete_files: Delete a batch's input file and results once its outcomes are stored; the API keeps them for
            48 hours.
        limits: The limits of one batch, if they differ from the API's.
        responses: Limits for the server's responses: sizes, times, hosts.
        allow: Restricts items that contain user input: `Allow(models=…, endpoints=…, fields=…)`, or
            `"messages"` for lists of messages only. `None` allows everything.

    Attributes:
        limits: The limits of one batch.
        calls: The number of API calls by their name in the SDK, such as `"batches.get"`.

    Raises:
        TypeError: The client is not one of this API, or another argument has the wrong type.
        ValueError: The API does not accept an argument.
    """

    _errors = failure.CLASSIFIER
    _is_gone = staticmethod(failure.is_gone)

    def __init__(
        self,
        client: genai.Client | None = None,
        *,
        model: str | None = None,
        defaults: Mapping[str, object] | None = None,
        inline_bytes: int = 0,
        inline_doubt: Duration = timedelta(minutes=10),
        delete_files: bool = False,
        limits: Limits = LIMITS,
        responses: ResponseLimits | None = None,
        allow: Allowed = None,
    ) -> None:
        if not 0 <= inline_bytes <= INLINE_BYTES:
            raise ValueError(f"GeminiBatch(inline_bytes={inline_bytes!r}): a create call holds up to {INLINE_BYTES:,}")
        super().__init__(GeminiClients(client, responses or USUAL), limits, deletes=delete_files)
        self._allow = read_allow("GeminiBatch", allow)
        self._defaults = read_defaults("GeminiBatch", defaults, model)
        self._inline_bytes = inline_bytes
        self._inline_doubt = required(inline_doubt, "GeminiBatch(inline_doubt={given})")
        self._history = PollHistory(title="", status="state")

    def __repr__(self) -> str:
        model = self._defaults.get("model")
        return f"GeminiBatch(model={model!r})" if model else "GeminiBatch()"

    def measure(self, request: Request) -> Measure:
        """Return a request's model, which a batch may not mix, and the exact length of its line.

        Raises:
            RequestRefused: It is not a request, or a batch does not support it.
        """
        call = self._read(request)
        return Measure(f"generateContent {call.model}", len(call.line(request.id)))

    def identity(self, request: Request) -> bytes:
        """Return what decides a request's answer: the whole body, the model, and where the client sends it.

        It contains no secret. Called on an event loop.

        Raises:
            RequestRefused: It is not a request.
            NoCredentials: There is no API key.
        """
        return self._read(request).identity(self._clients.place())

    def realtime(self, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Realtime:
        """Return a provider that answers in realtime, through `generateContent` and at full price.

        Args:
            concurrency: The number of concurrent calls in one event loop.
            attempts: Attempts for a request that failed temporarily (408, 409, 429, 5xx) or could not be sent.

        Raises:
            ValueError: An argument is not a positive integer.
        """
        caller = GeminiCaller(self._clients.twin(), self._read)
        return Realtime.of(self, caller, concurrency=concurrency, attempts=attempts)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The ways in which it answers, each at a price; see `lane`."""
        return ("batch", "flex", "realtime")

    def flex(self, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Realtime:
        """Return a provider that answers by calls of the flex tier, at half the price, in minutes.

        Calls that are refused for want of capacity are not billed, and are made again for a day without counting as
        attempts; the number of calls at a time follows the capacity.

        Args:
            concurrency: The most concurrent calls in one event loop.
            attempts: Attempts for a request that failed temporarily for another reason, or could not be sent.

        Raises:
            ValueError: An argument is not a positive integer.
        """
        caller = GeminiCaller(self._clients.twin(), self._read, "flex")
        measure = self._measure_flex
        return Realtime.of(self, caller, concurrency=concurrency, attempts=attempts, tier="flex", measure=measure)

    def _measure_flex(self, request: Request) -> Measure:
        measure = self.measure(request)
        check_flex(self._read(request))
        return measure

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Upload the input file, from a temporary file on disk, unless the requests are sent inside the create call.

        Raises:
            ProviderUnavailable: Nothing was stored; try again later.
            SubmissionRefused: The upload was refused, or there is no API key.
        """
        model = self._read(requests[0]).model
        async with open_temp_file() as file:
            size = await asyncio.to_thread(self._write, requests, file)
            name = await self._upload(key, file) if size + _FRAME * len(requests) > self._inline_bytes else None
        upload: dict[str, JSON] = {"input_file": name, "model": model, "uploaded_at": int(time.time())}
        if name is None:
            upload["messages"] = self._messages(requests)
        return upload

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        """Create the batch, once.

        Raises:
            ProviderUnavailable: It was not created; try again later.
            SubmissionUnknown: It may have been created.
            SubmissionRefused: It was not created and will not be.
        """
        upload = read_upload(prepared)
        sent_at = int(time.time())
        source, options = self._source(upload, requests)
        config = types.CreateBatchJobConfig(display_name=key, http_options=options)
        try:
            created = await self._clients.call(
                "batches.create",
                lambda client: client.aio.batches.create(model=upload["model"], src=source, config=config),
                "requests",
            )
        except Exception as error:
            raise failure.of_create("creating the batch", error, age=time.time() - upload["uploaded_at"]) from error
        job = read_job({"name": created.name})
        if job is None:
            raise SubmissionUnknown(
                "the response to the create call contains no batch; whether it exists will be looked up"
            )
        return write_handle(job, key, upload, created_at=sent_at)

    def _id(self, handle: JSON) -> str:
        return checked_resource(read_handle(handle)["name"], "batches")

    def _titled(self, batch: str) -> str:
        return batch

    async def _look(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        known = read_handle(handle)
        try:
            seen = await self._clients.read("batches.get", known["name"], carries="answer")
        except Exception as error:
            if failure.is_gone(error):
                return self._history.not_found(known["name"], known["created_at"])
            raise failure.unavailable(f"polling {known['name']}", error) from error
        job = read_job(seen)
        if job is None:
            raise ProviderUnavailable(f"the response to polling {known['name']} contains no batch")
        self._history.saw(job.name, job.state, is_known=job.is_known)
        if job.end is None or (job.awaits_results and self._history.waits(job.name)):
            return job.progress()
        usage_total = GeminiUsageTotal(known["model"])
        messages = known.get("messages", False)
        places = messages if isinstance(messages, bool) else frozenset(messages)
        results = await fetch(self._clients, job.responses_file) if job.responses_file is not None else None
        outcomes = read_outcomes(self._clients, job, results, requests, usage_total, messages=places)
        return Ended(outcomes, missing=job.missing(), usage=usage_total.total)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """Return the handles of the batches that were created for a key, oldest first.

        Raises:
            ProviderUnavailable: The API is unreachable, or the result is not certain yet.
        """
        upload = read_upload(prepared)
        found = await search(self._clients, key, upload)
        return [write_handle(job, key, upload, created_at=job.created_at) for job in found]

    async def fence(self, prepared: JSON) -> None:
        """Delete the input file, so that a create call still under way fails unpaid. Idempotent.

        A batch with inline requests has no file: wait for it during `inline_doubt`.

        Raises:
            ProviderUnavailable: Try again later.
        """
        upload = read_upload(prepared)
        if (name := upload["input_file"]) is not None:
            try:
                await self._delete(name)
            except Exception as error:
                raise failure.unavailable(f"deleting the input file {name}", error) from error
            return
        left = upload["uploaded_at"] + self._inline_doubt.total_seconds() - time.time()
        if left > 0:
            raise ProviderUnavailable(
                f"the batch may have been created, but the API does not show it; it is looked for "
                f"{left:.0f} more seconds before its requests are sent again"
            )

    async def _cancel(self, batch: str) -> None:
        config = types.CancelBatchJobConfig(http_options=once())
        await self._clients.call("batches.cancel", lambda client: client.aio.batches.cancel(name=batch, config=config))

    def _forget(self, batch: str) -> None:
        self._history.forget(batch)

    async def _delete_batch(self, handle: JSON) -> None:
        known = read_handle(handle)
        job = read_job(await self._clients.read("batches.get", known["name"], carries="answer"))
        for name in (known["input_file"], job and job.responses_file):
            if name:
                await self._delete(name)

    @property
    def vendor(self) -> str | None:
        """Whose prices these are."""
        return "google"

    def ask(self, request: Request) -> Ask:
        """Return a request's model, and the body that is posted.

        Raises:
            RequestRefused: It is no request.
        """
        call = self._read(request)
        return Ask(call.model, call.body)

    def _read(self, request: Request) -> GeminiCall:
        call = read_item(request.item, self._defaults)
        check(self._allow, request.item, request.item, model=call.model)
        return call

    def _messages(self, requests: Sequence[Request]) -> JSON:
        """Return whether all answers are to be messages, or the places of those: a result may not name its request."""
        places: list[JSON] = [place for place, each in enumerate(requests) if self._read(each).wants_message]
        return bool(places) if len(places) in (0, len(requests)) else places

    def _write(self, requests: Sequence[Request], file: IO[bytes]) -> int:
        file.writelines(self._read(request).line(request.id) for request in requests)
        size = file.tell()
        file.seek(0)
        return size

    async def _upload(self, key: str, file: IO[bytes]) -> str:
        config = types.UploadFileConfig(mime_type="application/jsonl", display_name=key, http_options=once())
        given: Any = MmapReader(file)
        try:
            uploaded = await self._clients.call(
                "files.upload", lambda client: client.aio.files.upload(file=given, config=config), "requests"
            )
        except Exception as error:
            raise failure.of_upload("uploading the input file", error) from error
        if not is_resource(uploaded.name, "files"):
            raise ProviderUnavailable("the response to the upload contains no file; check the client's base_url")
        return uploaded.name

    def _source(
        self, upload: GeminiUpload, requests: Sequence[Request]
    ) -> tuple[types.BatchJobSource, types.HttpOptions]:
        """Return the source of the requests, and the options of the create call.

        Requests bypass the SDK's types, which know fewer fields than the API and refuse the others.
        """
        options = once()
        if (name := upload["input_file"]) is not None:
            return types.BatchJobSource(file_name=name), options
        inlined = [self._read(request).inlined(request.id) for request in requests]
        options.extra_body = {"batch": {"inputConfig": {"requests": {"requests": inlined}}}}
        return types.BatchJobSource(inlined_requests=[]), options

    async def _delete(self, name: str) -> None:
        checked_resource(name, "files")
        config = types.DeleteFileConfig(http_options=once())
        try:
            await self._clients.call("files.delete", lambda client: client.aio.files.delete(name=name, config=config))
        except Exception as error:
            if not failure.is_gone(error):
                raise
