"""OpenAI's responses in the background, each with a completion window.

Source: developers.openai.com/api/docs/guides/background.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias, cast

import orjson

from batch_bridge._core.answer_gone import AnswerGone
from batch_bridge._core.closing import close_all
from batch_bridge._core.models import (
    JSON,
    Cancelled,
    Ended,
    Errored,
    InProgress,
    Limits,
    Measure,
    Outcome,
    Request,
    Usage,
)
from batch_bridge._core.policy.lanes import LANE
from batch_bridge._core.provider import HasRealtime, Provider
from batch_bridge._money import Ask
from batch_bridge.errors import ProviderUnavailable, SubmissionUnknown
from batch_bridge.providers._shared.clean_text import without_secrets
from batch_bridge.providers._shared.ids import checked
from batch_bridge.providers._shared.item import refuse
from batch_bridge.providers._shared.results.result import loads
from batch_bridge.providers.openai import _failure as failure
from batch_bridge.providers.openai._clients import OpenAIClients
from batch_bridge.providers.openai._realtime import usage_of
from batch_bridge.providers.openai._result import answered
from batch_bridge.providers.openai._windows.call import WindowCall
from batch_bridge.providers.openai._windows.chat import to_completion

Window: TypeAlias = Literal["2h", "8h"]
OnUnknown: TypeAlias = Literal["fail", "pay_again"]
UNKNOWN: Final = "create_unknown"
"""The code of a try whose create call had no answer, and whose request is sent again."""
RETRIEVES: Final = 20
"""Responses that are retrieved in a second at most."""
_SECONDS: Final[Mapping[str, float]] = {"2h": 7_200.0, "8h": 28_800.0}
_SHARE_OF_AGE, _SHARE_OF_WINDOW = 1 / 8, 1 / 60
"""A response is left alone for a share of its age between two retrievals, and no longer than a share of its window."""
_MISSED: Final = 60.0
"""Seconds after which a response that does not use its turn loses it: its caller may no longer wait for it."""
_UNSEEN: Final = 60.0
"""Seconds in which a new response may not be found yet."""
_NOT_LISTED: Final = "the response may have been created, which cannot be looked up"
_PASSING: Final = ("server_error", "rate_limit_exceeded")
_OK: Final = 200


class OpenAIWindow:
    """Answers each request by a response in the background, 30 % or 40 % below the standard price.

    Each request is a batch of its own, so that its id is in the ledger right after it was created. Responses cannot be
    listed: one whose create call had no answer cannot be found again.

    Args:
        batch: Whose requests these are.
        clients: Where the client of the running loop comes from.
        read: A request as a call of the Responses API.
        window: `"2h"` or `"8h"`.
        on_unknown: What becomes of a request whose create call had no answer: it fails with `submission_unknown`, or it
            is sent again, and perhaps paid again.
    """

    def __init__(
        self,
        batch: Provider,
        clients: OpenAIClients,
        read: Callable[[Request], WindowCall],
        window: Window,
        on_unknown: OnUnknown,
        *,
        unseen: float = _UNSEEN,
        retrieves: int = RETRIEVES,
    ) -> None:
        self._unseen = unseen
        self._retrieves = retrieves
        self.batch = batch
        self.limits = Limits(requests=1, bytes=batch.limits.bytes)
        self.way = f"window:{window}"
        self.lanes = (self.way,)
        self.vendor: str | None = getattr(batch, "vendor", None)
        self._clients = clients
        self._read = read
        self._window = window
        self._on_unknown = on_unknown
        self._next: dict[str, float] = {}
        self._spent: tuple[float, int] = (-1.0, 0)
        self._turns: dict[str, tuple[int, float]] = {}
        self._tickets = itertools.count()
        self._urgent: set[str] = set()

    def __repr__(self) -> str:
        return f"OpenAIWindow({self._window!r})"

    def realtime(self) -> Provider:
        """Return the provider that answers in realtime."""
        return cast("HasRealtime", self.batch).realtime()

    def identity(self, request: Request) -> bytes:
        """Return what decides a request's answer; as in a batch."""
        return cast("Any", self.batch).identity(request)  # type: ignore[no-any-return]  # see `HasIdentity`

    def ask(self, request: Request) -> Ask:
        """Return a request's model, and the body that is posted."""
        return cast("Any", self.batch).ask(request)  # type: ignore[no-any-return]  # see `HasPrice`

    def measure(self, request: Request) -> Measure:
        """Return a request's model and size.

        Raises:
            RequestRefused: It is no request, or none for a window.
        """
        self.batch.measure(request)
        call = self._read(request)
        return Measure(f"{self.way} {call.model}", len(orjson.dumps(self._body(request, call))))

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:  # noqa: ARG002
        """Prepare nothing; the returned value tells a later process that the create call may follow."""
        return {LANE: self.way, "key": key}

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:  # noqa: ARG002
        """Create the response, once.

        Raises:
            ProviderUnavailable: It was not created; try again later.
            SubmissionUnknown: It may have been created.
            SubmissionRefused: It was not created and will not be.
        """
        (request,) = requests
        call = self._read(request)
        body = self._body(request, call)
        try:
            made = await self._post("responses.create", "/responses", body)
        except Exception as error:
            raise failure.of_create("creating the response", error, unknown=_NOT_LISTED) from error
        if not isinstance(made, dict) or not isinstance(made.get("id"), str):
            raise SubmissionUnknown("the answer to the create call contains no response; whether it exists is unknown")
        return {
            LANE: self.way,
            "id": checked(made["id"], "response"),
            "created_at": int(time.time()),
            "model": call.model,
            "is_chat": call.is_chat,
            "wants_message": call.wants_message,
        }

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        """Retrieve the response, unless it was so a moment ago for its age, or many others were in this second.

        Raises:
            ProviderUnavailable: The API is unreachable, or refused the key; a paid answer is still there.
            AnswerGone: The API says that there is no such response.
        """
        known = cast("dict[str, Any]", handle)
        response_id, age = known["id"], max(time.time() - known["created_at"], 0.0)
        is_urgent = response_id in self._urgent
        if is_urgent:
            self._urgent.discard(response_id)
            self._turns.pop(response_id, None)
        elif time.monotonic() < self._next.get(response_id, 0.0):
            return InProgress(0, 1, looking=True)
        elif (wait := self._wait_for_turn(response_id)) is not None:
            return InProgress(0, 1, looking=True, again_in=wait)
        pause = min(age * _SHARE_OF_AGE, _SECONDS[self._window] * _SHARE_OF_WINDOW)
        self._next[response_id] = time.monotonic() + pause
        try:
            body = await self._get(response_id)
        except Exception as error:
            if failure.is_gone(error):
                if age < self._unseen:
                    return InProgress(0, 1, looking=True)
                raise AnswerGone(
                    f"response {response_id} does not exist (404): it was deleted, or is another project's"
                ) from error
            raise failure.unavailable(f"retrieving response {response_id}", error) from error
        if not isinstance(body, dict):
            raise ProviderUnavailable(f"retrieving response {response_id} was answered with no response")
        return self._read_response(body, known, requests)

    def _read_response(
        self, body: dict[str, Any], known: Mapping[str, Any], requests: Sequence[str]
    ) -> InProgress | Ended:
        match body.get("status"):
            case "completed" | "incomplete":
                outcome = _answer(body, known)
                usage = usage_of(body, known["model"])
                return _ended(requests, outcome, usage=usage)
            case "failed":
                return _ended(requests, _failed(body))
            case "cancelled":
                return _ended(requests, Cancelled("the response was cancelled before it was complete"))
            case _:
                return InProgress(0, 1)

    def hurry(self, handle: JSON) -> None:
        """Retrieve the response at its next poll, however recent the last one is: the API has said that it ended."""
        self._next.pop(cast("dict[str, Any]", handle)["id"], None)

    def look_at_once(self, handle: JSON) -> None:
        """Retrieve the response when it is polled next, however many others were: it is about to be paid for again."""
        self._urgent.add(cast("dict[str, Any]", handle)["id"])

    def finds(self, prepared: JSON) -> bool:  # noqa: ARG002
        """Return that `find` finds nothing."""
        return False

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:  # noqa: ARG002
        """Responses cannot be listed.

        Raises:
            SubmissionUnknown: Always.
        """
        if self._on_unknown == "pay_again":
            raise SubmissionUnknown(
                "the create call of this response had no answer, and responses cannot be listed; the request is sent "
                "again, and may be paid twice",
                code=UNKNOWN,
            )
        raise SubmissionUnknown(
            "the create call of this response had no answer, and responses cannot be listed: it may have been created "
            'and billed. Ask again, or use OpenAIBatch(…).window(…, on_unknown="pay_again")'
        )

    async def fence(self, prepared: JSON) -> None:
        """A create call under way cannot be stopped."""

    async def cancel(self, handle: JSON) -> None:
        """Cancel the response. Idempotent; one that has ended, or is gone, is not an error."""
        response_id = cast("dict[str, Any]", handle)["id"]
        self._forget(response_id)
        try:
            await self._post("responses.cancel", f"/responses/{response_id}/cancel", {})
        except Exception as error:
            if not failure.is_ended(error):
                raise failure.unavailable(f"cancelling response {response_id}", error) from error

    async def release(self, handle: JSON) -> None:
        """Forget when it was retrieved last."""
        self._forget(cast("dict[str, Any]", handle)["id"])

    async def aclose(self) -> None:
        """Close this event loop's own client, but never the caller's."""
        await close_all((self._clients.aclose,))

    def _forget(self, response_id: str) -> None:
        self._next.pop(response_id, None)
        self._turns.pop(response_id, None)
        self._urgent.discard(response_id)

    def _body(self, request: Request, call: WindowCall) -> dict[str, Any]:
        body: dict[str, Any] = dict(call.body)
        for name, wanted in (("store", True), ("background", True)):
            if body.get(name) not in (None, wanted):
                refuse(f'its body has "{name}": {body[name]!r}, and a window needs {wanted}', "leave it out")
        if body.get("service_tier") not in (None, "auto", "default"):
            refuse(f'its body has "service_tier": {body["service_tier"]!r}, and windows are standard', "leave it out")
        own = body.get("background_options") or {}
        if own.get("completion_window") not in (None, self._window):
            refuse(
                f"its body names the window {own['completion_window']!r}, and its lane is {self.way!r}", "leave it out"
            )
        options = {"continuation_id": _continuation(request.thread)} if request.thread else {}
        metadata = {"batch_bridge": request.id, **(body.get("metadata") or {})}
        return {
            **body,
            "background": True,
            "store": True,
            "background_options": {**options, **own, "completion_window": self._window},
            "metadata": metadata if len(metadata) <= _PAIRS else body["metadata"],
        }

    def _wait_for_turn(self, response_id: str) -> float | None:
        """Take a turn to retrieve a response now; else return in how many seconds it has one.

        Who was turned away goes before all that come later, in the order in which they came.
        """
        now = time.monotonic()
        since, count = self._spent
        if not since <= now < since + 1:
            since, count = now, 0
        while self._turns and (missed := next(iter(self._turns.items())))[1][1] + _MISSED < now:
            del self._turns[missed[0]]
        free = self._retrieves - count
        first = list(itertools.islice(self._turns, free))
        if response_id in first or len(first) < free:
            self._turns.pop(response_id, None)
            self._spent = since, count + 1
            return None
        ticket, _ = self._turns.get(response_id) or (next(self._tickets), now)
        before = ticket - next(iter(self._turns.values()), (ticket, now))[0]
        wait = since + 1 - now + max(before - max(free, 0), 0) // self._retrieves
        self._turns[response_id] = ticket, now + wait
        return wait

    async def _post(self, name: str, path: str, body: Mapping[str, Any]) -> Any:
        content = await self._clients.call(name, lambda client: client.post(path, cast_to=bytes, body=body), "answer")
        return await _loaded(content)

    async def _get(self, response_id: str) -> Any:
        path = f"/responses/{response_id}"
        content = await self._clients.call(
            "responses.retrieve", lambda client: client.get(path, cast_to=bytes), "answer"
        )
        return await _loaded(content)


_PAIRS: Final = 16
_LARGE: Final = 100_000


async def _loaded(content: bytes) -> Any:
    try:
        if len(content) < _LARGE:
            return loads(without_secrets(content))
        return await asyncio.to_thread(lambda: loads(without_secrets(content)))
    except ValueError:
        return None


def _continuation(thread: str) -> str:
    """Return a thread's continuation id: the same in every process, and not its name."""
    return f"bb-{blake2b(thread.encode(), digest_size=16).hexdigest()}"


def _answer(body: dict[str, Any], known: Mapping[str, Any]) -> Outcome:
    if known["is_chat"]:
        try:
            body = to_completion(body)
        except (LookupError, TypeError) as error:
            said = f"the response cannot be read as a chat completion ({type(error).__name__})"
            return Errored(said, code="unexpected_answer", status_code=_OK)
    return answered(body, _OK, wants_message=known["wants_message"])


def _failed(body: Mapping[str, Any]) -> Errored:
    error = body.get("error") or {}
    code = str(error.get("code") or "response_failed")
    said = str(error.get("message") or "the response failed, and does not say why")
    return Errored(said, code=code, retryable=code in _PASSING, body=cast("JSON", dict(error)))


def _ended(requests: Sequence[str], outcome: Outcome, usage: Usage | None = None) -> Ended:
    return Ended(_each(requests, outcome), missing=outcome, usage=usage)


async def _each(requests: Sequence[str], outcome: Outcome) -> AsyncIterator[tuple[str, Outcome]]:
    for request_id in requests:
        yield request_id, outcome
