"""What a deployment's store and cache hold of one user is erased by an order of its service, and nothing of another's."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import Client, Deployed, until

ANN, BOB, SERVICE = {"x-user": "ann"}, {"x-user": "bob"}, {"x-user": "service"}
ERASED = {"id": "go", "verb": "erase", "requests": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("erase")


@pytest.fixture(scope="module")
def deployed(folder) -> Iterator[Deployed]:
    with Deployed("users", folder, env={"SERVICE": "1", "MAX_AGE": "1"}) as running:
        yield running


async def stored(service: Client) -> str:
    """Return all rows of ours, but for what is held of whole batches: ids, and the handle that `submit` has returned."""
    namespaces = (await service.store.list_namespaces(prefix=["batch_bridge"], limit=1000))["namespaces"]
    rows = [
        row
        for namespace in namespaces
        if not {"members", "batches", "closed"}.intersection(namespace)
        for row in (await service.store.search_items(tuple(namespace), limit=1000))["items"]
    ]
    return json.dumps(rows)


async def test_what_is_held_of_a_user_is_erased_and_nothing_of_another(deployed, folder) -> None:
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob, deployed.client(SERVICE) as service:
        answered = await ann.start("plain", input={"draft": "ann's secret"})
        others = await bob.start("plain", input={"draft": "bob's secret"})
        await ann.ended(answered)
        await bob.ended(others)
        deployed.hold("bridge", "secret wait")
        waiting = await ann.start("plain", input={"draft": "ann's secret wait"})
        await ann.parked(waiting)

        async def sent() -> bool:
            return bool(deployed.sent("secret wait"))

        await until(sent, "ann's second request is at the provider")
        kept = await stored(service)
        assert answered in kept or "ann's secret" in kept
        error = await run_fails(ann, erase={"user": "ann"})
        assert "CommandError" in error
        await ann.threads.delete(answered)
        await service.tick(erase={"user": "ann"}, id="go")

        async def done() -> bool:
            shown = (await service.bridge()).get("commands") or []
            return any({name: each.get(name) for name in ERASED} | {"requests": 2} == ERASED for each in shown)

        await until(done, "the erasure is shown", say=service.bridge)
        error = await ann.error(waiting)
        assert "RequestCancelled" in error
        await ann.threads.delete(waiting)
        deployed.let_go("bridge")
        await service.tick(erase={"user": "ann"}, id="go once more")

        async def gone() -> bool:
            await service.tick()
            kept = await stored(service)
            return not any(part in kept for part in ("ann", answered, waiting))

        await until(gone, "nothing of ann's is in the store", say=lambda: stored(service))
        kept = await stored(service)
        assert "bob" in kept
        cached = b"".join(each.read_bytes() for each in folder.glob("answers.db*"))
        assert b"bob's secret!" in cached
        assert b"ann" not in cached
        assert (await bob.look(others))["values"]["out"] == "bob's secret!"
        again = await bob.start("plain", input={"draft": "bob's secret"})
        await bob.ended(again)
        assert deployed.sent("bob's secret") == {"bob's secret": 1}


async def run_fails(client: Client, **commands: object) -> str:
    """Give commands on a thread of one's own, and return what the run failed with."""
    thread = await client.start("bridge", input=commands)
    return await client.error(thread)
