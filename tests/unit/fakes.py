"""Fakes for the core: a store and a provider that fail, die and count on demand. Nothing here sleeps."""

import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

from langgraph.store.base import BaseStore, GetOp, ListNamespacesOp, PutOp, Result, SearchOp
from langgraph.store.memory import InMemoryStore

from batch_bridge._core.models import JSON, Ended, Errored, InProgress, Limits, Measure, Outcome, Request, Succeeded

T0 = datetime(2030, 1, 1, tzinfo=UTC)
Moment = Literal["before", "middle", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "middle", "after")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def named(name: str) -> str:
    """Return the thread of a name of up to 16 letters: on a server threads are UUIDs."""
    return str(UUID(bytes=name.encode().ljust(16, b"\0")))


def name_of(thread: str) -> str:
    """Return the name that a thread was given by `named`."""
    return UUID(thread).bytes.rstrip(b"\0").decode()


T, U, V = map(named, "tuv")


def request(number: int, **item: JSON) -> Request:
    """Return a request whose id looks like a real one: evenly spread over the shards."""
    return Request(
        blake2b(str(number).encode(), digest_size=16).hexdigest(), named(f"t{number}"), {"n": number, **item}
    )


class Crash(BaseException):
    """The process dies here."""


class Fuse:
    """Kills the process at one of the calls that pass through it, or fails that one call, and the process goes on.

    A dead process makes no more calls.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._left: int | None = None
        self._moment: Moment = "before"
        self._name: str | None = None
        self._dead = False
        self._error: Exception | None = None

    def arm(self, calls: int, moment: Moment, name: str | None = None, *, error: Exception | None = None) -> None:
        """Die at the `calls`-th call from now (of that name): before its effect, half way, or before it returns.

        With an `error` that call raises it, and nobody dies.
        """
        self._left, self._moment, self._name, self._error = calls, moment, name, error

    @property
    def fault(self) -> BaseException:
        """What the call raises at which the fuse burns."""
        return Crash() if self._error is None else self._error

    def revive(self) -> None:
        """Start a new process, which does not die by itself."""
        self._left, self._dead = None, False

    def burn(self, *names: str) -> Moment | None:
        """Count a call, which may do several things in one step; tell when within it the process dies."""
        if self._dead:
            raise Crash
        self.calls += 1
        if self._left is None or (self._name is not None and self._name not in names):
            return None
        self._left -= 1
        if self._left > 0:
            return None
        self._left, self._dead = None, self._error is None
        return self._moment


class FakeStore(BaseStore):
    """An `InMemoryStore` that dies with its fuse and remembers every operation, call by call."""

    def __init__(self, rows: InMemoryStore | None = None, fuse: Fuse | None = None) -> None:
        self.rows = rows or InMemoryStore()
        self.fuse = fuse or Fuse()
        self.calls: list[list[str]] = []

    def batch(self, ops: Iterable[Any]) -> list[Result]:
        raise AssertionError("the ledger is async")

    async def abatch(self, ops: Iterable[Any]) -> list[Result]:
        held = list(ops)
        names = [_named(op) for op in held]
        moment = self.fuse.burn(*names)
        if moment == "before":
            raise self.fuse.fault
        self.calls.append(names)
        if moment == "middle":
            await self.rows.abatch(held[: len(held) // 2])
            raise self.fuse.fault
        results = await self.rows.abatch(held)
        if moment == "after":
            raise self.fuse.fault
        return results

    def take(self) -> list[str]:
        """Return the operations since the last time, one string each, e.g. `put requests`."""
        taken, self.calls = [op for call in self.calls for op in call], []
        return taken

    def read(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return all rows: kind -> key -> value."""
        kinds: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for item in self.rows.search(("batch_bridge",), limit=1_000_000):
            kinds[item.namespace[2]][item.key] = item.value
        return kinds


def _named(op: object) -> str:
    match op:
        case PutOp(namespace=(_, _, kind, *_), value=value):
            return f"{'delete' if value is None else 'put'} {kind}"
        case GetOp(namespace=(_, _, kind, *_)):
            return f"get {kind}"
        case SearchOp(namespace_prefix=(_, _, kind, *_)):
            return f"list {kind}"
        case SearchOp(namespace_prefix=(root, *_)):
            return f"list {root}"
        case ListNamespacesOp():
            return "list namespaces"
        case PutOp(namespace=(root,), value=value):
            return f"{'delete' if value is None else 'put'} {root}"
        case GetOp(namespace=(root,)):
            return f"get {root}"
    raise AssertionError(op)


@dataclass(slots=True)
class Batch:
    """A batch at the provider."""

    handle: str
    key: str
    requests: tuple[Request, ...]
    state: str = "live"


@dataclass(frozen=True, slots=True)
class Created:
    """A reply of `submit`: the batch is created, and the call fails all the same."""

    error: BaseException


class FakeProvider:
    """Answers every request at its first poll, unless it was told what to do next with `then`.

    Attributes:
        calls: (verb, key or handle) in the order made.
        executed: How often each request was executed, and so paid.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        measure: Callable[[Request], Measure] = lambda request: Measure("", 1),
        fuse: Fuse | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.measure = measure
        self.fuse = fuse or Fuse()
        self.calls: list[tuple[str, object]] = []
        self.batches: dict[str, Batch] = {}
        self.executed: Counter[str] = Counter()
        self._next: dict[str, list[object]] = defaultdict(list)
        self._numbers = itertools.count(1)

    def then(self, verb: str, *replies: object) -> None:
        """Say what the next calls of a verb do: raise an exception, or return what is given."""
        self._next[verb] += replies

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        return await self._call("prepare", key, lambda: f"file-{next(self._numbers)}")

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        def create() -> JSON:
            batch = Batch(f"batch-{next(self._numbers)}", key, tuple(requests))
            self.batches[batch.handle] = batch
            return batch.handle

        return await self._call("submit", key, create)

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        def end() -> Ended:
            batch = self.batches[str(handle)]
            if batch.state == "live":
                batch.state = "ended"
                self.executed.update(request.id for request in batch.requests)
            return ended({request.id: Succeeded(request.item) for request in batch.requests})

        return await self._call("poll", handle, end)

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        return await self._call(
            "find", key, lambda: [batch.handle for batch in self.batches.values() if batch.key == key]
        )

    async def fence(self, prepared: JSON) -> None:
        await self._call("fence", prepared, lambda: None)

    async def cancel(self, handle: JSON) -> None:
        def stop() -> None:
            self.batches[str(handle)].state = "cancelled"

        await self._call("cancel", handle, stop)

    async def release(self, handle: JSON) -> None:
        await self._call("release", handle, lambda: None)

    async def aclose(self) -> None:
        pass

    def take(self) -> list[str]:
        """Return the verbs since the last time."""
        taken, self.calls = [verb for verb, _ in self.calls], []
        return taken

    async def _call(self, verb: str, about: object, act: Callable[[], Any]) -> Any:
        return await guarded(self.fuse, verb, lambda: self._reply(verb, about, act))

    async def _reply(self, verb: str, about: object, act: Callable[[], Any]) -> Any:
        self.calls.append((verb, about))
        if not self._next[verb]:
            return act()
        match self._next[verb].pop(0):
            case Created(error):
                act()
                raise error
            case BaseException() as error:
                raise error
            case reply:
                return reply


async def guarded(fuse: Fuse, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
    """Make a call of which the process may not live to see the end."""
    moment = fuse.burn(name)
    if moment == "before":
        raise fuse.fault
    try:
        result = await call()
    except Exception:
        if moment:
            raise fuse.fault from None
        raise
    if moment:
        raise fuse.fault
    return result


def ended(
    outcomes: dict[str, Outcome] | Iterable[tuple[str, Outcome]],
    missing: Outcome | None = None,
    breaks: BaseException | None = None,
) -> Ended:
    """Return an ended batch with these outcomes; after the last of them `breaks` is raised."""
    pairs = list(outcomes.items()) if isinstance(outcomes, dict) else list(outcomes)

    async def read() -> AsyncIterator[tuple[str, Outcome]]:
        for pair in pairs:
            yield pair
        if breaks is not None:
            raise breaks

    return Ended(read(), missing=missing or Errored("no line", code="missing"))


def other(request: Request, **item: JSON) -> Request:
    """Return the request with another item."""
    return replace(request, item={**item})
