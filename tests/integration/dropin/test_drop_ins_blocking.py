"""No drop-in blocks the event loop of its caller: not when it opens, and not when it asks."""

import ssl
from datetime import timedelta

import pytest
import tls
from blockbuster import blockbuster_ctx
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from batch_bridge import Batcher, FlushPolicy, wrap_openai
from batch_bridge.errors import RunFileError
from batch_bridge.langchain import batched
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

SOON = FlushPolicy(max_idle=timedelta(milliseconds=20))
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
def no_blocking(monkeypatch):
    """Refuse what blocks an event loop; the thread of a Batcher has one of its own, where only its own work waits."""
    monkeypatch.setattr(ssl, "create_default_context", tls.APART)
    with blockbuster_ctx("batch_bridge") as blockbuster:
        for function in blockbuster.functions.values():
            function.can_block_in("batch_bridge/_host/loop_thread.py", "_run")
        yield


@pytest.mark.parametrize("durable", [False, True])
async def test_a_batcher(server, no_blocking, tmp_path, durable):
    client = AsyncOpenAI(base_url=server.base_url, api_key="k")
    path = tmp_path / "b.db" if durable else None
    batcher = Batcher(OpenAIBatch(client), path=path, poll_interval=0.02, flush=FlushPolicy(max_idle=0.02))
    try:
        assert "choices" in await batcher.asubmit(BODY)
        assert len(await batcher.amap([BODY, BODY])) == 2
        assert await batcher.acancel() == 0
    finally:
        await batcher.aclose()


async def test_a_wrapped_client(server, no_blocking, tmp_path):
    plain = AsyncOpenAI(base_url=server.base_url, api_key="k")
    client = wrap_openai(plain, flush=SOON, poll_interval=0.02, path=tmp_path / "w.db")
    assert (await client.chat.completions.create(**BODY)).choices
    assert (await client.responses.create(model="m", input="hello")).output
    await client.close()


async def test_a_chat_model(server, no_blocking):
    model = batched(ChatOpenAI(model="m", base_url=server.base_url, api_key="k"), max_idle=0.02)
    assert (await model.ainvoke("hello")).content


async def test_a_file_that_cannot_be_opened_is_told_where_it_is_awaited(tmp_path):
    path = tmp_path / "b.db"
    path.write_text("no database, and long enough to be seen as none " * 100)
    batcher = Batcher(submit_func=list, poll_func=list, path=path)
    with pytest.raises(RunFileError):
        await batcher.asubmit("a")
    with pytest.raises(RunFileError):
        async with Batcher(submit_func=list, poll_func=list, path=path):
            pass


async def test_a_batcher_that_is_given_up_before_it_is_open_ends():
    batcher = Batcher(submit_func=list, poll_func=list)
    batcher.end_soon()
    batcher._worker.thread.work.join(60)
    assert not batcher._worker.thread.work.is_alive()
