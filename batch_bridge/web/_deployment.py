"""The bridges of a deployment, as the page shows them: read through the server's own API."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from time import time
from typing import Any, Final

import httpx
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIError

from batch_bridge._node.platform.client import bridge_thread
from batch_bridge._status.commands import Verb
from batch_bridge._status.eta import eta_of
from batch_bridge._status.ledgers import closed_batch, open_batch
from batch_bridge._status.models import Batch, Facts, Failure, Owner, RunStatus, Status, Threads
from batch_bridge._status.rules import rule
from batch_bridge._status.stuck import stuck_lines, warning_lines
from batch_bridge._status.thread import ThreadSeen
from batch_bridge.bridge import Bridge
from batch_bridge.errors import RunFileError

_MOST: Final = 1000
"""Batches of a bridge that are read at once."""
_SHOWN: Final = 200


class Deployment:
    """The bridges of a LangGraph server.

    Args:
        bridges: Them, by the ids of their graphs.
    """

    def __init__(self, bridges: Mapping[str, Bridge]) -> None:
        self._bridges = bridges

    async def look(self) -> Status:
        """See `PageSource`."""
        now = time()
        try:
            seen = await asyncio.gather(*(self._look(name, bridge) for name, bridge in self._bridges.items()))
        except (APIError, httpx.HTTPError) as error:
            raise RunFileError(
                f"the server does not show its bridges ({type(error).__name__}): give Bridge(client=…) one that may "
                "read its threads and its store"
            ) from error
        shown = [values for values, _, _ in seen]
        open_batches = [batch for _, found, _ in seen for batch in found]
        ended = [batch for _, _, found in seen for batch in found]
        queued, in_flight = (sum(int(each.get(name) or 0) for each in shown) for name in ("waiting", "in_flight"))
        outcomes: Counter[str] = Counter()
        for batch in ended:
            outcomes.update(batch.outcomes)
        left = sum(int(each.get("undelivered") or 0) for each in shown)
        unfinished = bool(queued or in_flight or open_batches or left)
        done = outcomes["succeeded"]
        failed = outcomes.total() - done
        threads = Threads(done + failed + queued + in_flight, done, left, queued + in_flight, failed)
        owner = Owner(alive=True, host="the LangGraph server")
        facts = Facts("unknown", owner, threads, (), None, queued, tuple(open_batches), tuple(ended), now, unfinished)
        stuck = [*stuck_lines(facts), *_dead(self._bridges, shown)]
        return Status(
            file=", ".join(self._bridges),
            kind="batcher",
            state="stuck" if stuck else "parked" if unfinished else "failed" if failed else "done",
            at=now,
            as_of=None,
            owner=owner,
            runs=tuple(_run(name, values, found) for name, (values, _, found) in zip(self._bridges, seen, strict=True)),
            threads=threads,
            waves=(),
            batches=(*open_batches, *sorted(ended, key=lambda each: -(each.ended_at or 0))[:_SHOWN]),
            batches_ended=len(ended),
            queued=queued,
            in_flight=in_flight,
            oldest_waiter=_oldest(open_batches, now),
            outcomes=dict(outcomes),
            failures=tuple(_failures(shown)),
            cost=None,
            eta=eta_of(facts) if unfinished else None,
            stuck=tuple(stuck),
            warnings=tuple(warning_lines(facts)),
        )

    async def thread(self, key: str) -> ThreadSeen | None:
        """See `PageSource`."""
        client = self._client()
        try:
            found: Any = await client.threads.get(key)
        except (APIError, httpx.HTTPError):
            return None
        status = str(found.get("status"))
        return ThreadSeen(
            key, 1, None, 0, status == "interrupted", int(status == "error"), "error" if status == "error" else ""
        )

    async def command(self, verb: Verb, target: Mapping[str, str]) -> str:
        """See `PageSource`: started as a run of each bridge's graph, which hands it on."""
        if verb not in ("flush", "cancel") or "run" in target:
            return f"{verb} is refused: a bridge on a server takes flush, and cancel of a thread, a batch, or all"
        names = {"thread": "thread_id", "batch": "batch"}
        given: dict[str, Any] = {names[name]: value for name, value in target.items()}
        commands: dict[str, Any] = {"flush": True} if verb == "flush" else {"cancel": given or "all"}
        try:
            for name, bridge in self._bridges.items():
                client = bridge.access.client()
                thread = (await client.threads.create())["thread_id"]
                await client.runs.create(thread, name, input=commands)
        except (APIError, httpx.HTTPError) as error:
            return f"{verb} is refused: the server does not take it ({type(error).__name__})"
        return f"{verb} is asked, and will be carried out by the next tick"

    def _client(self) -> LangGraphClient:
        return next(iter(self._bridges.values())).access.client()

    async def _look(self, name: str, bridge: Bridge) -> tuple[dict[str, Any], list[Batch], list[Batch]]:
        client = bridge.access.client()
        root = ("batch_bridge", name)
        values, *kinds = await asyncio.gather(
            _values(client, name),
            *(_rows(client, (*root, kind)) for kind in ("batches", "members", "closed")),
        )
        batches, members, closed = kinds
        terms = bridge.terms
        found = [
            open_batch(name, key, row, _members(members.get(key, {})), terms=terms)
            for key, row in sorted(batches.items())
        ]
        return values, found, [closed_batch(name, key, row) for key, row in closed.items() if key not in batches]


async def _values(client: LangGraphClient, name: str) -> dict[str, Any]:
    """Return what a bridge's thread shows; nothing while it has not run."""
    found: Sequence[Any] = await client.threads.search(ids=[bridge_thread(name)], limit=1)
    if not found:  # one with an identity of its own
        found = await client.threads.search(metadata={"graph_id": name}, limit=100)
    shown: list[dict[str, Any]] = [each.get("values") or {} for each in found]
    return next((values for values in shown if "waiting" in values), {})


async def _rows(client: LangGraphClient, namespace: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    while True:
        found = (await client.store.search_items(namespace, limit=_MOST, offset=len(rows)))["items"]
        rows.update((each["key"], each["value"]) for each in found)
        if len(found) < _MOST:
            return rows


def _members(row: Mapping[str, Any]) -> tuple[int, str, float | None]:
    return len(row.get("ids") or ()), row.get("group") or "", (row.get("terms") or {}).get("asked_at")


def _run(name: str, values: Mapping[str, Any], ended: Sequence[Batch]) -> RunStatus:
    waits = int(values.get("waiting") or 0) + int(values.get("in_flight") or 0)
    done = sum(batch.outcomes.get("succeeded", 0) for batch in ended)
    failed = sum(sum(batch.outcomes.values()) for batch in ended) - done
    return RunStatus(name, Threads(done + failed + waits, done, 0, waits, failed))


def _oldest(batches: Sequence[Batch], now: float) -> float | None:
    since = [at for each in batches if (at := each.asked_at or each.submitted_at) is not None]
    return max(now - min(since), 0.0) if since else None


def _failures(shown: Sequence[Mapping[str, Any]]) -> list[Failure]:
    dead = [letter for values in shown for letter in values.get("dead_letters") or ()]
    if not dead:
        return []
    count = sum(map(_dead_count, shown))
    threads = tuple(str(each.get("thread")) for each in dead[:10])
    return [
        Failure(
            "thread", "dead_letter", "errored", None, count, rule("dead_letter", "errored", retryable=True), threads
        )
    ]


def _dead_count(values: Mapping[str, Any]) -> int:
    """Return how many outcomes of a bridge could not be delivered; earlier versions show only the first of them."""
    return int(values.get("dead") or len(values.get("dead_letters") or ()))


def _dead(bridges: Mapping[str, Bridge], shown: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"bridge {name!r}: {_dead_count(values)} outcomes could not be delivered: start its graph with "
        "replay='all' once the cause is removed"
        for name, values in zip(bridges, shown, strict=True)
        if values.get("dead_letters")
    ]
