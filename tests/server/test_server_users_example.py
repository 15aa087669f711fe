"""The handler that `examples/users` ships, attacked by a user on a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest
from deployed import Client, until
from langgraph_sdk import get_client
from langgraph_sdk.errors import APIStatusError
from warm_server import WarmServer

from batch_bridge._node.platform.client import ON_BEHALF_OF, bridge_thread
from batch_bridge.testing import BatchServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "users"
TOKENS = {"ann-token-0123456789": "ann", "mallory-token-01234567": "mallory"}
ANN, MALLORY, SERVICE = ({"Authorization": f"Bearer {token}"} for token in (*TOKENS, "bridge-token-0123456789"))
BRIDGE = str(uuid5(UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8"), "bridge"))
"""The assistant of the bridge's graph."""
DENIED = {401, 403, 404, 409, 422}
"""A thread that may not be read cannot be copied: 409."""


class Example:
    """The example on a development server, before our Batch API server."""

    def __init__(self, batches: BatchServer, server: WarmServer) -> None:
        self.batches, self.server = batches, server

    def client(self, headers: dict[str, str]) -> Client:
        return Client(get_client(url=self.server.url, headers=headers))

    async def ask(self, client: Client, question: str) -> str:
        thread = (await client.threads.create())["thread_id"]
        await client.runs.create(thread, "adviser", input={"question": question})
        return thread


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("example")
    with BatchServer() as batches:
        env = {
            "OPENAI_BASE_URL": batches.base_url,
            "OPENAI_API_KEY": "test",
            "BRIDGE_QUIET_SECONDS": "0.1",
            "BRIDGE_POLL_SECONDS": "1",
            "BRIDGE_TOKEN": "bridge-token-0123456789",
            "USER_TOKENS": json.dumps(TOKENS),
            "PYTHONPATH": str(EXAMPLE.parents[1]),
        }
        server = WarmServer(EXAMPLE / "langgraph.json", folder=folder, env=env)
        with server:
            yield Example(batches, server)


async def denied(call: Any) -> None:
    with pytest.raises((APIStatusError, httpx.HTTPStatusError)) as refused:  # `runs.wait` raises the latter
        await call
    assert refused.value.response.status_code in DENIED


async def test_each_user_is_served_in_that_users_own_name(example) -> None:
    ann, mallory, service = (example.client(each) for each in (ANN, MALLORY, SERVICE))
    threads = [(client, await example.ask(client, "What is a bell?")) for client in (ann, mallory)]
    for client, thread in threads:
        (ended,) = await client.ended(thread)
        assert "bell" in ended["values"]["answer"]
        assert len(await client.runs.list(thread)) == 2
    found = (await service.store.list_namespaces(prefix=["memory"]))["namespaces"]
    assert sorted(map(tuple, found)) == [("memory", "ann"), ("memory", "mallory")]


async def test_a_user_gets_neither_the_bridge_nor_its_thread_nor_the_store(example) -> None:
    mallory, service, ann = (example.client(each) for each in (MALLORY, SERVICE, ANN))
    await ann.ended(await example.ask(ann, "first"))
    (own,) = [
        each["thread_id"]
        for each in await service.threads.search(metadata={"graph_id": "bridge"}, limit=100)
        if "waiting" in (each["values"] or {})
    ]
    mine = (await mallory.threads.create())["thread_id"]
    for commands in ({"cancel": "all"}, {"flush": True}, {"replay": "all"}, {}):
        for assistant in ("bridge", BRIDGE):
            for thread in (None, mine, own):
                await denied(mallory.runs.wait(thread, assistant, input=commands))
                await denied(mallory.runs.create(thread, assistant, input=commands))
    sdk = mallory.sdk
    await denied(sdk.crons.create(BRIDGE, schedule="* * * * *", input={"flush": True}))
    await denied(sdk.assistants.create("bridge"))
    await denied(sdk.assistants.create("adviser"))
    await denied(sdk.assistants.get(BRIDGE))
    await denied(sdk.assistants.update(BRIDGE, metadata={"created_by": "mallory"}))
    await denied(sdk.assistants.search(graph_id="bridge"))
    for call in (
        mallory.look(own),
        mallory.threads.get_state(own),
        mallory.threads.get_history(own),
        mallory.threads.update_state(own, {"cancel": "all"}, as_node="collect"),
        mallory.threads.update(own, metadata={"owner": "mallory"}),
        mallory.threads.copy(own),
        mallory.threads.delete(own),
        mallory.runs.list(own),
    ):
        await denied(call)
    assert {each["metadata"]["owner"] for each in await mallory.threads.search(limit=100)} == {"mallory"}
    for call in (
        mallory.store.search_items(("batch_bridge",)),
        mallory.store.get_item(("batch_bridge", "threads", "users"), key=mine),
        mallory.store.put_item(("batch_bridge", "threads", "users"), key=mine, value={"user": "ann"}),
        mallory.store.put_item(("batch_bridge", "bridge", "commands"), key="o", value={"verb": "flush"}),
        mallory.store.delete_item(("batch_bridge", "threads", "users"), key=mine),
        mallory.store.list_namespaces(),
    ):
        await denied(call)
    assert (await service.look(own))["thread_id"] == own


async def test_nobody_but_the_service_acts_for_another(example) -> None:
    ann = example.client(ANN)
    thread = await example.ask(ann, "whose?")
    await ann.ended(thread)
    for headers in (
        {**MALLORY, ON_BEHALF_OF: "ann"},
        {**MALLORY, ON_BEHALF_OF: "batch-bridge-service"},
        {**MALLORY, "x-auth-scheme": "langsmith"},
        {"x-auth-scheme": "langsmith"},
        {"Authorization": "Bearer", ON_BEHALF_OF: "ann"},
    ):
        await denied(example.client(headers).look(thread))


async def test_a_bridges_thread_cannot_be_made_beforehand(example) -> None:
    ann, mallory = example.client(ANN), example.client(MALLORY)
    squatted = bridge_thread("bridge")
    await mallory.threads.create(thread_id=squatted)
    await ann.ended(await example.ask(ann, "after the squatter"))
    assert not await mallory.runs.list(squatted)
    assert not (await mallory.look(squatted))["values"]


async def test_a_user_cannot_give_a_thread_away(example) -> None:
    ann, mallory = example.client(ANN), example.client(MALLORY)
    thread = (await mallory.threads.create(metadata={"owner": "ann"}))["thread_id"]
    await mallory.threads.update(thread, metadata={"owner": "ann"})
    await mallory.runs.create(
        thread, "adviser", input={"question": "as ann"}, metadata={"owner": "ann", "batch_bridge_user": "mallory"}
    )
    await mallory.ended(thread)
    await denied(ann.look(thread))
    listed = await mallory.runs.list(thread)
    assert {run["kwargs"]["config"]["configurable"]["langgraph_auth_user_id"] for run in listed} == {"mallory"}


async def test_the_service_sees_all(example) -> None:
    service, ann = example.client(SERVICE), example.client(ANN)
    thread = await example.ask(ann, "for all to see")

    async def seen() -> Any:
        return (await service.look(thread))["status"] == "idle"

    await until(seen, "ann's thread ends")
