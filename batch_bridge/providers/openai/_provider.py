"""OpenAI's Batch API, and compatible servers."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, cast, get_args

from openai import omit
from openai.types import FileObject

from batch_bridge._core.durations import Within
from batch_bridge._core.models import JSON, Ended, InProgress, Limits, LineFrame, Measure, Request, Serialized
from batch_bridge._core.outcomes import Chunks
from batch_bridge._core.policy.lanes import no_lane
from batch_bridge._core.provider import knows_conversations
from batch_bridge._core.wording import log_text as _logged
from batch_bridge._money import Ask
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers._realtime.provider import ATTEMPTS, CONCURRENCY, Realtime
from batch_bridge.providers._shared.allow import Allowed, check, read_allow
from batch_bridge.providers._shared.batch_api import BatchAPIProvider
from batch_bridge.providers._shared.http.response_limits import USUAL, ResponseLimits
from batch_bridge.providers._shared.ids import checked, is_id
from batch_bridge.providers._shared.lanes import Lanes
from batch_bridge.providers._shared.poll_history import PollHistory
from batch_bridge.providers._shared.results.temp_file import MmapReader, open_temp_file
from batch_bridge.providers.openai import _failure as failure
from batch_bridge.providers.openai._batch_calls import BatchCalls
from batch_bridge.providers.openai._call import OpenAICall, read_item
from batch_bridge.providers.openai._clients import OpenAIClients, Own, is_at_azure
from batch_bridge.providers.openai._dialects import OPENAI, Name, quirks_of
from batch_bridge.providers.openai._download import fetch, read_outcomes
from batch_bridge.providers.openai._endpoint import EMBEDDINGS, MODERATIONS
from batch_bridge.providers.openai._handle import after, read_handle, read_upload, write_handle
from batch_bridge.providers.openai._lines import OpenAILines
from batch_bridge.providers.openai._realtime import OpenAICaller, check_flex
from batch_bridge.providers.openai._search import search
from batch_bridge.providers.openai._settings import OpenAISettings, read_defaults
from batch_bridge.providers.openai._tokenizer import TOKENIZER
from batch_bridge.providers.openai._windows.call import WindowCall, read_call
from batch_bridge.providers.openai._windows.provider import OnUnknown, OpenAIWindow, Window

LIMITS: Final = OPENAI.limits
"""What one batch may hold.

Source: platform.openai.com/docs/guides/batch, "Batch API limits": 50,000 requests and 200 MB a file.
"""
LANES_OF: Final = {
    "openai": ("batch", "window:8h", "window:2h", "flex", "realtime"),
    "azure": ("batch", "flex", "realtime"),
}
"""Servers with more lanes than batches and realtime. Groq's flex tier has the standard price."""
NO_OUTPUT: Final = (EMBEDDINGS, MODERATIONS)
"""Where no tokens are answered."""
EMBEDDING_INPUTS: Final = 50_000
"""The limit of texts in an embeddings batch.

Source: OpenAI API reference, "Create batch", `endpoint`.
"""


class OpenAIBatch(Lanes, BatchAPIProvider[OpenAIClients]):
    """Answers requests through OpenAI's Batch API, or a compatible server.

    An item is a list of messages (dicts, or LangChain messages), a request body, or a whole line (`method`, `url`,
    `body`; its `custom_id` is not used, and a `client` that `wrap_openai` names in it must use the same API as this
    one). The answer is the response's body as a dict, or an `AIMessage` if the item contained LangChain messages.

    Args:
        client: An `AsyncOpenAI` (or `AsyncAzureOpenAI`), which the caller closes; or a function that returns a
            new one and is called once for each event loop, `OpenAIBatch(lambda: AsyncOpenAI(http_client=…))`,
            because an `http_client=` of your own works in one loop only. Without it, clients are created when they are
            needed, from `OPENAI_API_KEY` and the SDK's other environment variables. Its `max_retries` is not
            used: the engine knows which calls are safe to repeat.
        model: The model of items that name none.
        endpoint: The endpoint of items that name none, such as `"/v1/responses"` for lists of messages.
        defaults: Fields for bodies that do not have them, such as `{"temperature": 0}`.
        completion_window: As in the API; `None` is the API's default, or 24 hours.
        metadata: Up to 15 pairs for every batch, in addition to our own key.
        delete_files: Delete a batch's input, output and error file once its outcomes are stored.
        files_expire_after: When the API may delete an input file; it keeps them for 30 days.
        output_expires_after: When the API may delete the output and error files.
        limits: The limits of one batch, if they differ from those of OpenAI, or of the row of `quirks`.
        responses: Limits for the server's responses: sizes, times, hosts.
        allow: Restricts items that contain user input: `Allow(models=…, endpoints=…, fields=…)`, or
            `"messages"` for lists of messages only. `None` allows everything.
        quirks: A compatible server that differs from OpenAI: `"groq"`, `"together"`, `"mistral"`,
            `"doubleword"` or `"vllm"`. Without a client, one is created for that server, with the key in
            `GROQ_API_KEY` and so on. For Azure use `AzureOpenAIBatch`; a client of Azure's is recognised.

    Attributes:
        limits: The limits of one batch.
        calls: The number of API calls by their name in the SDK, such as `"batches.retrieve"`.

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
        endpoint: str | None = None,
        defaults: Mapping[str, object] | None = None,
        completion_window: str | None = None,
        metadata: Mapping[str, str] | None = None,
        delete_files: bool = False,
        files_expire_after: Within = None,
        output_expires_after: Within = None,
        limits: Limits | None = None,
        responses: ResponseLimits | None = None,
        allow: Allowed = None,
        quirks: Name = "openai",
    ) -> None:
        self._tokenizer = TOKENIZER
        self._quirks = quirks_of("azure" if quirks == "openai" and is_at_azure(client) else quirks)
        limits = limits or self._quirks.limits
        super().__init__(OpenAIClients(client, self._quirks, responses or USUAL), limits, deletes=delete_files)
        self._allow = read_allow("OpenAIBatch", allow)
        self._settings = OpenAISettings(
            endpoint=endpoint,
            defaults=read_defaults(defaults, model),
            completion_window=completion_window or self._quirks.window,
            metadata=dict(metadata or {}),
            files_expire_after=files_expire_after,  # type: ignore[arg-type]  # it is parsed there
            output_expires_after=output_expires_after,  # type: ignore[arg-type]
            quirks=self._quirks,
        )
        self.results_life = self._settings.output_expires_after
        self._batches = BatchCalls(self._clients, self._quirks, self._settings)
        self._bytes_an_input = -(-(limits.bytes or 0) // EMBEDDING_INPUTS)
        self._history = PollHistory()
        self._lines = OpenAILines(self, self._read, self._quirks)

    def __repr__(self) -> str:
        model = self._settings.defaults.get("model")
        return f"OpenAIBatch(model={model!r})" if model else "OpenAIBatch()"

    def conversations(self) -> tuple[LineFrame, str] | None:
        """Return the line and the group of every conversation, if they are known."""
        return self._lines.of_conversations()

    @knows_conversations
    def measure(self, request: Request) -> Measure:
        """Return a request's endpoint and model, which a batch may not mix, and the exact length of its line.

        An embedding request counts at least its texts' share of a batch's limit of texts, so that the
        byte limit enforces that one too.

        Raises:
            RequestRefused: It is not a request, or a batch does not support it.
        """
        if type(request) is Serialized and request.is_conversation and (known := self.conversations()) is not None:
            line, group = known
            return Measure(group, line.size(request), line)
        kind = request.kind if type(request) is Serialized else None
        if kind is not None and type(request) is Serialized and (seen := self._lines.of_kind(kind)) is not None:
            line, group = seen
            return Measure(group, line.size(request), line)
        item = request.item
        self._clients.check(item)
        call = self._read_item(item)
        written = call.line(request.id, self._quirks)
        size = len(written)
        if call.endpoint == EMBEDDINGS:
            size = max(size, call.inputs() * self._bytes_an_input)
        frame = self._lines.around_body(request, written) if type(request) is Serialized else None
        group = f"{call.endpoint} {call.model}"
        if kind is not None and frame is not None and call.endpoint not in NO_OUTPUT:
            self._lines.note_kind(kind, frame, group)
        return Measure(group, size, frame)

    def tokens(self, request: Request) -> int | None:
        """Return a request's tokens, counted by tiktoken if it is installed and has the model's encoding on disk."""
        call = self._read(request)
        return self._tokenizer.count(call.model, call.body)

    def identity(self, request: Request) -> bytes:
        """Return what decides a request's answer: the whole body, the endpoint, and where the client sends it.

        It contains no secret: neither the key nor a password in the base URL. Called on an event loop.

        Raises:
            RequestRefused: It is not a request.
            ProviderError: There is no API key.
        """
        return self._read(request).identity(self._clients.place())

    def realtime(self, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Realtime:
        """Return a provider that answers in realtime, through the ordinary endpoints and at full price.

        Args:
            concurrency: The number of concurrent calls in one event loop.
            attempts: Attempts for a request that failed temporarily (408, 409, 429, 5xx) or could not be sent.

        Raises:
            ValueError: An argument is not a positive integer.
        """
        caller = OpenAICaller(self._clients.twin(), self._read)
        return Realtime.of(self, caller, concurrency=concurrency, attempts=attempts)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The ways in which it answers, each at a price; see `lane`."""
        return LANES_OF.get(self._quirks.name, ("batch", "realtime"))

    def flex(self, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Realtime:
        """Return a provider that answers by calls of the flex tier, at the price of a batch, in minutes.

        Calls that are refused for want of capacity are not billed, and are made again for a day without counting as
        attempts; the number of calls at a time follows the capacity.

        Args:
            concurrency: The most concurrent calls in one event loop.
            attempts: Attempts for a request that failed temporarily for another reason, or could not be sent.

        Raises:
            ValueError: An argument is not a positive integer, or the provider has no flex tier.
        """
        if "flex" not in self.lanes:
            raise no_lane(self, "flex")
        caller = OpenAICaller(self._clients.twin(), self._read, "flex")
        measure = self._measure_flex
        return Realtime.of(self, caller, concurrency=concurrency, attempts=attempts, tier="flex", measure=measure)

    def window(self, window: Window = "2h", *, on_unknown: OnUnknown = "fail") -> OpenAIWindow:
        """Return a provider that answers by responses in the background, 30 % (2h) or 40 % (8h) below standard.

        The requests of one thread carry one continuation id, by which the API moves its next steps up.

        Args:
            window: `"2h"` or `"8h"`: a target, from when the API has accepted a response.
            on_unknown: What becomes of a request whose create call had no answer. Responses cannot be listed, so it
                fails with the code `submission_unknown`; with `"pay_again"` it is sent again, may be paid twice, and is
                counted in `Report.resubmitted`.

        Raises:
            ValueError: There is no such window, the argument is unknown, or the provider has no windows.
        """
        if f"window:{window}" not in self.lanes:
            raise no_lane(self, f"window:{window}")
        if on_unknown not in get_args(OnUnknown):
            raise ValueError(f'window(on_unknown={on_unknown!r}) is unknown; pass "fail" or "pay_again"')
        return OpenAIWindow(self, self._clients.twin(), self._read_window, window, on_unknown)

    def _read_window(self, request: Request) -> WindowCall:
        return read_call(request.item, self._read(request), self._settings.defaults)

    def _measure_flex(self, request: Request) -> Measure:
        measure = self.measure(request)
        check_flex(self._read(request))
        return measure

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Upload the input file: from memory where its lines are there, else from a temporary file on disk.

        Raises:
            ProviderUnavailable: Nothing was stored; try again later.
            SubmissionRefused: The upload was refused, or there is no API key.
        """
        first = self._read(requests[0])
        try:
            if (lines := self._lines.reader(requests)) is not None:
                uploaded = await self._upload(key, cast("IO[bytes]", lines))
            else:
                async with open_temp_file() as file:
                    await asyncio.to_thread(self._write, requests, file)
                    uploaded = await self._upload(key, cast("IO[bytes]", MmapReader(file)))
        except Exception as error:
            raise failure.of_upload("uploading the input file", error) from error
        if not is_id(getattr(uploaded, "id", None)):
            raise ProviderUnavailable("the response to the upload contains no file; check the client's base_url")
        return {
            "input_file_id": uploaded.id,
            "endpoint": first.endpoint,
            "model": first.model,
            "uploaded_at": getattr(uploaded, "created_at", None) or int(time.time()),
        }

    async def _upload(self, key: str, content: IO[bytes]) -> FileObject:
        life = self._settings.files_expire_after
        return await self._clients.call(
            "files.create",
            lambda client: client.files.create(
                file=(f"{key}.jsonl", content, "application/jsonl"),
                purpose=cast("Any", self._quirks.purpose),
                expires_after=omit if life is None else after(life),
            ),
            "requests",
        )

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:  # noqa: ARG002
        """Create the batch, once.

        Raises:
            ProviderUnavailable: It was not created; try again later.
            SubmissionUnknown: It may have been created.
            SubmissionRefused: It was not created and will not be.
        """
        upload = read_upload(prepared)
        sent_at = int(time.time())
        age = sent_at - upload["uploaded_at"]
        if self._quirks.awaits_files:
            await self._await_file(upload["input_file_id"], age)
        try:
            batch = await self._batches.create(key, upload)
        except Exception as error:
            raise failure.of_create("creating the batch", error, age=age) from error
        if batch is None:
            raise SubmissionUnknown(
                "the response to the create call contains no batch; whether it exists will be looked up"
            )
        return write_handle(batch, key, upload, created_at=sent_at)

    def _id(self, handle: JSON) -> str:
        return read_handle(handle)["id"]

    async def _look(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        known = read_handle(handle)
        batch_id = known["id"]
        try:
            batch = await self._batches.retrieve(batch_id, model=known["model"])
        except Exception as error:
            if failure.is_gone(error):
                return self._history.not_found(batch_id, known["created_at"])
            raise failure.unavailable(f"polling batch {batch_id}", error) from error
        if batch is None:
            raise ProviderUnavailable(
                f"the response to polling batch {batch_id} contains no batch; check the client's base_url"
            )
        self._history.saw(batch_id, batch.status, is_known=batch.is_known)
        if batch.end is None or (batch.awaits_file and self._history.waits(batch_id)):
            return batch.progress()
        files = await fetch(self._clients, batch)
        outcomes = Chunks(read_outcomes(self._clients, batch, files, requests))
        return Ended(outcomes, missing=batch.missing(), usage=batch.usage)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """Return the handles of the batches that were created for a key, oldest first.

        Raises:
            ProviderUnavailable: The API is unreachable, or the result is not certain yet.
            SubmissionUnknown: The server cannot list batches.
        """
        upload = read_upload(prepared)
        found = await search(self._clients, self._batches, key, upload)
        return [write_handle(batch, key, upload, created_at=batch.created_at) for batch in found]

    async def fence(self, prepared: JSON) -> None:
        """Delete the input file, so that a create call still under way fails unpaid. Idempotent.

        Raises:
            ProviderUnavailable: Try again later.
            SubmissionUnknown: The server cannot delete files.
        """
        file_id = read_upload(prepared)["input_file_id"]
        try:
            await self._delete(file_id)
        except Exception as error:
            if failure.is_unsupported(error):
                raise SubmissionUnknown(
                    f"this server cannot delete files, so a create call that is still under way cannot be stopped "
                    f"({failure.unavailable('the deletion', error)})"
                ) from error
            raise failure.unavailable(f"deleting the input file {file_id}", error) from error

    async def _cancel(self, batch: str) -> None:
        await self._batches.cancel(batch)

    def _forget(self, batch: str) -> None:
        self._history.forget(batch)

    async def _delete_batch(self, handle: JSON) -> None:
        batch = await self._batches.retrieve(self._id(handle))
        if batch is not None:
            for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
                if file_id is not None:
                    await self._delete(file_id)

    @property
    def vendor(self) -> str | None:
        """Whose prices these are; `None` for servers that one runs oneself."""
        return self._quirks.name if self._quirks.has_prices else None

    def ask(self, request: Request) -> Ask:
        """Return a request's model, and the body that is posted.

        Raises:
            RequestRefused: It is no request.
        """
        call = self._read(request)
        has_output = call.endpoint not in NO_OUTPUT
        return Ask(call.model, call.body, has_output)

    def _read(self, request: Request) -> OpenAICall:
        return self._read_item(request.item)

    def _read_item(self, item: JSON) -> OpenAICall:
        call = read_item(item, self._settings.defaults, self._settings.endpoint)
        body = item.get("body", item) if type(item) is dict else item
        check(self._allow, item, body, model=call.model, endpoint=call.endpoint)
        if call.endpoint not in self._quirks.endpoints:
            known = ", ".join(self._quirks.endpoints)
            raise RequestRefused(
                f"the request cannot be sent: batches of {self._quirks.name} do not support {call.endpoint}; "
                f"they support {known}"
            )
        return call

    async def _await_file(self, file_id: str, age: float) -> None:
        """Check that a file can be used.

        Raises:
            ProviderUnavailable: Not yet, or the API is unreachable.
            SubmissionRefused: It was not accepted.
        """
        try:
            file = await self._clients.call("files.retrieve", lambda client: client.files.retrieve(file_id))
        except Exception as error:
            doing = f"looking up the input file {file_id}"
            if failure.is_unseen(error, age):
                raise failure.unavailable(doing, error) from error
            raise failure.of_upload(doing, error) from error
        status = str(getattr(file, "status", None) or "processed")
        if status in ("error", "failed"):
            why = getattr(file, "status_details", None) or "no reason was given"
            refused = SubmissionRefused(f"the input file {file_id} was not accepted: {why}", code="file_not_processed")
            raise _logged.logged_as(refused, f"the input file {file_id} was not accepted")
        if status != "processed":
            raise ProviderUnavailable(f"the input file {file_id} is {status}, and cannot be used for a batch yet")

    def _write(self, requests: Sequence[Request], file: IO[bytes]) -> None:
        file.writelines(map(self._lines.write, requests))
        file.seek(0)  # writes out what is buffered, too: the upload's length is read from the file

    async def _delete(self, file_id: str) -> None:
        checked(file_id, "file")
        try:
            await self._clients.call("files.delete", lambda client: client.files.delete(file_id))
        except Exception as error:
            if not failure.is_gone(error):
                raise
