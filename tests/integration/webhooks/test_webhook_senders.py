"""Webhooks of Gemini and callbacks of OpenRouter wake a bridge as OpenAI's do, and harm as little."""

import asyncio
import hashlib
import hmac
import time
import uuid

import orjson
import pytest
import test_webhooks as of_openai
from fastapi import FastAPI
from google import genai
from test_webhooks import AT_ONCE, SECRET, SELDOM, SOON, Counted, in_flight, listening
from typer.testing import CliRunner

from batch_bridge import Batcher, webhooks
from batch_bridge._cli.app import app as cli
from batch_bridge.providers.gemini import GeminiBatch
from batch_bridge.testing import BatchServer
from batch_bridge.testing._server.webhook import gemini_event, signed_headers
from batch_bridge.webhooks._signature import Verifier

FORGED = "whsec_Zm9yZ2VkIGJ5IHNvbWVib2R5"


def gemini(name, *, secret=SECRET, age=0.0, status="completed"):
    """Return the body and the headers of a delivery of Gemini's."""
    body = orjson.dumps(gemini_event(name, status, time.time()))
    return body, signed_headers(secret, f"msg_{uuid.uuid4().hex}", body, time.time() - age)


def openrouter(name, *, secret=SECRET, age=0.0, status="completed"):
    """Return the body and the headers of a callback of OpenRouter's."""
    body = orjson.dumps({"type": f"batch.{status}", "data": {"id": name, "status": status}})
    if secret is None:
        return body, {}
    at = int(time.time() - age)
    digest = hmac.new(secret.encode(), f"{at},".encode() + body, hashlib.sha256).hexdigest()
    return body, {"x-openrouter-signature": f"t={at},v1={digest}"}


SENDERS = pytest.mark.parametrize(
    ("sender", "delivery"), [("gemini", gemini), ("openrouter", openrouter)], ids=["gemini", "openrouter"]
)


def client_of(target, sender, **options):
    return of_openai.client_of(target, sender=sender, **options)


async def post(client, delivery, name, **options):
    body, headers = delivery(name, **options)
    return (await client.post(f"/webhooks/{delivery.__name__}", content=body, headers=headers)).status_code


async def test_a_gemini_batch_wakes_its_batcher_when_it_ends():
    api = FastAPI()
    with BatchServer(latency=0.3, webhook_secret=SECRET) as server:
        client = genai.Client(api_key=uuid.uuid4().hex, http_options={"base_url": server.root_url})
        provider = GeminiBatch(client, model="gemini-2.5-flash")
        async with Batcher(provider, poll_interval=SELDOM, flush=AT_ONCE) as batcher:
            api.mount("/batch-bridge", webhooks.app(batcher, secret=SECRET, sender="gemini"))
            async with listening(api) as url, asyncio.timeout(SOON):
                server.configure(webhook_url=f"{url}/batch-bridge/webhooks/gemini")
                answers = await batcher.amap([of_openai.said(number) for number in range(3)])
        assert server.stats.paid_twice == 0
    assert len(answers) == 3


@SENDERS
async def test_what_is_forged_or_late_is_refused_and_wakes_nobody(sender, delivery):
    desk = Counted().hold()
    async with desk.batcher() as batcher, client_of(batcher, sender) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await in_flight(desk)
        polls = desk.polls
        desk.let_go()
        assert await post(client, delivery, "batch_0", secret=FORGED) == 400
        assert await post(client, delivery, "batch_0", secret=None) == 400
        assert await post(client, delivery, "batch_0", age=301) == 400
        assert await post(client, delivery, "batch_0", age=-400) == 400
        body, headers = delivery("batch_0")
        assert (
            await client.post(f"/webhooks/{delivery.__name__}", content=body + b" ", headers=headers)
        ).status_code == 400
        for name, value in headers.items():
            if name != "content-type":
                for wrong in ("", "v1,\xe9", "t=\xb2,v1=x", "t=99999999999999999999,v1=x", "=,=,t", value + "0"):
                    coded = {**headers, name: wrong.encode("latin-1")}
                    assert (
                        await client.post(f"/webhooks/{delivery.__name__}", content=body, headers=coded)
                    ).status_code == 400, (name, wrong)
        assert desk.polls == polls
        assert await post(client, delivery, "batch_0") == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"


@SENDERS
async def test_doubled_early_and_foreign_deliveries_are_harmless(sender, delivery):
    desk = Counted().hold()
    async with desk.batcher() as batcher, client_of(batcher, sender, period=0.01) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await in_flight(desk)
        polls = desk.polls
        assert await post(client, delivery, "batch_of_another_program") == 204
        assert desk.polls == polls
        assert await post(client, delivery, "batch_0") == 204
        while desk.polls == polls:
            await asyncio.sleep(0.01)
        assert not asking.done(), "a delivery is not believed"
        desk.let_go()
        for _ in range(3):
            assert await post(client, delivery, "batch_0") == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"
        assert await post(client, delivery, "batch_0") == 204
        assert desk.sizes == [1]


@SENDERS
async def test_without_an_id_all_are_looked_at(sender, delivery):
    desk = Counted().hold()
    async with desk.batcher() as batcher, client_of(batcher, sender) as client:
        asking = asyncio.create_task(batcher.asubmit("a"))
        await in_flight(desk)
        desk.let_go()
        assert await post(client, delivery, None) == 204
        assert await asyncio.wait_for(asking, SOON) == "a!"


@pytest.mark.parametrize("written", ["batches/abc", "abc", "batch_abc"])
@pytest.mark.parametrize("status", ["succeeded", "completed", "failed", "cancelled", "expired"])
def test_a_gemini_batch_is_found_however_its_id_is_written(written, status):
    body = orjson.dumps({"type": f"batch.{status}", "version": "v1", "data": {"id": written}})
    names = Verifier("gemini", SECRET, 300).ended(body, signed_headers(SECRET, "msg_1", body, time.time()))
    assert names is not None
    assert "batches/abc" in names


@pytest.mark.parametrize("kind", ["video.generated", "interaction.completed", "response.completed", 7, None])
def test_other_events_of_gemini_wake_nobody(kind):
    body = orjson.dumps({"type": kind, "data": {"id": "batches/abc"}})
    assert Verifier("gemini", SECRET, 300).ended(body, signed_headers(SECRET, "msg_1", body, time.time())) is None


def test_a_secret_of_gemini_may_lack_its_prefix():
    body, headers = gemini("batches/abc")
    assert Verifier("gemini", SECRET.removeprefix("whsec_"), 300).ended(body, headers)


def test_each_sender_has_a_secret_of_its_own(monkeypatch):
    for name in ("OPENAI", "GEMINI", "OPENROUTER"):
        monkeypatch.delenv(f"{name}_WEBHOOK_SECRET", raising=False)
        with pytest.raises(ValueError, match=f"{name}_WEBHOOK_SECRET"):
            webhooks.app("run.db", sender=name.lower())
    monkeypatch.setenv("GEMINI_WEBHOOK_SECRET", SECRET)
    assert webhooks.app("run.db", sender="gemini").routes[0].path == "/webhooks/gemini"
    with pytest.raises(ValueError, match="'openai', 'gemini', 'openrouter'"):
        webhooks.app("run.db", sender="anthropic", secret=SECRET)


def test_the_command_line_names_the_secret_of_its_sender(monkeypatch, tmp_path):
    monkeypatch.delenv("GEMINI_WEBHOOK_SECRET", raising=False)
    (tmp_path / "run.db").touch()
    done = CliRunner().invoke(cli, ["webhooks", "--file", str(tmp_path / "run.db"), "--sender", "gemini"])
    assert (done.exit_code, "GEMINI_WEBHOOK_SECRET" in done.output) == (2, True)
