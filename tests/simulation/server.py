"""A LangGraph server: threads of agents, and runs that one of several workers takes.

Agents are scripts, not graphs: what they ask, and in how many rounds. A run is done at least once: one whose worker
has died is given to another one after a while.
"""

import asyncio
import hashlib
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
from langgraph_sdk.errors import NotFoundError

from batch_bridge._core import clock as _clock
from batch_bridge._core.models import Outcome
from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, read_envelope, to_json
from batch_bridge._node.platform.inbox import note_row
from simulation.store import SimStore
from simulation.world import Blip, World

_LOST = 60.0
"""Seconds after which a run is given to another worker whose own has died."""


@dataclass(slots=True)
class Agent:
    """A thread.

    Attributes:
        rounds: What it asks, round by round.
        outcomes: What it was told, by question.
    """

    name: str
    rounds: list[list[str]]
    at: int = 0
    status: str = "idle"
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    inbox: list[dict[str, Any] | None] = field(default_factory=list)
    is_working: bool = False
    is_gone: bool = False

    @property
    def is_over(self) -> bool:
        return self.at >= len(self.rounds)

    @property
    def address(self) -> str:
        return f"at {self.name} {self.at}"

    def asks(self) -> dict[str, str]:
        """Return what it asks now, by request id."""
        if self.is_over:
            return {}
        return {_id(self.name, self.at, question): question for question in self.rounds[self.at]}


class Server:
    """The server's own side, which outlives every worker."""

    def __init__(self, world: World, store: SimStore, agents: list[Agent]) -> None:
        self.world = world
        self.store = store
        self.random = random.Random(f"{world.plan.host} {world.plan.seed} server")
        self.agents = {each.name: each for each in agents}
        self.ticks: list[dict[str, Any]] = []
        self.process = world.begin(is_immortal=True)
        self._runs = 0
        self.threads = SimpleNamespace(
            search=self._search, get=self._get, get_state=self._get_state, prune=self._nothing
        )
        self.runs = SimpleNamespace(create=self._create, list=self._list, delete=self._nothing)

    # -- what a worker calls ---------------------------------------------------------------------------------

    async def _call(self, verb: str, work: Any) -> Any:
        return await self.world.call("server", verb, work, fails=httpx.ConnectError, loses=httpx.ReadTimeout)

    async def _search(self, *, ids: list[str] | None = None, offset: int = 0, **_: Any) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            named = [each for each in (self.agents if ids is None else ids) if self._has(each)]
            rows = [self._row(self.agents[each]) for each in named]
            return [each for each in rows if ids is not None or each["status"] == "interrupted"][offset:]

        return await self._call("search", found)

    async def _get(self, thread: str, **_: Any) -> dict[str, Any]:
        def got() -> dict[str, Any]:
            if not self._has(thread):
                raise _none()
            return self._row(self.agents[thread])

        return await self._call("get", got)

    async def _get_state(self, thread: str, **_: Any) -> dict[str, Any]:
        def got() -> dict[str, Any]:
            if not self._has(thread):
                raise _none()
            tasks = self._row(self.agents[thread])["interrupts"].items()
            return {"tasks": [{"name": name, "error": None, "interrupts": raised} for name, raised in tasks]}

        return await self._call("get state", got)

    async def _create(
        self, thread: str, assistant: str, *, command: Any = None, after_seconds: Any = 0, **named: Any
    ) -> Any:
        def created() -> dict[str, Any]:
            if command is not None and not self._has(thread):
                raise _none()
            self._runs += 1
            run = {"run_id": f"run-{self._runs}", "thread_id": thread}
            if command is not None:
                self.agents[thread].inbox.append(command["resume"])
                self._work_on(self.agents[thread])
            else:
                self._ask(run["run_id"], after_seconds or 0, named.get("metadata") or {})
            return run

        return await self._call("create", created)

    async def _list(self, thread: str, *, status: str = "", **_: Any) -> list[dict[str, Any]]:
        def listed() -> list[dict[str, Any]]:
            if self._has(thread):
                agent = self.agents[thread]
                runs = [{"kwargs": {}} for _ in agent.inbox]
                return runs if status == "pending" else [{"kwargs": {}}] if agent.is_working else []
            return [dict(each) for each in self.ticks if each["status"] == status]

        return await self._call("list", listed)

    async def _nothing(self, *_: Any, **__: Any) -> None:
        """The server tidies up, or not."""

    def _row(self, agent: Agent) -> dict[str, Any]:
        asked = [to_json(Asked(each, "bridge", {"q": question})) for each, question in agent.asks().items()]
        is_parked = agent.status == "interrupted" or (agent.status == "busy" and not agent.is_working)
        interrupts = {"task": [{"id": agent.address, "value": interrupt_value(asked)}]} if asked and is_parked else {}
        return {
            "thread_id": agent.name,
            "status": agent.status,
            "interrupts": interrupts,
            "metadata": {"assistant_id": "agent"},
            "updated_at": "2020-01-01T00:00:00+00:00",  # by a version that signed nothing
        }

    def _has(self, thread: str) -> bool:
        return thread in self.agents and not self.agents[thread].is_gone

    # -- agents ----------------------------------------------------------------------------------------------

    def begin(self, agent: Agent) -> None:
        """Start a thread."""
        agent.inbox.append(None)
        self._work_on(agent)

    def delete(self, agent: Agent) -> None:
        """Delete a thread as a person does who does not look whether it waits; while it runs it cannot be deleted."""
        if agent.is_working:
            self.world.loop.call_later(1.0, self.delete, agent)
        elif not agent.is_over:
            agent.is_gone = True

    def _work_on(self, agent: Agent) -> None:
        agent.status = "busy"
        if not agent.is_working:
            agent.is_working = True
            self.world.loop.create_task(self.world.work(self.process, lambda: self._work(agent)))

    async def _work(self, agent: Agent) -> None:
        while agent.inbox:
            await asyncio.sleep(self.random.choice((0.0, 0.1, 3.0)))
            resume = agent.inbox.pop(0)
            if resume is not None and agent.address in resume:
                told = read_envelope(resume[agent.address])
                asks = agent.asks()
                assert told.keys() <= asks.keys(), f"{agent.name} was given {told}, and asks {asks}"
                agent.outcomes.update((asks[each], outcome) for each, outcome in told.items())
                if told.keys() == asks.keys():
                    agent.at += 1
            if not agent.is_over:
                await self._note(agent)
        agent.is_working = False
        agent.status = "idle" if agent.is_over else "interrupted"

    async def _note(self, agent: Agent) -> None:
        """Do what `wait` does before its thread parks."""
        while True:
            try:
                await self.store.abatch([note_row("bridge", agent.name, "", agent.asks(), idle=False)])
            except Blip:
                await asyncio.sleep(1.0)
            else:
                break
        if not any(each["status"] == "pending" and each["at"] <= self.world.loop.time() + 1 for each in self.ticks):
            self._runs += 1
            self._ask(f"run-{self._runs}", 1, {"due": _clock.now().timestamp() + 1})

    # -- ticks -----------------------------------------------------------------------------------------------

    def _ask(self, run_id: str, after: float, metadata: Any) -> None:
        at = self.world.loop.time() + after
        self.ticks.append({"run_id": run_id, "at": at, "status": "pending", "metadata": metadata, "attempt": 1})

    def take(self) -> dict[str, Any] | None:
        """Return the bridge's next run that is due."""
        due = [each for each in self.ticks if each["status"] == "pending" and each["at"] <= self.world.loop.time()]
        if not due:
            return None
        run = min(due, key=lambda each: each["at"])
        run["status"] = "running"
        return run

    def lose(self, run: dict[str, Any]) -> None:
        """Give a run to another worker, after a while."""
        run |= {"status": "pending", "at": self.world.loop.time() + _LOST, "attempt": run["attempt"] + 1}

    @property
    def is_quiet(self) -> bool:
        """Whether nothing runs and nothing is due any more."""
        return not any(each["status"] != "done" for each in self.ticks) and not any(
            each.is_working or each.inbox for each in self.agents.values()
        )


def _none() -> NotFoundError:
    answer = httpx.Response(404, request=httpx.Request("GET", "http://server"))
    return NotFoundError("there is none", response=answer, body={})


def thread_of(name: str) -> str:
    """Return the thread of a name: on a server threads are UUIDs."""
    return str(UUID(bytes=name.encode().ljust(16, b"\0")))


def _id(thread: str, number: int, question: str) -> str:
    return hashlib.blake2b(f"{thread} {number} {question}".encode(), digest_size=16).hexdigest()
