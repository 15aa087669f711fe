"""The server's cheaper lanes: the flex tier, and responses in the background with completion windows."""

import asyncio

import pytest
from google import genai
from openai import AsyncAzureOpenAI, AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, RateLimitError
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from batch_bridge.testing import BatchServer

ASKED = [{"role": "user", "content": "hello"}]
HOUR = 3_600.0


@pytest.fixture(scope="module")
def lanes():
    with BatchServer() as server:
        yield server


@pytest.fixture
def server(lanes):
    lanes.configure(flex_refusal=0, next_flex_refusal=0, flex_seconds=0, flex_capacity=None, response_seconds=0)
    lanes.configure(response_failure=0, response_gone=0, clock_speed=1, next_drop_create_response=0, poll_error=0)
    lanes.reset_stats()
    return lanes


def client_of(server):
    return AsyncOpenAI(base_url=server.base_url, api_key="lanes", max_retries=0)


def windowed(window="8h", **body):
    options = {"completion_window": window, "continuation_id": "thread-1"}
    body = {"model": "gpt-5-mini", "input": "hello", "background": True, "store": True, **body}
    return {**body, "background_options": options}


async def create(client, body):
    return await client.post("/responses", body=body, cast_to=dict[str, object])


async def ended(client, response_id):
    while (now := await client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        await asyncio.sleep(0.01)
    return now


async def test_flex_answers_name_their_tier(server):
    client = client_of(server)
    chat = await client.chat.completions.create(model="gpt-5-mini", messages=ASKED, service_tier="flex")
    response = await client.responses.create(model="gpt-5-mini", input="hello", service_tier="flex")
    plain = await client.chat.completions.create(model="gpt-5-mini", messages=ASKED)
    assert (chat.service_tier, response.service_tier, plain.service_tier) == ("flex", "flex", "default")
    assert (server.stats.realtime, server.stats.flex) == (3, 2)


async def test_a_full_tier_refuses_and_bills_nothing(server):
    server.configure(next_flex_refusal=1)
    client = client_of(server)
    with pytest.raises(RateLimitError, match="Resource Unavailable") as refused:
        await client.chat.completions.create(model="gpt-5-mini", messages=ASKED, service_tier="flex")
    await client.chat.completions.create(model="gpt-5-mini", messages=ASKED, service_tier="flex")
    stats = server.stats
    assert refused.value.code == "resource_unavailable"
    assert (stats.flex, stats.flex_refused, stats.realtime) == (1, 1, 1)


async def test_a_tier_with_a_capacity_refuses_what_is_over_it(server):
    server.configure(flex_capacity=2, flex_seconds=0.2)
    client = client_of(server)
    calls = [client.chat.completions.create(model="gpt-5-mini", messages=ASKED, service_tier="flex") for _ in range(6)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, RateLimitError) for each in outcomes) == 4


async def test_flex_at_azure_and_gemini(server):
    azure = AsyncAzureOpenAI(azure_endpoint=server.root_url, api_key="a", api_version="2025-04-01-preview")
    answered = await azure.chat.completions.create(model="deployed", messages=ASKED, service_tier="flex")
    gemini = genai.Client(api_key="g", http_options={"base_url": server.root_url, "api_version": "v1beta"})
    await gemini.aio.models.generate_content(
        model="gemini-2.5-flash", contents="hello", config={"service_tier": "flex"}
    )
    assert (answered.service_tier, server.stats.flex) == ("flex", 2)


async def test_eight_hours_pass_in_a_second(server):
    server.configure(response_seconds=7 * HOUR, clock_speed=0)
    client = client_of(server)
    made = await create(client, windowed())
    before = await client.responses.retrieve(made["id"])
    server.configure(clock_speed=8 * HOUR / 0.2)
    after = await ended(client, made["id"])
    assert (made["status"], before.status, after.status) == ("queued", "queued", "completed")
    assert "hello" in after.output_text
    assert after.background
    assert (server.stats.responses, server.stats.paid, server.stats.paid_twice) == (1, 1, 0)


async def test_a_response_that_is_cancelled_is_not_paid(server):
    server.configure(response_seconds=HOUR)
    client = client_of(server)
    made = await create(client, windowed())
    twice = [await client.responses.cancel(made["id"]) for _ in range(2)]
    assert [each.status for each in twice] == ["cancelled", "cancelled"]
    assert server.stats.paid == 0


async def test_what_is_not_stored_is_gone_ten_minutes_after_its_end(server):
    client = client_of(server)
    made = await create(client, {"model": "m", "input": "kept?", "background": True, "store": False})
    kept = await create(client, {"model": "m", "input": "kept!", "background": True, "store": True})
    await ended(client, made["id"])
    await ended(client, kept["id"])
    server.configure(clock_speed=100_000)
    while server.stats.calls["GET /v1/responses/{response_id}"] < 2_000:
        try:
            await client.responses.retrieve(made["id"])
        except NotFoundError:
            break
    else:
        pytest.fail("it is still there")
    assert (await client.responses.retrieve(kept["id"])).status == "completed"


async def test_faults_of_responses(server):
    client = client_of(server)
    server.configure(next_drop_create_response=1)
    with pytest.raises(Exception, match=r"[Cc]onnection"):
        await create(client, windowed())
    assert server.stats.responses == 1
    server.configure(response_failure=True, response_failure_code="rate_limit_exceeded")
    failed = await ended(client, (await create(client, windowed(input="fails")))["id"])
    assert (failed.status, failed.error.code) == ("failed", "rate_limit_exceeded")
    server.configure(response_failure=0, response_gone=True)
    made = await create(client, windowed(input="gone"))
    with pytest.raises(NotFoundError):
        await ended(client, made["id"])
    server.configure(response_gone=0, next_poll_error=1)
    with pytest.raises(InternalServerError):
        await client.responses.retrieve(made["id"])


@pytest.mark.parametrize(
    "body",
    [
        {**windowed("3h")},
        {**windowed(), "service_tier": "flex"},
        {**windowed(), "stream": True},
        {**windowed(), "background": False},
        {**windowed(), "background_options": {"window": "2h"}},
    ],
)
async def test_what_cannot_be_in_the_background_is_refused(server, body):
    with pytest.raises(BadRequestError):
        await create(client_of(server), body)


async def test_a_response_paid_twice_is_counted(server):
    client = client_of(server)
    for _ in range(2):
        await ended(client, (await create(client, windowed(input="again")))["id"])
    assert (server.stats.paid, server.stats.paid_twice) == (2, 1)


async def test_responses_outlive_a_restart_of_the_server(tmp_path):
    async with BatchServer(state_dir=tmp_path, response_seconds=HOUR, clock_speed=0) as server:
        client = client_of(server)
        made = await create(client, windowed())
        server.kill()
        server.start()
        assert (await client.responses.retrieve(made["id"])).status == "queued"
        server.configure(clock_speed=HOUR * 100)
        assert (await ended(client, made["id"])).status == "completed"


async def test_webhooks_tell_of_responses(hooks):
    events, url = hooks
    with BatchServer(webhook_url=url, webhook_secret="whsec_c2VjcmV0") as server:
        client = client_of(server)
        made = await create(client, windowed())
        while not events:
            await asyncio.sleep(0.01)
    event = client.webhooks.unwrap(events[0][1], events[0][0], secret="whsec_c2VjcmV0")
    assert (event.type, event.data.id) == ("response.completed", made["id"])


@pytest.fixture
async def hooks():
    import socket

    import uvicorn

    events = []

    async def receive(request):
        events.append((dict(request.headers), await request.body()))
        return Response()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = Starlette(routes=[Route("/", receive, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        yield events, f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        await running
