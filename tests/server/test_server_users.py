"""Threads belong to users: the bridge serves all of them through a service, and nobody sees what is another's."""

from collections.abc import Iterator

import pytest
from deployed import Deployed
from langgraph_sdk.errors import APIStatusError

from batch_bridge._deployment._access import bridge_thread

ANN, BOB, SERVICE = {"x-user": "ann"}, {"x-user": "bob"}, {"x-user": "service"}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    env = {"SERVICE": "1", "MAX_AGE": "2"}
    with Deployed("users", tmp_path_factory.mktemp("users"), env=env) as running:
        yield running


@pytest.mark.parametrize("graph", ["agent", "sync"])
async def test_one_bridge_serves_all_users(deployed, graph) -> None:
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob:
        anns = [await ann.start(graph) for _ in range(2)]
        bobs = [await bob.start(graph) for _ in range(2)]
        for client, threads in ((ann, anns), (bob, bobs)):
            ended = await client.ended(*threads)
            assert [seen["values"]["out"] for seen in ended] == [[f"{thread}!"] for thread in threads]
        assert all(deployed.sent(thread) == {thread: 1} for thread in anns + bobs)


async def test_nobody_sees_anothers_threads_or_the_bridges(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob, deployed.client(SERVICE) as service:
        try:
            thread = await ann.start("agent")
            await service.shows(in_flight=1)
            for hidden, client in ((thread, bob), (bridge_thread("bridge"), bob), (bridge_thread("bridge"), ann)):
                with pytest.raises(APIStatusError):
                    await client.look(hidden)
                assert not await client.threads.search(ids=[hidden])
                with pytest.raises(APIStatusError):
                    await client.runs.list(hidden)
            assert await ann.parked(thread)
            for client in (ann, bob):
                with pytest.raises(APIStatusError):
                    await client.store.search_items(("batch_bridge",))
        finally:
            deployed.let_go("bridge")
        await ann.ended(thread)


async def test_equal_requests_are_shared_by_one_user_and_never_by_two(deployed) -> None:
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob:
        threads = [(client, await client.start("shared")) for client in (ann, ann, bob, bob)]
        for client, thread in threads:
            (ended,) = await client.ended(thread)
            assert ended["values"]["out"] == ["the same for all!"]
        assert deployed.sent("the same for all") == {"the same for all": 2}
        for client in (ann, bob):  # from the cache now
            await client.ended(await client.start("shared"))
        assert deployed.sent("the same for all") == {"the same for all": 2}


async def test_without_a_service_the_second_user_is_told_what_to_configure(tmp_path) -> None:
    with Deployed("users", tmp_path) as deployed:
        async with deployed.client(ANN) as ann, deployed.client(BOB) as bob:
            first = await ann.start("agent")
            await ann.ended(first)
            for graph in ("agent", "sync"):
                second = await bob.start(graph)
                error = await bob.error(second)
                assert "BridgeUnreachableError" in error
                assert "client=get_client(" in error
                assert "'bob'" in error.replace("\\", "")
                assert not deployed.sent(second)
            await ann.ended(await ann.start("agent"))
