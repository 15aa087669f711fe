"""A provider in all its moods: it fails before or after it has done what it was asked, and knows what it has billed."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, NoReturn

from fakes import FakeStore, ended, guarded
from hypothesis import note
from hypothesis import strategies as st

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
from batch_bridge._core.policy.flush_policy import FlushPolicy
from batch_bridge._engine import CANCELLED
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown

NAME = "bridge"
INTERVAL = timedelta(seconds=64)

POLICIES = (
    FlushPolicy(max_requests=3, max_age=30),
    FlushPolicy(max_requests=5, max_bytes=12, max_age=300),
    FlushPolicy(max_requests=100, max_age=0),
    FlushPolicy(max_requests=2, max_age=None, when=lambda queue: queue.bytes > 8),
)
LIMITS = (Limits(), Limits(requests=2), Limits(bytes=10), Limits(requests=4, bytes=20))

ITEMS: tuple[dict[str, JSON], ...] = (
    *({"group": group, "bytes": size, "kind": "fine"} for group in "ab" for size in (1, 2, 4, 8, 16, 32)),
    {"group": "a", "bytes": 1, "kind": "refused"},
    {"group": "a", "bytes": 1, "kind": "unmeasurable"},
)
WEATHER = st.integers(0, 2**32)  # what the provider's moods follow from; 0 is a good day
JUMPS = st.sampled_from([0.0, 1.0, 32.0, 3600.0, -32.0, -3600.0])

UNAVAILABLE = "503"
GIVEN_UP = Cancelled(CANCELLED)

# What the engine says in the provider's place.
FAILURES = {
    *("invalid_item", "item_too_large", "measure_failed"),
    *("bad_batch", "submit_failed", "submission_unknown", "find_failed", "poll_failed"),
}

# Where a process dies: at any call, or at the next one of a name.
CALLS = [
    None,
    *("prepare", "submit", "poll", "find", "fence", "cancel", "release"),
    *("put requests", "put members", "put batches", "put outcomes", "put closed"),
    *(
        "put tries",
        "delete tries",
        "delete requests",
        "delete members",
        "delete batches",
        "delete outcomes",
        "get outcomes",
        "get requests",
    ),
]

# How a call of the provider ends. The first of each is what happens on a good day.
MOODS = {
    "prepare": ["well"] * 8 + ["unavailable", "unknown", "refused", "bug"],
    "submit": ["well"] * 4 + ["unavailable", "full", "lost", "created", "created", "refused", "bug", "bug, created"],
    "find": ["well"] * 8 + ["unavailable", "unknown", "bug"],
    "fence": ["well"] * 6 + ["unavailable", "unavailable, done", "bug"],
    "cancel": ["well"] * 6 + ["unavailable", "unavailable, done"],
    "poll": ["ended"] * 6 + ["progress", "progress", "unavailable", "bug"],
    "release": ["well"] * 6 + ["unavailable", "bug"],
}


def raise_for(mood: str) -> NoReturn:
    match mood.split(",", maxsplit=1)[0]:
        case "unavailable":
            raise ProviderUnavailable(UNAVAILABLE, retry_after=2.0)
        case "full":
            raise ProviderUnavailable(UNAVAILABLE, is_full=True)
        case "unknown" | "lost" | "created":
            raise SubmissionUnknown("timed out")
        case "refused":
            raise SubmissionRefused("400", code="bad_batch", status_code=400)
    raise KeyError("a bug in the provider")


@dataclass(slots=True)
class Batch:
    """A batch at the provider.

    Attributes:
        call: Which `submit` made it; several of one call are doubles.
        hidden: So many more calls of `find` do not see it.
        state: live -> ended (executed, and so paid) | cancelled | void (its input was deleted before it was there)
    """

    handle: str
    key: str
    prepared: JSON
    requests: tuple[Request, ...]
    call: int
    hidden: int = 0
    state: str = "live"
    polled: bool = False
    released: bool = False
    results: dict[str, Outcome] = field(default_factory=dict)


class WildProvider:
    """Does everything that the port allows, and keeps the books of what it is asked to execute."""

    def __init__(self, limits: Limits, most: Limits, store: FakeStore, *, searchable: bool) -> None:
        self.limits = limits
        self.draws: Random | None = None
        self.batches: list[Batch] = []
        self.collected: set[str] = set()
        self.asked: dict[str, Request] = {}
        self.said: dict[str, list[Outcome]] = defaultdict(list)  # first lines, and what stands for missing ones
        self.violations: list[str] = []
        self.on_record: dict[str, set[str]] = defaultdict(set)
        self._most = most
        self._store = store
        self._searchable = searchable
        self._calls = 0
        self._files: dict[str, str] = {}
        self._fenced: set[str] = set()

    # -- the port ----------------------------------------------------------------------------------------------

    def measure(self, request: Request) -> Measure:
        item: Any = request.item
        match item["kind"]:
            case "refused":
                raise RequestRefused("no such model")
            case "unmeasurable":
                raise KeyError("a bug in the provider")
        return Measure(item["group"], item["bytes"])

    async def prepare(self, key: str, requests: Sequence[Request]) -> JSON:
        return await self._call("prepare", self._prepare, key)

    async def submit(self, key: str, requests: Sequence[Request], prepared: JSON) -> JSON:
        return await self._call("submit", self._submit, key, tuple(requests), prepared)

    async def poll(self, handle: JSON, requests: Sequence[str]) -> InProgress | Ended:
        return await self._call("poll", self._poll, handle, tuple(requests))

    async def find(self, key: str, prepared: JSON) -> Sequence[JSON]:
        return await self._call("find", self._find, key, prepared)

    async def fence(self, prepared: JSON) -> None:
        await self._call("fence", self._fence, prepared)

    async def cancel(self, handle: JSON) -> None:
        await self._call("cancel", self._cancel, handle)

    async def release(self, handle: JSON) -> None:
        await self._call("release", self._release, handle)

    async def aclose(self) -> None:
        pass

    # -- what it does ------------------------------------------------------------------------------------------

    def _prepare(self, key: str) -> JSON:
        stored = self._store.read()["batches"][key].get("prepared")
        self._expect(stored is None, f"{key} was prepared a second time")
        mood = self._mood("prepare")
        if mood != "well":
            raise_for(mood)
        if not self._searchable:
            return None
        name = f"file-{len(self._files)}"
        self._files[name] = key
        return name

    def _submit(self, key: str, requests: tuple[Request, ...], prepared: JSON) -> JSON:
        self._check_submission(key, requests, prepared)
        mood = self._mood("submit")
        if mood == "well" or "created" in mood:
            self._calls += 1
            hidden = self._pick([0, 0, 1, 2, 3])
            doubles = self._pick([0, 0, 1, 2]) if mood == "created" else 0
            for _ in range(1 + doubles):
                handle = f"batch-{len(self.batches)}"
                self.batches.append(Batch(handle, key, prepared, requests, self._calls, hidden))
        if mood != "well":
            raise_for(mood)
        return self.batches[-1].handle

    def _find(self, key: str, prepared: JSON) -> list[JSON]:
        row = self._store.read()["batches"].get(key, {})
        self._expect(row.get("prepared", prepared) == prepared, f"{key} was looked for by another's input")
        self._expect(bool(row), f"{key} was looked for, and is no batch of ours")
        if not self._searchable:
            raise_for("unknown")
        mood = self._mood("find")
        if mood != "well":
            raise_for(mood)
        found: list[JSON] = []
        for batch in self.batches:
            if batch.key == key and batch.state != "void":
                if batch.hidden:
                    batch.hidden -= 1
                else:
                    found.append(batch.handle)
        return found

    def _fence(self, prepared: JSON) -> None:
        mood = self._mood("fence")
        if mood in ("well", "unavailable, done"):
            self._fenced.add(str(prepared))
            for batch in self.batches:
                if batch.prepared == prepared and batch.hidden:
                    batch.state = "void"
        if mood != "well":
            raise_for(mood)

    def _cancel(self, handle: JSON) -> None:
        mood = self._mood("cancel")
        batch = self._known(handle)
        if mood in ("well", "unavailable, done") and batch.state == "live":
            batch.state = "cancelled"
        if mood != "well":
            raise_for(mood)

    def _poll(self, handle: JSON, requests: tuple[str, ...]) -> InProgress | Ended:
        batch = self._known(handle)
        batch.polled = True
        self._expect(not batch.released, f"{handle} was polled after its release")
        self._expect(requests == tuple(each.id for each in batch.requests), f"{handle} was polled for other members")
        mood = self._mood("poll")
        if mood == "progress":
            return InProgress(0, len(requests))
        if mood != "ended":
            raise_for(mood)
        if batch.state == "live":
            batch.state = "ended"
            batch.results = {each.id: self._result(each.id) for each in batch.requests}
        elif batch.state == "cancelled":
            batch.results = {each.id: Cancelled("stopped") for each in batch.requests}
        return self._report(batch)

    def _release(self, handle: JSON) -> None:
        batch = self._known(handle)
        rows = self._store.read()
        self._expect(batch.key not in rows["batches"], f"{handle} was released before it was closed")
        batch.released = True
        mood = self._mood("release")
        if mood != "well":
            raise_for(mood)

    # -- its results -------------------------------------------------------------------------------------------

    def _result(self, request_id: str) -> Outcome:
        kind = self._pick(["succeeded", "succeeded", "errored", "expired", "cancelled"])
        return {
            "succeeded": Succeeded({"for": request_id}),
            "errored": Errored("429", code="rate_limited", status_code=429, retryable=True),
            "expired": Expired("24 h"),
            "cancelled": Cancelled("stopped"),
        }[kind]

    def _report(self, batch: Batch) -> Ended:
        """Report results in any order, some not at all, some twice, some of strangers, perhaps not to the end."""
        pairs = list(batch.results.items())
        missing: Outcome = Errored("no line", code="missing")
        breaks: Exception | None = None
        if self.draws is not None:
            self.draws.shuffle(pairs)
            del pairs[: self._pick([0, 0, 0, 1, 2])]
            for request_id in self.draws.choices([*batch.results], k=self._pick([0, 0, 1, 2])):
                at = self._pick(range(len(pairs) + 1))
                pairs.insert(at, (request_id, Errored("a second line", code=f"second_{at}")))
            strangers = [*(self.asked.keys() - batch.results.keys()), "ffffffff"]
            for stranger in self.draws.choices(sorted(strangers), k=self._pick([0, 0, 1])):
                pairs.insert(self._pick(range(len(pairs) + 1)), (stranger, Errored("", code="stranger")))
            if self._pick([False, False, False, True]):
                del pairs[self._pick(range(len(pairs) + 1)) :]
                breaks = self._pick([ProviderUnavailable(UNAVAILABLE), ValueError("not JSON")])
            missing = self._pick([missing, Expired("24 h"), Cancelled("stopped")])
            note(f"  {batch.handle}: {pairs}, {missing=}, {breaks=}")
        for request_id in batch.results:
            lines = [outcome for each, outcome in pairs if each == request_id]
            if lines or breaks is None:
                self.said[request_id].append(lines[0] if lines else missing)
        return ended(pairs, missing, breaks)

    # -- the books ---------------------------------------------------------------------------------------------

    def executed_by(self, request_id: str, rows: dict[str, Any]) -> set[int]:
        """Return the calls of `submit` that this request is paid through, or will be, and that came to something.

        Args:
            request_id: The request.
            rows: All of the store's.
        """
        tried = self.on_record[request_id]  # also once it is forgotten
        tried.update(batch for batch, *_ in rows["tries"].get(request_id, {"tries": []})["tries"])
        return {
            batch.call
            for batch in self.batches
            if self._executes(batch, request_id)
            if batch.key not in tried or rows["batches"].get(batch.key, {"stage": "overdue"})["stage"] != "overdue"
        }

    def _executes(self, batch: Batch, request_id: str) -> bool:
        return batch.state in ("live", "ended") and any(each.id == request_id for each in batch.requests)

    def doubles_left(self) -> list[str]:
        """Return the doubles of adopted batches that nobody has cancelled."""
        adopted = {batch.call: batch for batch in self.batches if batch.polled}
        return [
            batch.handle
            for batch in self.batches
            if batch.call in adopted and batch is not adopted[batch.call] and batch.state != "cancelled"
        ]

    def _check_submission(self, key: str, requests: tuple[Request, ...], prepared: JSON) -> None:
        ids = tuple(each.id for each in requests)
        measures = [self.measure(each) for each in requests]
        size = sum(each.bytes for each in measures)
        rows = self._store.read()
        self._expect(len(set(ids)) == len(ids), f"{key} holds a request twice")
        self._expect(self.collected.issuperset(ids), f"{key} holds requests that this process never collected")
        self._expect(all(self.asked[each.id] == each for each in requests), f"{key} holds other items")
        self._expect(len({each.group for each in measures}) == 1, f"{key} mixes groups")
        self._expect(len(ids) <= (self._most.requests or 10**9), f"{key} holds too many requests")
        self._expect(len(ids) == 1 or size <= (self._most.bytes or 10**9), f"{key} holds too many bytes: {size}")
        rows = self._store.read()
        self._expect(not any(self.executed_by(each, rows) for each in ids), f"{key} would pay twice")
        self._expect(rows["members"].get(key, {}).get("ids") == list(ids), f"{key}: members not written first")
        self._expect(rows["batches"].get(key, {}).get("stage") == "prepared", f"{key}: intent not written first")
        self._expect(rows["batches"].get(key, {}).get("prepared") == prepared, f"{key}: cannot be looked for")
        self._expect(not rows["outcomes"].keys() & set(ids), f"{key} holds requests that are settled")
        self._expect(prepared is None or self._files[str(prepared)] == key, f"{key}: another batch's input")
        self._expect(str(prepared) not in self._fenced, f"{key}: its input was deleted")

    def _known(self, handle: JSON) -> Batch:
        for batch in self.batches:
            if batch.handle == handle:
                return batch
        self.violations.append(f"{handle!r} is no batch of ours")
        raise ValueError(handle)

    def _expect(self, truth: bool, otherwise: str) -> None:
        if not truth:
            self.violations.append(otherwise)

    def _mood(self, verb: str) -> str:
        mood: str = self._pick(MOODS[verb])
        note(f"  {verb}: {mood}")
        return mood

    def _pick(self, choices: Sequence[Any]) -> Any:
        return choices[0] if self.draws is None else self.draws.choice(choices)

    async def _call(self, verb: str, act: Any, *arguments: Any) -> Any:
        async def call() -> Any:
            await asyncio.sleep(0)  # a turn for the batches beside this one
            return act(*arguments)

        return await guarded(self._store.fuse, verb, call)
