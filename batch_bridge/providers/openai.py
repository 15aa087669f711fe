"""OpenAI's Batch API, and the servers that speak like it."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, cast

from openai import omit

from batch_bridge import _logged
from batch_bridge._closing import close_all
from batch_bridge._duration import Within
from batch_bridge._models import JSON, Ended, InProgress, Limits, Measure, Request
from batch_bridge._money import Ask
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers import _openai_failure as failure
from batch_bridge.providers._allow import Allowed, check, read_allow
from batch_bridge.providers._background import Background
from batch_bridge.providers._ids import checked, is_id
from batch_bridge.providers._openai_call import Call, read_item
from batch_bridge.providers._openai_calls import BatchCalls
from batch_bridge.providers._openai_clients import Clients, Own
from batch_bridge.providers._openai_download import fetch, read_outcomes
from batch_bridge.providers._openai_endpoint import EMBEDDINGS, MODERATIONS
from batch_bridge.providers._openai_handle import Handle, after, read_handle, read_upload, write_handle
from batch_bridge.providers._openai_quirks import OPENAI, Name, quirks_of
from batch_bridge.providers._openai_realtime import Caller
from batch_bridge.providers._openai_search import search
from batch_bridge.providers._openai_settings import Settings, read_defaults
from batch_bridge.providers._realtime import ATTEMPTS, CONCURRENCY, Realtime
from batch_bridge.providers._response_limits import USUAL, ResponseLimits
from batch_bridge.providers._spool import Mapped, spool
from batch_bridge.providers._tokens import TOKENIZER
from batch_bridge.providers._watch import Watch

LIMITS: Final = OPENAI.limits
"""What one batch may hold.

Source: platform.openai.com/docs/guides/batch, "Batch API limits": 50,000 requests and 200 MB a file.
"""
VENDORS: Final = ("openai", "azure", "groq", "together", "mistral")
"""Who has prices of their own, by the names that `genai-prices` knows too."""
NO_OUTPUT: Final = (EMBEDDINGS, MODERATIONS)
"""Where no tokens are answered."""
EMBEDDING_INPUTS: Final = 50_000
"""Texts that an embeddings batch may hold in all.

Source: OpenAI API reference, "Create batch", `endpoint`.
"""


class OpenAIBatch:
    """Answers requests through OpenAI's Batch API, or a server that speaks like it.

    An item is a list of messages (dicts, or LangChain messages), a request body, or a whole line (`method`, `url`,
    `body`; a `custom_id` in it is not used, and the `client` that `wrap_openai` names in it must speak to whom this one
    speaks). The answer is the response's body as a dict, and an `AIMessage` where the item held LangChain messages.

    Args:
        client: An `AsyncOpenAI` (or `AsyncAzureOpenAI`), which stays the caller's to close; or a function that makes a
            new one each time, called once for each event loop: `OpenAIBatch(lambda: AsyncOpenAI(http_client=…))`,
            since an `http_client=` of your own cannot be used in two. Without one, clients are made when they are
            needed, from `OPENAI_API_KEY` and what else the SDK reads from the environment. Its `max_retries` is not
            used: the engine knows which calls are safe to repeat.
        model: For items that name none.
        endpoint: Where an item goes that does not say, such as `"/v1/responses"` for lists of messages.
        defaults: Fields for bodies that do not have them, such as `{"temperature": 0}`.
        completion_window: As the API takes it; `None` is what the API allows, or 24 hours.
        metadata: Up to 15 pairs for every batch, beside our own key.
        delete_files: Delete a batch's input, output and error file once its outcomes are stored.
        files_expire_after: When the API may delete an input file; it keeps them for 30 days.
        output_expires_after: When the API may delete the output and error files.
        limits: What one batch may hold, where it is not what OpenAI, or the row of `quirks`, allows.
        responses: What is taken from the server at most: sizes, times, hosts.
        allow: What items may ask for, where they hold what users wrote: `Allow(models=…, endpoints=…, fields=…)`, or
            `"messages"` for lists of messages alone. `None` is anything.
        quirks: Who it is that speaks like OpenAI, where it differs: `"groq"`, `"together"`, `"mistral"`,
            `"doubleword"` or `"vllm"`. Without a client, one is made for that address, with the key in
            `GROQ_API_KEY` and so on. For Azure there is `AzureOpenAIBatch`.

    Attributes:
        limits: What one batch may hold.
        calls: How often each call of the API was made, by its name in the SDK, such as `"batches.retrieve"`.

    Raises:
        TypeError: The client is not an asynchronous one, or another argument is not what it should be.
        ValueError: The API would not take an argument.
    """

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
        self._quirks = quirks_of(quirks)
        self.limits = limits = limits or self._quirks.limits
        self._clients = Clients(client, self._quirks, responses or USUAL)
        self._background = Background()
        self._allow = read_allow("OpenAIBatch", allow)
        self._settings = Settings(
            endpoint=endpoint,
            defaults=read_defaults(defaults, model),
            completion_window=completion_window or self._quirks.window,
            metadata=dict(metadata or {}),
            delete_files=delete_files,
            files_expire_after=files_expire_after,  # type: ignore[arg-type]  # it is parsed there
            output_expires_after=output_expires_after,  # type: ignore[arg-type]
            quirks=self._quirks,
        )
        self._batches = BatchCalls(self._clients, self._quirks, self._settings)
        self._bytes_an_input = -(-(limits.bytes or 0) // EMBEDDING_INPUTS)
        self._watch = Watch()

    def __repr__(self) -> str:
        model = self._settings.defaults.get("model")
        return f"OpenAIBatch(model={model!r})" if model else "OpenAIBatch()"

    @property
    def calls(self) -> Counter[str]:
        """How often each call of the API was made."""
        return self._clients.calls

    def measure(self, request: Request) -> Measure:
        """Tell a request's endpoint and model, which a batch may not mix, and the exact length of its line.

        An embedding request weighs no less than its texts' share of what a batch may hold of them: so the
        limit of bytes keeps that one too.

        Raises:
            RequestRefused: It is no request, or a batch cannot hold it.
        """
        self._clients.check(request.item)
        call = self._read(request)
        size = len(call.line(request.id, self._quirks))
        if call.endpoint == EMBEDDINGS:
            size = max(size, call.inputs() * self._bytes_an_input)
        return Measure(f"{call.endpoint} {call.model}", size)

    def tokens(self, request: Request) -> int | None:
        """Count a request's tokens with tiktoken, where it is installed and has the model's encoding on the disk."""
        call = self._read(request)
        return TOKENIZER.count(call.model, call.body)

    def identity(self, request: Request) -> bytes:
        """Return what decides a request's answer: the whole body, the endpoint, and where the client sends it.

        No secret is in it: neither the key nor a password in the base URL. Called on an event loop.

        Raises:
            RequestRefused: It is no request.
            ProviderError: There is no API key.
        """
        return self._read(request).identity(self._clients.place())

    def realtime(self, *, concurrency: int = CONCURRENCY, attempts: int = ATTEMPTS) -> Realtime:
        """Return the twin that answers at once, through the ordinary endpoints, for the full price.

        Args:
            concurrency: Calls at the same time, in one event loop.
            attempts: Tries of one request that was refused for now (408, 409, 429, 5xx) or could not be sent.

        Raises:
            ValueError: One of them is no whole number from 1.
        """
        caller = Caller(self._clients.twin(), self._read)
        return Realtime.of(self, caller, concurrency=concurrency, attempts=attempts)

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        """Upload the input file, from a temporary file on disk.

        Raises:
            ProviderUnavailable: Nothing was kept; later.
            SubmissionRefused: The upload was refused, or there is no API key.
        """
        first = self._read(requests[0])
        life = self._settings.files_expire_after
        try:
            async with spool() as file:
                await asyncio.to_thread(self._write, requests, file)
                content = cast("IO[bytes]", Mapped(file))
                uploaded = await self._clients.call(
                    "files.create",
                    lambda client: client.files.create(
                        file=(f"{key}.jsonl", content, "application/jsonl"),
                        purpose=cast("Any", self._quirks.purpose),
                        expires_after=omit if life is None else after(life),
                    ),
                    "requests",
                )
        except Exception as error:
            raise failure.of_upload("uploading the input file", error) from error
        if not is_id(getattr(uploaded, "id", None)):
            raise ProviderUnavailable("uploading the input file was answered with no file; check the client's base_url")
        return {
            "input_file_id": uploaded.id,
            "endpoint": first.endpoint,
            "model": first.model,
            "uploaded_at": getattr(uploaded, "created_at", None) or int(time.time()),
        }

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:  # noqa: ARG002
        """Create the batch, once.

        Raises:
            ProviderUnavailable: It was not created; later.
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
                "creating the batch was answered with no batch; whether it exists will be looked up"
            )
        return write_handle(batch, key, upload, created_at=sent_at)

    async def poll(self, handle: JSON, members: Sequence[str]) -> InProgress | Ended:
        """Retrieve the batch; if it has ended, fetch its files, from which its outcomes are read.

        What takes more than a moment goes on in the background, so that other batches need not wait for it.

        Raises:
            ProviderUnavailable: The API could not be asked, or took no key; what was paid for is still there.
            ResponseRejected: What the server sent is not taken; the same holds.
        """
        known = read_handle(handle)
        return await self._background.look(known["id"], lambda: self._look(known, members))

    async def _look(self, known: Handle, members: Sequence[str]) -> InProgress | Ended:
        batch_id = known["id"]
        try:
            batch = await self._batches.retrieve(batch_id, model=known["model"])
        except Exception as error:
            if failure.is_gone(error):
                return self._watch.not_found(batch_id, known["created_at"])
            raise failure.unavailable(f"polling batch {batch_id}", error) from error
        if batch is None:
            raise ProviderUnavailable(
                f"polling batch {batch_id} was answered with no batch; check the client's base_url"
            )
        self._watch.saw(batch_id, batch.status, is_known=batch.is_known)
        if batch.end is None or (batch.awaits_file and self._watch.waits(batch_id)):
            return batch.progress()
        files = await fetch(self._clients, batch)
        outcomes = read_outcomes(self._clients, batch, files, members)
        return Ended(outcomes, missing=batch.missing(), usage=batch.usage)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        """Return the handles of the batches that were created for a key, oldest first.

        Raises:
            ProviderUnavailable: The API could not be asked, or it is too early to tell.
            SubmissionUnknown: The server cannot list batches.
        """
        upload = read_upload(prepared)
        found = await search(self._clients, self._batches, key, upload)
        return [write_handle(batch, key, upload, created_at=batch.created_at) for batch in found]

    async def fence(self, prepared: JSON) -> None:
        """Delete the input file, without which a batch that is still on its way fails unpaid. Idempotent.

        Raises:
            ProviderUnavailable: Later.
            SubmissionUnknown: The server cannot delete files.
        """
        file_id = read_upload(prepared)["input_file_id"]
        try:
            await self._delete(file_id)
        except Exception as error:
            if failure.is_unsupported(error):
                raise SubmissionUnknown(
                    f"this server cannot delete files, so a batch that is still on its way cannot be stopped "
                    f"({failure.unavailable('the deletion', error)})"
                ) from error
            raise failure.unavailable(f"deleting the input file {file_id}", error) from error

    async def cancel(self, handle: JSON) -> None:
        """Ask that the batch be stopped; one that has ended, or is gone, is no error."""
        batch_id = read_handle(handle)["id"]
        try:
            await self._batches.cancel(batch_id)
        except Exception as error:
            if not failure.is_ended(error):
                raise failure.unavailable(f"cancelling batch {batch_id}", error) from error

    async def release(self, handle: JSON) -> None:
        """Delete the batch's files, if that was asked for, and let go of what is remembered of it."""
        batch_id = read_handle(handle)["id"]
        self._watch.forget(batch_id)
        self._background.forget(batch_id)
        if not self._settings.delete_files:
            return
        try:
            batch = await self._batches.retrieve(batch_id)
            if batch is not None:
                for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
                    if file_id is not None:
                        await self._delete(file_id)
        except Exception as error:
            if not failure.is_gone(error):
                raise failure.unavailable(f"deleting the files of batch {batch_id}", error) from error

    async def aclose(self) -> None:
        """Close the client that was made here for this event loop; never the caller's own."""
        await close_all((self._background.close, self._clients.aclose))

    @property
    def vendor(self) -> str | None:
        """Whose prices these are; `None` for servers that one runs oneself."""
        name = self._quirks.name
        return name if name in VENDORS else None

    def ask(self, request: Request) -> Ask:
        """Return whom a request asks, and what is posted.

        Raises:
            RequestRefused: It is no request.
        """
        call = self._read(request)
        has_output = call.endpoint not in NO_OUTPUT
        return Ask(call.model, call.body, has_output)

    def _read(self, request: Request) -> Call:
        item = request.item
        call = read_item(item, self._settings.defaults, self._settings.endpoint)
        body = item.get("body", item) if type(item) is dict else item
        check(self._allow, item, body, model=call.model, endpoint=call.endpoint)
        if call.endpoint not in self._quirks.endpoints:
            known = ", ".join(self._quirks.endpoints)
            raise RequestRefused(
                f"the request cannot be sent: batches of {self._quirks.name} do not take {call.endpoint}; "
                f"they take {known}"
            )
        return call

    async def _await_file(self, file_id: str, age: float) -> None:
        """Pass if a file can be used.

        Raises:
            ProviderUnavailable: Not yet, or the API could not be asked.
            SubmissionRefused: It never can.
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
            raise ProviderUnavailable(f"the input file {file_id} is {status}, and no batch can be made of it yet")

    def _write(self, requests: Sequence[Request], file: IO[bytes]) -> None:
        file.writelines(self._read(request).line(request.id, self._quirks) for request in requests)
        file.seek(0)  # writes out what is buffered, too: the upload's length is read from the file

    async def _delete(self, file_id: str) -> None:
        checked(file_id, "file")
        try:
            await self._clients.call("files.delete", lambda client: client.files.delete(file_id))
        except Exception as error:
            if not failure.is_gone(error):
                raise
