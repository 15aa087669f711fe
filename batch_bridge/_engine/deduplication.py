"""Which requests may share an answer: equal ones of one batch, and those whose answer a cache knows.

Requests are equal when they have the same key: a hash of everything that decides the answer (what the provider's
`identity` says), of the tenant and of the sample. Where it is not certain that two requests are the same, their keys
differ: that costs a line, and a wrong answer would cost more.
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

import orjson

from batch_bridge._core.json.json_values import copied
from batch_bridge._core.json.messages import TAG, without_ids
from batch_bridge._core.models import JSON, Ended, InProgress, Outcome, Request, SubmittedBatch, Succeeded
from batch_bridge._core.policy.batching import Waiting, lines
from batch_bridge._core.provider import Provider

VERSION: Final = "1"
"""Part of every key; another one makes a cache forget all it knows."""
_DIGITS: Final = 40
"""Hex digits of a key; those of a tenant's requests are followed by the tenant's own."""
GROUP: Final = 500
"""Answers that are handed to the cache at once."""
_NEWS: Final = timedelta(seconds=1)
"""How long a cache is not asked again for one request."""
_NO_ANSWERS: Final = ("failed", "cancelled", "queued", "in_progress")
"""What the `status` of a response that holds no answer is.

Source: OpenAI API reference, "The response object", `status`, https://platform.openai.com/docs/api-reference/responses.
"""

IdAndOutcome = tuple[str, Outcome]
Remember = Callable[[Mapping[str, JSON]], Awaitable[None]]


class Answers(Protocol):
    """A cache, as far as the engine must know it. It raises nothing: one that fails knows nothing."""

    async def recall(self, keys: Sequence[str], now: datetime, *, again: bool = False) -> Mapping[str, JSON]:
        """Return the answers that are known, by key; each key counts as one request, also if it comes twice.

        With `again` all of them were asked for before, and not known.
        """
        ...

    async def remember(self, answers: Mapping[str, JSON], now: datetime) -> None:
        """Keep answers by key. Idempotent; a second answer takes the place of the first."""
        ...

    async def erase(self, owner: str) -> None:
        """Delete the answers whose keys end with an owner. This may raise."""
        ...


class Deduplication:
    """What the requests of one bridge may share.

    Args:
        bridge: Its name, which tells apart providers that cannot say what decides their answers.
        provider: Who answers. Its optional method `identity(request) -> bytes` says what decides a request's answer.
        cache: Answers of earlier requests.
        dedupe: Whether equal requests of one batch are sent as one line.
    """

    def __init__(self, bridge: str, provider: Provider, cache: Answers | None, *, dedupe: bool) -> None:
        self.dedupe = dedupe
        self._cache = cache
        self._identity: Callable[[Request], bytes] = getattr(provider, "identity", None) or _item
        if self._identity is _item:
            self._kind = f"item {type(provider).__module__}.{type(provider).__qualname__} {bridge}"
        else:
            whose = getattr(self._identity, "__func__", self._identity)
            self._kind = f"identity {getattr(whose, '__module__', '')}.{getattr(whose, '__qualname__', '')}"

    def key(self, request: Request) -> str:
        """Return the key of a request's answer; empty if it has none. Pure.

        40 hex digits, and 16 of its tenant's where it has one, so that what is kept of a tenant can be erased.
        """
        try:
            identity = self._identity(request)
        except Exception:  # noqa: BLE001  # a provider may be the user's code: its bug costs only the sharing
            return ""
        state = hashlib.blake2b(digest_size=20, person=b"batch-bridge-key")
        for text in (VERSION, self._kind, request.tenant, request.sample):
            _update(state, text.encode(errors="surrogatepass"))
        _update(state, identity)
        return state.hexdigest() + (_owner(request.tenant) if request.tenant else "")

    async def erase(self, tenant: str) -> None:
        """Delete the kept answers of a tenant. Raises what the cache raises."""
        if self._cache is not None:
            await self._cache.erase(_owner(tenant))

    async def recall(self, waiting: Sequence[Waiting], now: datetime, *, again: bool = False) -> dict[str, Outcome]:
        """Return the outcomes of requests whose answer is known, by request id.

        Args:
            waiting: The requests.
            now: Aware UTC.
            again: They were looked up when they were queued; those that were queued just now are left out.
        """
        if self._cache is None:
            return {}
        asked = [each for each in waiting if each.key and not (again and now - each.queued_at < _NEWS)]
        known = await self._cache.recall([each.key for each in asked], now, again=again) if asked else {}
        return {each.id: Succeeded(copied(known[each.key]), Decimal(0)) for each in asked if each.key in known}

    def remember(self, now: datetime) -> Remember | None:
        """Return what keeps answers for later, if anything does."""
        cache = self._cache
        if cache is None:
            return None

        async def remember(answers: Mapping[str, JSON]) -> None:
            await cache.remember(answers, now)

        return remember


def owner_in(key: str) -> str:
    """Return the owner that a key names; empty if it names none."""
    return key[_DIGITS:]


def _owner(tenant: str) -> str:
    text = tenant.encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=8, person=b"bb-owner").hexdigest()


async def spread(
    reply: InProgress | Ended,
    batch: SubmittedBatch,
    remember: Remember | None = None,
    told: Container[str] = (),
    group: int = GROUP,
) -> InProgress | Ended:
    """Return a provider's report on a batch's lines as a report on all its requests.

    Args:
        reply: Names lines; an id that is a request's and no line was never sent, and is a stranger's.
        batch: The batch.
        remember: Gets the answers as they pass, the first one of each line.
        told: Requests whose answer it got before.
        group: How many answers it gets at once.
    """
    if not batch.shared and (remember is None or not batch.keys):
        return reply
    if isinstance(reply, InProgress) and not reply.outcomes:
        return reply
    spreading = _Spreading(batch, remember, told, group)
    if isinstance(reply, Ended):
        return replace(reply, outcomes=spreading.all(reply.outcomes))
    outcomes = tuple(pair for each in reply.outcomes for pair in spreading.pairs(each))
    await spreading.flush()
    return replace(reply, outcomes=outcomes)


class _Spreading:
    """One reading of a batch's outcomes."""

    def __init__(self, batch: SubmittedBatch, remember: Remember | None, told: Container[str], group: int) -> None:
        self._group = group
        self._lines = lines(batch)
        self._requests = frozenset(batch.requests)
        self._keys = dict(zip(batch.requests, batch.keys, strict=True)) if remember is not None and batch.keys else {}
        self._remember = remember
        self._told = told
        self._seen: set[str] = set()
        self._answers: dict[str, JSON] = {}

    async def all(self, outcomes: AsyncIterable[IdAndOutcome]) -> AsyncIterator[IdAndOutcome]:
        """Yield the outcomes of all requests, and keep the answers, also those before the reading breaks off."""
        try:
            async for each in outcomes:
                for pair in self.pairs(each):
                    yield pair
                if len(self._answers) >= self._group:
                    await self.flush()
        except Exception:
            await self.flush()
            raise
        await self.flush()

    def pairs(self, pair: IdAndOutcome) -> Iterable[IdAndOutcome]:
        """Return what a line's outcome is to its requests."""
        line, outcome = pair
        requests = self._lines.get(line)
        if requests is None:
            return [("" if line in self._requests else line, outcome)]
        if line not in self._seen:
            self._seen.add(line)
            self._note(line, outcome)
        return [(request_id, _own(outcome) if place else outcome) for place, request_id in enumerate(requests)]

    def _note(self, line: str, outcome: Outcome) -> None:
        key = self._keys.get(line)
        if key and line not in self._told and isinstance(outcome, Succeeded) and is_answer(outcome.answer):
            self._answers[key] = outcome.answer

    async def flush(self) -> None:
        """Keep the answers that have passed."""
        answers, self._answers = self._answers, {}
        if answers and self._remember is not None:
            await self._remember(answers)


def _own(outcome: Outcome) -> Outcome:
    """Return an outcome with a copy of its answer, which its receiver may change."""
    return replace(outcome, answer=copied(outcome.answer)) if isinstance(outcome, Succeeded) else outcome


def is_answer(answer: JSON) -> bool:
    """Return whether an answer may be kept: it is no error that came with status 200. One that was cut off is."""
    match answer:
        case {"__message__": {"data": {"response_metadata": {"status": str(status)}}}}:
            return status not in _NO_ANSWERS
        case {"__message__": _}:
            return True
        case dict():
            return not answer.get("error") and answer.get("status") not in _NO_ANSWERS
        case _:
            return True


def _item(request: Request) -> bytes:
    """Return an item as it was written; only the ids that LangChain gives to its messages are left out."""
    item = request.item
    data = orjson.dumps(item)
    return orjson.dumps(without_ids(item)) if TAG.encode() in data else data


def _update(state: "hashlib.blake2b", part: bytes) -> None:
    state.update(len(part).to_bytes(8))
    state.update(part)
