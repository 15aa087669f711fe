"""What is wrong is an error on the thread that waits, and says what to do; nobody is left waiting in silence."""

from collections.abc import Iterator

import pytest
from deployed import Deployed


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployed]:
    without = {"OPENAI_API_KEY": "", "OPENAI_ADMIN_KEY": "", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    with Deployed("mixed", tmp_path_factory.mktemp("bad"), jobs=30, env=without) as running:
        yield running


@pytest.mark.parametrize(
    ("batcher", "do", "says"),
    [
        ("nobody", "x", ["UnknownBatcherError", "'nobody'", "langgraph.json"]),
        ("item", "x", ["UnknownBatcherError", "'item'", "is not a bridge"]),
        ("bridge", "object", ["JSONError"]),
        ("bridge", "set", ["JSONError"]),
        ("bridge", "nan", ["JSONError"]),
        ("poor", "x", ["RequestFailed", "it is a string"]),
        ("no_submit", "x", ["RequestFailed", "the desk is closed"]),
        ("no_poll", "x", ["RequestFailed", "the desk is closed"]),
        ("bridge", "broken x", ["RequestFailed", "no answer to broken x"]),
    ],
    ids=str,
)
async def test_bad_input_is_an_error_on_the_waiting_thread(deployed, batcher, do, says) -> None:
    async with deployed.client() as client:
        thread = await client.start("item", input={"name": "x", "batcher": batcher, "do": do})
        error = await client.error(thread)
    for word in says:
        assert word in error


async def test_a_large_item_is_carried(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("item", input={"name": "x", "batcher": "bridge", "do": "large"})
        (ended,) = await client.ended(thread)
    assert len(ended["values"]["out"][0]) == 2_000_001


async def test_a_provider_without_credentials_says_so_to_the_thread(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("rich", input={"name": "x"})
        error = await client.error(thread)
    assert "RequestFailed" in error
    assert "api_key" in error or "credentials" in error


async def test_an_item_that_is_too_large_for_its_provider(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("too_large", input={"name": "x"})
        error = await client.error(thread)
    assert "RequestFailed" in error
    assert "bytes long" in error


async def test_a_nondeterministic_node_is_told_so_after_few_requests(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("unlike")
        error = await client.error(thread)
    assert "NondeterministicNodeError" in error
    assert "key=" in error
    assert sum(deployed.sent(thread).values()) <= 2


async def test_a_subgraph_that_cannot_park_is_told_so_after_few_requests(deployed) -> None:
    async with deployed.client() as client:
        thread = await client.start("forgetful")
        try:
            error = await client.error(thread, patience=60)
        finally:
            await client.threads.delete(thread)
    assert "checkpointer=False" in error
    assert sum(deployed.sent(thread).values()) <= 3


async def test_a_run_without_a_thread_cannot_wait(deployed) -> None:
    async with deployed.client() as client:
        with pytest.raises(Exception, match="NoCheckpointerError"):
            await client.runs.wait(None, "one", input={"name": "stateless"})
        for bridge in ("bridge",):
            await client.tick(bridge)
    assert not deployed.sent("stateless")


async def test_a_node_that_swallows_the_interrupt_fails_and_holds_up_nobody(deployed) -> None:
    async with deployed.client() as client:
        swallowed, other = await client.start("swallows"), await client.start("one")
        error = await client.error(swallowed)
        await client.ended(other)
        assert not await client.out(swallowed)
    assert "SwallowedInterruptError" in error
    assert "Catch RequestError" in error
    assert not deployed.sent(swallowed)


async def test_the_rest_goes_on(deployed) -> None:
    async with deployed.client() as client:
        threads = [await client.start("one") for _ in range(3)]
        await client.ended(*threads)
        await client.shows(waiting=0, in_flight=0)
