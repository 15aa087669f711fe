"""Threads of Aegra as a bridge sees them: a real PostgreSQL with Aegra's tables, and its API as far as it is called."""

import json
from dataclasses import replace
from typing import TypedDict
from uuid import uuid4

import httpx
import pytest
from hosted import KEYS, key_ring
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import StateGraph
from langgraph.types import interrupt
from langgraph_sdk.client import LangGraphClient
from postgres import cluster

from batch_bridge._core.payload.interrupt_payload import Asked, interrupt_value, to_json
from batch_bridge._node.platform.client import ON_BEHALF_OF, Access
from batch_bridge._server.port.aegra import AegraServer
from batch_bridge._server.port.postgres import connections
from batch_bridge._server.port.threads import ThreadBusyError
from batch_bridge.errors import BridgeUnreachableError

TABLES = (
    """
CREATE TABLE thread (
    thread_id text PRIMARY KEY, status text DEFAULT 'idle', metadata_json jsonb DEFAULT '{}', user_id text NOT NULL,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
)""",
    """
CREATE TABLE runs (
    run_id text PRIMARY KEY, thread_id text NOT NULL, status text DEFAULT 'pending', config jsonb, context jsonb,
    user_id text NOT NULL, created_at timestamptz DEFAULT clock_timestamp()
)""",
)
"""As far as a bridge reads them. Source: `aegra_api/core/orm.py`, 0.11."""


class State(TypedDict, total=False):
    ids: list[str]


async def node(state: State):
    thread, ids = state["ids"][0], state["ids"][1:]
    value = interrupt_value([to_json(Asked(each, "bridge", {"q": each})) for each in ids])
    interrupt({**value, "mac": KEYS.sign("interrupt", thread, value)})


class Aegra:
    """A database with threads, and the call that resumes one: what it was given, and what it answers."""

    def __init__(self, pool, *, service=False):
        self.pool, self.created = pool, []
        self.status, self.said = 200, "{}"
        self.before = self.inside = None
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._create), base_url="http://aegra")
        access = Access(LangGraphClient(http))
        self.server = AegraServer("bridge", access, pool, AsyncPostgresSaver(pool).serde, key_ring())

    async def _create(self, request):
        self.created.append((json.loads(request.content), dict(request.headers)))
        if self.inside is not None:
            await self.inside()
        return httpx.Response(self.status, json={"detail": self.said})

    async def put(self, *ids, status="interrupted", run="interrupted", user="anonymous", config=None, context=None):
        """Make a thread that is parked at some requests, and the run that has brought it there."""
        thread = str(uuid4())
        if ids:
            graph = StateGraph(State).add_node("node", node).add_edge("__start__", "node")
            graph = graph.compile(checkpointer=AsyncPostgresSaver(self.pool))
            await graph.ainvoke({"ids": [thread, *ids]}, {"configurable": {"thread_id": thread}})
        async with self.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO thread VALUES (%s, %s, %s, %s)", (thread, status, '{"assistant_id": "agent"}', user)
            )
            await connection.execute(
                "INSERT INTO runs VALUES (%s, %s, %s, %s, %s, %s)",
                (str(uuid4()), thread, run, json.dumps(config), json.dumps(context), user),
            )
        return thread

    async def run(self, thread, status="pending"):
        async with self.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO runs (run_id, thread_id, status, user_id) VALUES (%s, %s, %s, 'anonymous')",
                (str(uuid4()), thread, status),
            )

    async def resume(self, thread, view=None):
        view = view or (await self.server.look([thread]))[thread]
        await self.server.resume(view, view.parked, {each.id: {"a": 1} for each in view.parked}, 0)


@pytest.fixture(scope="module")
def postgres():
    with cluster() as made:
        yield made


@pytest.fixture
async def aegra(postgres):
    dsn = postgres.create(f"aegra{uuid4().hex}")
    async with connections(dsn, 8) as pool:
        await AsyncPostgresSaver(pool).setup()
        async with pool.connection() as connection:
            for each in TABLES:
                await connection.execute(each)
        yield Aegra(pool)


async def test_threads_that_were_not_asked_for_are_not_shown(aegra):
    mine, other = await aegra.put("one"), await aegra.put("two")
    gone = str(uuid4())
    seen = await aegra.server.look([mine, gone])
    assert [each.id for each in seen[mine].asks("bridge")] == ["one"]
    assert seen.keys() == {mine}
    assert await aegra.server.present([mine, gone]) == {mine}
    views, is_last = await aegra.server.parked(0, None)
    assert {each.id for each in views} == {mine, other}
    assert is_last


@pytest.mark.parametrize("run", ["pending", "running"])
async def test_a_thread_whose_run_may_begin_again_shows_nothing(aegra, run):
    """A run whose process was killed begins again from its input, and asks under other ids."""
    thread = await aegra.put("one", run=run)
    view = (await aegra.server.look([thread]))[thread]
    assert (view.busy, view.parked, view.ended) == (True, (), False)
    assert await aegra.server.is_under_way(thread)


async def test_what_became_of_a_thread_is_read_from_its_status(aegra):
    idle, failed = await aegra.put(status="idle", run="success"), await aegra.put("one", status="error", run="error")
    seen = await aegra.server.look([idle, failed])
    assert (seen[idle].ended, seen[idle].failed) == (True, False)
    assert (seen[failed].ended, seen[failed].failed, seen[failed].parked) == (False, True, ())


async def test_an_interrupt_of_another_thread_is_not_obeyed(aegra):
    thread, other = await aegra.put("one"), str(uuid4())
    async with aegra.pool.connection() as connection:  # as a user could who copies a checkpoint
        await connection.execute("UPDATE checkpoints SET thread_id = %s", (other,))
        await connection.execute("UPDATE checkpoint_writes SET thread_id = %s", (other,))
        await connection.execute("UPDATE thread SET thread_id = %s WHERE thread_id = %s", (other, thread))
    view = (await aegra.server.look([other]))[other]
    assert view.parked == ()
    assert "ignored" in view.refused


async def test_a_run_is_given_the_settings_of_the_one_before_it(aegra):
    config = {"recursion_limit": 7, "tags": ["mine"], "configurable": {"model": "m"}, "metadata": {"no": 1}}
    thread = await aegra.put("one", config=config)
    await aegra.resume(thread)
    [(body, headers)] = aegra.created
    assert body["assistant_id"] == "agent"
    assert body["config"]["recursion_limit"] == 7
    assert body["config"]["tags"] == ["mine"]
    assert body["config"]["metadata"] == {"batch_bridge": "bridge", "batch_bridge_strikes": 0, "batch_bridge_by": [""]}
    assert list(body["command"]["resume"].values()) == [{"a": 1}]
    assert ON_BEHALF_OF not in headers


async def test_a_resume_does_not_begin_at_the_checkpoint_that_the_run_before_it_named(aegra):
    own = {"model": "m", "checkpoint_id": "1f0", "checkpoint_ns": "", "checkpoint_map": {"": "1f0"}}
    thread = await aegra.put("one", config={"configurable": own})
    view = (await aegra.server.look([thread]))[thread]
    async with aegra.pool.connection() as connection:
        run = await (await connection.execute("SELECT run_id FROM runs WHERE thread_id = %s", (thread,))).fetchone()
    await aegra.resume(thread, replace(view, parked=[replace(each, origin=run["run_id"]) for each in view.parked]))
    [(body, _)] = aegra.created
    assert body["config"]["configurable"] == {"model": "m"}


async def test_a_thread_is_resumed_as_its_user(aegra):
    thread = await aegra.put("one", user="ada lovelace")
    await aegra.resume(thread)
    [(body, headers)] = aegra.created
    assert headers[ON_BEHALF_OF] == "ada%20lovelace"
    assert body["config"]["metadata"]["batch_bridge_user"] == "ada lovelace"


async def test_only_one_of_several_resumes_at_once_begins(aegra):
    thread = await aegra.put("one")
    view = (await aegra.server.look([thread]))[thread]

    async def another_comes():
        with pytest.raises(ThreadBusyError, match="another process"):
            await aegra.resume(thread, view)
        await aegra.run(thread)

    aegra.inside = another_comes
    await aegra.resume(thread, view)
    with pytest.raises(ThreadBusyError, match="any more"):
        await aegra.resume(thread, view)
    assert len(aegra.created) == 1


async def test_a_thread_that_aegra_finds_busy_is_looked_at_again(aegra):
    thread = await aegra.put("one")
    aegra.status, aegra.said = 400, "Cannot resume: thread is not in interrupted state"
    with pytest.raises(ThreadBusyError):
        await aegra.resume(thread)


async def test_a_thread_that_is_hidden_from_the_bridge_says_what_to_configure(aegra):
    thread = await aegra.put("one", user="ada")
    aegra.status = 404
    with pytest.raises(BridgeUnreachableError, match=r"user 'ada' on Aegra \(HTTP 404\).*client=lambda user"):
        await aegra.resume(thread)

    async def delete():
        async with aegra.pool.connection() as connection:
            await connection.execute("DELETE FROM thread")

    aegra.inside = delete
    with pytest.raises(httpx.HTTPError):  # it is gone: no fault of the configuration
        await aegra.resume(thread)


async def test_nothing_is_idle_while_a_run_is_under_way(aegra):
    thread = await aegra.put("one")
    assert await aegra.server.is_idle()
    await aegra.run(thread)
    assert not await aegra.server.is_idle()
