"""Names that Postgres could not carry are refused, with the limit; the longest that are allowed work."""

import asyncio
import contextlib
import time
from typing import TypedDict
from uuid import uuid4

import pytest
from langgraph.graph import StateGraph
from postgres import cluster

from batch_bridge import Bridge
from batch_bridge.pool import Pool


class State(TypedDict, total=False):
    q: str


GRAPH = StateGraph(State).add_node("node", lambda state: {"q": state["q"] + "!"}).add_edge("__start__", "node")
NOWHERE = "postgresql://127.0.0.1:1/nothing"


def made(name, dsn=NOWHERE):
    return Pool(GRAPH, Bridge(submit=list, poll=list), dsn=dsn, name=name)


@pytest.mark.parametrize("name", ["n" * 28, "ü" * 14])
def test_a_name_that_is_too_long_for_a_channel_is_refused_with_the_limit(name):
    with pytest.raises(ValueError, match="has 28 bytes, and 27 is the most: it ends the name of a Postgres channel"):
        made(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="cannot be named"):
        made(name)


async def test_a_thread_whose_id_is_too_long_for_a_key_is_refused_before_anything_is_asked():
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"an id of 3,002 bytes, and 1,000 is the most"):
        await made("pool").submit([{"q": "a"}], run_id="r" * 3_000)
    config = {"configurable": {"thread_id": "é" * 501}}
    with pytest.raises(ValueError, match=r"an id of 1,002 bytes"):
        await made("pool").ainvoke({"q": "a"}, config)
    assert time.monotonic() - began < 30, "no database was tried for a minute"


async def test_the_longest_names_work():
    run = "".join(uuid4().hex for _ in range(40))[:998]  # such as cannot be compressed
    with cluster() as postgres:
        pool = made('ü"' + "n" * 24, postgres.create("names"))
        worker = asyncio.create_task(pool.run(signals=False))
        async with asyncio.timeout(60):
            assert await pool.abatch([{"q": "a"}], run_id=run) == [{"q": "a!"}]
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
