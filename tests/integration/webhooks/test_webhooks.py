"""Webhooks wake a bridge: what has ended is collected at once, and what is forged, late or doubled harms nothing.

Polling alone would take a minute here: the first pause between two polls of a batch is a 64th of `poll_interval`.
"""

import asyncio
import contextlib
import logging
import os
import re
import signal
import time
import tracemalloc

import httpx
import orjson
import pytest
import uvicorn
import warm
from fastapi import FastAPI
from helpers import Desk, one_node
from openai import AsyncOpenAI
from sampling import many
from typer.testing import CliRunner

from batch_bridge import Batcher, Bridge, FlushPolicy, Runner, wait, webhooks
from batch_bridge._cli.app import app as cli
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing._server.webhook import event, signed_headers

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cywgbG9uZyBlbm91Z2g="
SELDOM = 7200.0
"""A `poll_interval`: without a webhook a batch is polled after two minutes."""
SOON = 45.0
"""Seconds within which a webhook has woken a bridge on a machine that is busy."""
CLI = "from batch_bridge._cli.app import app; app()"
AT_ONCE = FlushPolicy(max_idle=0.01)


@pytest.fixture(scope="module")
def servers():
    with BatchServer(latency=0.3, webhook_secret=SECRET) as server:
        yield server


@pytest.fixture
def server(servers):
    servers.configure(latency=0.3, webhook_url=None, response_seconds=0)
    servers.reset_stats()
    return servers


@contextlib.asynccontextmanager
async def listening(app):
    """Serve an app on a free port, and yield its address."""
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    socket = config.bind_socket()
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[socket]))
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        running.should_exit = True
        await task
        socket.close()


def openai(server):
    return OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="key"), model="gpt-5-mini")


def said(number):
    return [{"role": "user", "content": f"question {number}"}]


async def node(state):
    answer = await wait(said(state["x"]))
    return {"out": [answer["choices"][0]["message"]["content"]]}


def delivery(name, *, secret=SECRET, age=0.0, kind="batch.completed"):
    """Return the body and the headers of a delivery."""
    what = event(name, kind, time.time())
    body = orjson.dumps(what)
    return body, signed_headers(secret, what["id"], body, time.time() - age)


async def post(client, name, **options):
    body, headers = delivery(name, **options)
    return (await client.post(webhooks.PATH, content=body, headers=headers)).status_code


def client_of(*targets, period=1.0, **options):
    app = webhooks.app(*targets, secret=SECRET, **options)
    app.routes[0].endpoint.__self__._waker.period = period
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver")


class Counted(Desk):
    """A desk whose handles are texts, and that counts how often each is polled."""

    def __init__(self):
        super().__init__()
        self.polls = 0

    async def submit(self, items):
        return {"id": f"batch_{await super().submit(items)}"}

    async def poll(self, handle):
        self.polls += 1
        return await super().poll(int(handle["id"].partition("_")[2]))

    def batcher(self, **options):
        return Batcher(submit_func=self.submit, poll_func=self.poll, poll_interval=SELDOM, flush=AT_ONCE, **options)


async def in_flight(desk):
    """Wait until the first poll of the first batch has told nothing: the next one is minutes away."""
    while not desk.polls:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


async def test_a_batcher_in_fastapi_is_woken_when_its_batch_ends(server):
    api = FastAPI()
    async with Batcher(openai(server), poll_interval=SELDOM, flush=AT_ONCE) as batcher:
        api.mount("/batch-bridge", webhooks.app(batcher, secret=SECRET))
        async with listening(api) as url, asyncio.timeout(SOON):
            server.configure(webhook_url=f"{url}/batch-bridge{webhooks.PATH}")
            answers = await batcher.amap([said(number) for number in range(3)])
    assert len(answers) == 3
    assert server.stats.paid_twice == 0


async def test_responses_in_the_background_are_woken_past_their_own_pace(server):
    api = FastAPI()
    server.configure(response_seconds=1.0)
    async with Batcher(openai(server), mode="window:8h", poll_interval=SELDOM, flush=AT_ONCE) as batcher:
        api.mount("/batch-bridge", webhooks.app(batcher, secret=SECRET))
        async with listening(api) as url, asyncio.timeout(SOON):
            server.configure(webhook_url=f"{url}/batch-bridge{webhooks.PATH}")
            answers = await batcher.amap([said(number) for number in range(5)])
    assert len(answers) == 5
    assert server.stats.paid_twice == 0


async def test_a_process_wakes_the_runner_that_has_the_file_open(server, tmp_path):
    bridge = Bridge(openai(server), poll_interval=SELDOM, flush=FlushPolicy(when_idle=True))
    async with Runner(one_node(node), bridge, path="run.db", progress=False) as runner:
        log = (tmp_path / "log").open("w+")
        command = ["-c", CLI, "webhooks", "--file", "run.db", "--port", "0"]
        receiver = warm.start(
            command, stdout=log, stderr=log, cwd=tmp_path, env={**os.environ, "OPENAI_WEBHOOK_SECRET": SECRET}
        )
        try:
            async with asyncio.timeout(SOON):
                while not (found := re.search(r"received on (\S+)", (tmp_path / "log").read_text())):
                    await asyncio.sleep(0.05)
                server.configure(webhook_url=found[1])
                results = await runner.abatch([{"x": "a"}, {"x": "b"}], run_id="eval")
        finally:
            os.kill(receiver.pid, signal.SIGTERM)
            receiver.wait(10)
    assert len(results) == 2
    assert SECRET not in (tmp_path / "log").read_text()


async def test_what_is_forged_late_or_too_large_is_refused_and_wakes_nobody(caplog):
    desk = Counted().hold()
    async with desk.batcher() as batcher, client_of(batcher) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await in_flight(desk)
        polls = desk.polls
        desk.let_go()
        with caplog.at_level(logging.DEBUG, logger="batch_bridge"):
            assert await post(client, "batch_0", secret="whsec_Zm9yZ2VkIGJ5IHNvbWVib2R5") == 400
            assert await post(client, "batch_0", secret=None) == 400
            assert await post(client, "batch_0", age=301) == 400
            assert await post(client, "batch_0", age=-400) == 400
            body, headers = delivery("batch_0")
            for wrong in (
                {"webhook-signature": "v1,\xe9\xe9"},
                {"webhook-timestamp": "soon"},
                {"webhook-id": "another"},
                {"webhook-signature": ""},
            ):
                coded = {name: value.encode("latin-1") for name, value in {**headers, **wrong}.items()}
                assert (await client.post(webhooks.PATH, content=body, headers=coded)).status_code == 400, wrong
            assert (await client.post(webhooks.PATH, content=body + b" ", headers=headers)).status_code == 400
            assert (await client.post(webhooks.PATH, content=b"x" * 70_000, headers=headers)).status_code == 413
            assert (await client.get(webhooks.PATH)).status_code == 405
            strange = b"\xff not JSON"
            signed = signed_headers(SECRET, "evt_1", strange, time.time())
            assert (await client.post(webhooks.PATH, content=strange, headers=signed)).status_code == 400
        assert desk.polls == polls
        assert "batch_0" not in caplog.text
        assert caplog.text.count("was refused") == 1, "a flood of them is one line"
        assert await post(client, "batch_0") == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"


async def test_doubled_reordered_and_foreign_deliveries_are_harmless():
    desk = Counted().hold()
    async with desk.batcher() as batcher, client_of(batcher, period=0.01) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await in_flight(desk)
        polls = desk.polls
        assert await post(client, "batch_of_another_program") == 204
        assert await post(client, "batch_0", kind="eval.run.succeeded") == 204
        assert desk.polls == polls, "there is no news of this batch"
        assert await post(client, "batch_0") == 204  # too early: it is asked whether it has ended
        while desk.polls == polls:
            await asyncio.sleep(0.01)
        assert not asking.done(), "a delivery is not believed"
        desk.let_go()
        for _ in range(3):
            assert await post(client, "batch_0") == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"
        assert await post(client, "batch_0") == 204
        assert desk.sizes == [1]


async def test_a_delivery_that_comes_before_its_batch_is_known_is_remembered():
    desk = Counted()
    sending = asyncio.Event()

    async def submit(items):
        handle = await Counted.submit(desk, items)
        sending.set()
        await asyncio.sleep(0.2)
        desk.let_go()
        return handle

    desk.hold()
    batcher = Batcher(submit_func=submit, poll_func=desk.poll, poll_interval=SELDOM, flush=AT_ONCE)
    async with batcher, client_of(batcher) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await sending.wait()
        assert await post(client, "batch_0") == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"


async def test_a_flood_of_deliveries_costs_no_memory_and_few_polls():
    desk = Counted().hold()
    async with desk.batcher() as batcher, client_of(batcher, period=0.01) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await in_flight(desk)
        sizes = []
        tracemalloc.start()
        try:
            for tenth in range(10):
                for start in range(0, many(1_000, 50), 50):
                    names = ["batch_0", *(f"batch_{tenth}_{start}_{each}" for each in range(49))]
                    assert set(await asyncio.gather(*(post(client, name) for name in names))) == {204}
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert sizes[-1] - sizes[1] < 1_000_000
        assert desk.polls <= 3 + many(10_000, 500) / 50
        desk.let_go()
        assert await post(client, "batch_0") == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"
        assert desk.sizes == [1]


async def test_a_target_that_cannot_be_woken_is_said_so_that_the_delivery_comes_again(tmp_path):
    async with client_of(tmp_path / "gone.db") as client:
        assert await post(client, "batch_0") == 503


async def test_a_file_that_nobody_has_open_is_left_as_it_is():
    desk = Counted()
    async with desk.batcher(path="b.db") as batcher:
        assert await batcher.asubmit("a") == "a!"
    async with client_of("b.db") as client:
        assert await post(client, "batch_0") == 204


def test_there_is_no_receiver_without_a_secret_or_a_target(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET", raising=False)
    (tmp_path / "run.db").touch()
    for secret in (None, "", "whsec_", "whsec_a", "whsec_é", "\ud800"):
        with pytest.raises(ValueError, match="OPENAI_WEBHOOK_SECRET") as error:
            webhooks.app("run.db", secret=secret)
        assert "whsec_a" not in str(error.value)
    with pytest.raises(TypeError, match="nothing to wake"):
        webhooks.app(secret=SECRET)
    with pytest.raises(TypeError, match="pass a Runner"):
        webhooks.app(7, secret=SECRET)
    done = CliRunner().invoke(cli, ["webhooks", "--file", "run.db"])
    assert (done.exit_code, "OPENAI_WEBHOOK_SECRET" in done.output) == (2, True)
    done = CliRunner().invoke(cli, ["webhooks", "--file", "gone.db"])
    assert (done.exit_code, "no such file" in done.output) == (2, True)
