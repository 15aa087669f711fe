"""A batch API as the bundled providers see one: files, batches that take their time, lines that fail for a while.

It is the truth about money: a line is paid when it was answered, whether or not the answer was read.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from batch_bridge._core.models import (
    JSON,
    Cancelled,
    Ended,
    Errored,
    Expired,
    InProgress,
    Limits,
    Measure,
    Outcome,
    Request,
    Succeeded,
)
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from simulation.world import World

REFUSED = "refused"
"""What a question begins with that no attempt answers."""


@dataclass(slots=True)
class Batch:
    """A batch at the provider."""

    handle: str
    key: str
    file: str
    requests: tuple[Request, ...]
    ends_at: float
    state: Literal["running", "ended"] = "running"
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    is_double: bool = False


def answer_of(question: str) -> str:
    """Return the only right answer to a question."""
    return f"the answer to {question}"


class Provider:
    """The provider's own side, which outlives every process."""

    def __init__(self, world: World, *, trouble: float = 0.0, longest: float = 30.0, early: bool = False) -> None:
        self.world = world
        self.random = random.Random(f"{world.plan.host} {world.plan.seed} provider")
        self.files: dict[str, tuple[Request, ...]] = {}
        self.batches: dict[str, Batch] = {}
        self.paid: Counter[str] = Counter()
        self.unpaid: Counter[str] = Counter()
        self.released: set[str] = set()
        self._trouble = trouble
        self._longest = longest
        self.early = early
        self._listed_at = -1.0
        self._attempts: Counter[str] = Counter()
        self._names = 0

    def upload(self, requests: Sequence[Request]) -> str:
        self._names += 1
        name = f"file-{self._names}"
        self.files[name] = tuple(requests)
        return name

    def create(self, key: str, file: str) -> str:
        requests = self.files[file]
        self._names += 1
        took = self.random.choice((0.0, 1.0, self._longest * self.random.random()))
        batch = Batch(f"batch-{self._names}", key, file, requests, self.world.loop.time() + took)
        self.batches[batch.handle] = batch
        return batch.handle

    def create_late(self, key: str, file: str) -> None:
        """A create call that was on its way for long: without its input it comes to nothing."""
        if file in self.files:
            self.create(key, file)

    def create_again(self, key: str, file: str, seconds: float) -> None:
        """Do what a proxy or a client does that repeats a create call: the second batch is in no hurry, and costs.

        For a while nobody can tell which batches there are.
        """
        batch = self.batches[self.create(key, file)]
        batch.ends_at, batch.is_double = float("inf"), True
        self._listed_at = self.world.loop.time() + seconds

    def list(self, key: str, file: str) -> list[str]:
        """Return the batches of an input, the oldest first.

        Raises:
            ProviderUnavailable: It is not certain yet which there are.
        """
        if self.world.loop.time() < self._listed_at:
            raise ProviderUnavailable("batches that were just created may not be listed yet")
        return [each.handle for each in self.batches.values() if (each.key, each.file) == (key, file)]

    def look(self, handle: str) -> Batch:
        batch = self.batches[handle]
        if batch.state == "running" and batch.ends_at <= self.world.loop.time():
            self._end(batch)
        return batch

    def cancel(self, handle: str) -> None:
        """Stop a batch: of what runs, some lines are answered still, and paid."""
        batch = self.look(handle)
        if batch.state == "running":
            self._end(batch, cancelled=True)

    def _end(self, batch: Batch, *, cancelled: bool = False) -> None:
        batch.state = "ended"
        for request in batch.requests:
            if cancelled and (batch.is_double or self.random.random() < 0.5):
                batch.outcomes[request.id] = Cancelled("stopped")
                continue
            outcome = self._answer(request)
            batch.outcomes[request.id] = outcome
            (self.paid if isinstance(outcome, Succeeded) else self.unpaid)[question_of(request)] += 1

    def _answer(self, request: Request) -> Outcome:
        question = question_of(request)
        if question.startswith(REFUSED):
            return Errored("no", code="refused", status_code=400)
        self._attempts[question] += 1
        if self._attempts[question] == 1 and self.random.random() < self._trouble:
            return self.random.choice(
                (
                    Expired("too late"),
                    Errored("busy", code="rate_limit_exceeded", status_code=429, retryable=True),
                    Errored("broken", code="server_error", status_code=500, retryable=True),
                )
            )
        return Succeeded({"a": answer_of(question)})


def question_of(request: Request) -> str:
    """Return what a request asks."""
    assert isinstance(request.item, dict)
    return str(request.item["q"])


class SimProvider:
    """What a process holds of it."""

    def __init__(
        self, provider: Provider, *, limits: Limits | None = None, group: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._side = provider
        self._world = provider.world
        self.limits = limits or Limits()
        self._group = group

    def measure(self, request: Request) -> Measure:
        return Measure(self._group(question_of(request)), 10)

    def identity(self, request: Request) -> bytes:
        return question_of(request).encode()

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        return await self._call("prepare", lambda: self._side.upload(requests))

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        def create() -> str:
            file = self._side.files.get(str(prepared))
            if file is None:  # another process has deleted it
                raise SubmissionRefused("there is no such file", code="file_not_found", status_code=400)
            assert [each.id for each in requests] == [each.id for each in file]
            return self._side.create(key, str(prepared))

        return await self._call(
            "submit",
            create,
            late=lambda: self._side.create_late(key, str(prepared)),
            twice=lambda seconds: self._side.create_again(key, str(prepared), seconds),
            loses=SubmissionUnknown,
        )

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        batch = await self._call("poll", lambda: self._side.look(str(handle)), loses=ConnectionError)
        assert {each.id for each in batch.requests} == set(requests), (batch.requests, requests)
        if batch.state == "running":
            return InProgress(0, len(requests))
        return Ended(self._read(batch), missing=Expired("too late"))

    async def _read(self, batch: Batch) -> AsyncIterator[tuple[str, Outcome]]:
        pairs = list(batch.outcomes.items())
        self._side.random.shuffle(pairs)
        pairs = [pair for pair in pairs if not isinstance(pair[1], Expired)]  # what came too late has no line
        for place, pair in enumerate(pairs):
            if place in (0, len(pairs) // 2):
                await self._call("read", lambda: None, loses=ConnectionError)
            yield pair

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        return await self._call(
            "find",
            lambda: self._side.list(key, str(prepared)),
            loses=ConnectionError,
        )

    async def fence(self, prepared: JSON) -> None:
        await self._call("fence", lambda: self._side.files.pop(str(prepared), None), loses=ConnectionError)

    async def cancel(self, handle: JSON) -> None:
        await self._call("cancel", lambda: self._side.cancel(str(handle)), loses=ProviderUnavailable)

    async def release(self, handle: JSON) -> None:
        def forget() -> None:
            self._side.released.add(str(handle))
            self._side.files.pop(self._side.batches[str(handle)].file, None)

        await self._call("release", forget, loses=ConnectionError)

    async def aclose(self) -> None:
        """Nothing: connections are this process's own, and giving them back does not fail."""

    async def _call(self, verb: str, work: Callable[[], Any], **how: Any) -> Any:
        return await self._world.call(
            "provider", verb, work, fails=ProviderUnavailable, **{"loses": ProviderUnavailable, **how}
        )
