"""Threads belong to users: the bridge serves all of them through a service, and nobody sees what is another's."""

import asyncio
from collections.abc import Iterator

import pytest
from deployed import Deployed
from langgraph_sdk.errors import APIStatusError

from batch_bridge._node.platform.client import bridge_thread

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


async def test_every_round_is_the_users_own_and_sees_no_more_than_the_first(deployed) -> None:
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob:
        secret = (await ann.threads.create())["thread_id"]
        mine = await ann.start("spies", secret)
        thread = await bob.start("spies", secret)
        (hers,) = await ann.ended(mine)
        (his,) = await bob.ended(thread)
        assert hers["values"]["out"] == [["ann", secret]] * 3
        assert his["values"]["out"] == [["bob", "HTTP 404"]] * 3
        assert {
            each["kwargs"]["config"]["configurable"]["langgraph_auth_user_id"] for each in await bob.runs.list(thread)
        } == {"bob"}


async def test_two_users_share_nothing_in_any_round(deployed) -> None:
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob:
        for _ in range(2):  # together, then from the cache
            threads = [(client, await client.start("rounds")) for client in (ann, ann, bob, bob)]
            for client, thread in threads:
                (ended,) = await client.ended(thread)
                assert ended["values"]["out"] == ["round 0 of all!", "round 1 of all!", "fail 2 of all!"]
        sent = deployed.sent("of all")
        assert (sent["round 0 of all"], sent["round 1 of all"]) == (2, 2)
        assert sent["fail 2 of all"] >= 3  # one fails, is asked again, and the other user's is a line of its own


async def test_a_user_orders_for_threads_of_that_user_alone(deployed) -> None:
    deployed.hold("bridge")
    async with deployed.client(ANN) as ann, deployed.client(BOB) as bob, deployed.client(SERVICE) as service:
        try:
            hers, his = await ann.start("agent"), await bob.start("agent")
            await service.shows(in_flight=2)
            (asked,) = (await ann.parked(hers))[0]["value"]["requests"]
            for commands in (
                {"cancel": "all"},
                {"flush": True},
                {"replay": "all"},
                {"cancel": {"thread_id": his}, "by": ""},
            ):
                assert "CommandError" in str(await bob.runs.wait(None, "bridge", input=commands, raise_error=False)), (
                    commands
                )
            for number, what in enumerate(({"thread_id": [hers]}, {"request_id": asked["id"]})):
                await bob.runs.wait(None, "bridge", input={"cancel": what, "id": f"theft {number}"})
            await bob.runs.wait(None, "bridge", input={"cancel": {"thread_id": his}, "id": "own"})
            assert "RequestCancelled" in await bob.error(his)
            async with asyncio.timeout(30):  # what was done is shown once the thread's run has ended
                while "own" not in (
                    done := {each["id"]: each["requests"] for each in (await service.bridge())["commands"]}
                ):
                    await asyncio.sleep(0.2)
            assert (done["theft 0"], done["theft 1"], done["own"]) == (0, 0, 1)
            assert (await ann.look(hers))["status"] == "interrupted"
        finally:
            deployed.let_go("bridge")
        await ann.ended(hers)


async def test_a_thread_of_the_id_that_a_bridge_without_users_has_is_none_of_the_bridges(deployed) -> None:
    async with deployed.client(ANN) as ann, deployed.client(BOB) as mallory:
        await mallory.threads.create(thread_id=bridge_thread("bridge"), if_exists="do_nothing")
        await ann.ended(await ann.start("agent"))
        assert not await mallory.runs.list(bridge_thread("bridge"))


async def test_the_client_may_be_made_for_the_user(tmp_path) -> None:
    with Deployed("users", tmp_path, env={"SERVICE": "user", "DEAF": "1"}) as deployed:
        async with deployed.client(BOB) as bob:
            (ended,) = await bob.ended(await bob.start("spies", "00000000-0000-0000-0000-000000000000"))
            assert [who for who, _ in ended["values"]["out"]] == ["bob"] * 3


async def test_a_service_that_the_server_takes_for_nobody_else_is_refused_at_the_first_wait(tmp_path) -> None:
    with Deployed("users", tmp_path, env={"SERVICE": "1", "DEAF": "1"}) as deployed:
        async with deployed.client(BOB) as bob:
            for graph in ("agent", "sync"):
                thread = await bob.start(graph)
                error = await bob.error(thread)
                assert "BridgeUnreachableError" in error
                assert "client=lambda user: get_client(" in error
                assert "assigned it to 'service'" in error
                assert not deployed.sent(thread)


async def test_without_a_service_the_first_wait_is_told_what_to_configure(tmp_path) -> None:
    with Deployed("users", tmp_path) as deployed:
        async with deployed.client(ANN) as ann:
            for graph in ("agent", "sync"):
                thread = await ann.start(graph)
                error = await ann.error(thread)
                assert "BridgeUnreachableError" in error
                assert "client=lambda user: get_client(" in error
                assert "'ann'" in error
                assert not deployed.sent(thread)
