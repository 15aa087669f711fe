"""The page of `watch --web`: what it shows, and whom it refuses."""

import asyncio
import base64
import json
import re

import httpx
import pytest
from helpers import Desk, one_node
from test_status import until

from batch_bridge import RequestCancelled, Runner, wait
from batch_bridge._status.read import StatusReader, read_status
from batch_bridge.web._serve import app


async def node(state):
    return {"out": [await wait(state["x"])]}


def browser(**options):
    at = options.pop("at", "127.0.0.1:8765")
    page = app("run.db", **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url=f"http://{at}")


@pytest.fixture
async def desk():
    """A run of three threads that wait."""
    desk = Desk().hold()
    async with Runner(one_node(node), desk.bridge()) as runner:
        running = asyncio.create_task(
            runner.abatch([{"x": x} for x in ("<b>secret</b>", 2, 3)], run_id="eval", return_exceptions=True)
        )
        desk.seen = await until("run.db", lambda seen: seen["in_flight"] == 3)
        desk.running = running
        yield desk
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_pages_and_what_programs_read(desk):
    key = desk.seen["batches"][0]["key"]
    async with browser() as client:
        overview = (await client.get("/")).text
        assert "0 of 3 threads done, 3 parked" in overview
        assert f"/batches/{key}" in overview
        batch = await client.get(f"/batches/{key}")
        assert (batch.status_code, "Cancel this batch" in batch.text) == (200, True)
        assert (await client.get("/batches/none")).status_code == 404
        found = await client.get("/threads", params={"id": "eval:0"}, follow_redirects=True)
        assert (found.status_code, "waits" in found.text) == (200, True)
        assert (await client.get("/threads/none")).status_code == 404
        assert "None." in (await client.get("/failures")).text
        assert (await client.get("/status.json")).json()["threads"]["parked"] == 3
        assert (await client.get("/healthz")).json() == {"state": "parked", "alive": True, "stuck": []}
        metrics = (await client.get("/metrics")).text
        assert 'batch_bridge_threads{state="parked"} 3\n' in metrics
        assert 'batch_bridge_batches{state="in_flight"} 1\n' in metrics
        assert "secret" not in overview + batch.text + found.text + metrics, "what was asked is shown nowhere"
        htmx = await client.get("/static/htmx.min.js")
        assert (htmx.status_code, htmx.headers["content-security-policy"].startswith("default-src 'self'")) == (
            200,
            True,
        )
        assert "Zero-Clause" in (await client.get("/static/LICENSE-htmx")).text


async def test_a_button_is_a_command_and_nothing_that_is_read_changes_anything(desk):
    async with browser() as client:
        csrf = re.search(r'name="csrf" value="([^"]+)"', (await client.get("/")).text)[1]
        form = {"csrf": csrf, "verb": "cancel", "thread": "eval:1"}
        for method in ("GET", "HEAD", "PUT"):
            assert (await client.request(method, "/commands", params=form)).status_code == 405
        assert (await client.post("/commands", data={**form, "csrf": "x"})).status_code == 403
        assert (await client.post("/commands", data={**form, "verb": "explode"})).status_code == 400
        assert (await client.post("/commands", data={**form, "run": "eval"})).status_code == 400
        said = await client.post("/commands", data=form, headers={"HX-Request": "true"})
        assert said.text.strip() == "cancel: 1 requests are cancelled"
        assert (await client.post("/commands", data=form)).status_code == 303, "without scripts, too"
    desk.let_go()
    assert [isinstance(result, RequestCancelled) for result in await desk.running] == [False, True, False]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8766"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}, 400),
    ],
)
async def test_calls_that_another_page_has_caused_are_refused(headers, status):
    async with Runner(one_node(node), Desk().bridge()), browser() as client:
        csrf = re.search(r'name="csrf" value="([^"]+)"', (await client.get("/")).text)[1]
        answer = await client.post("/commands", data={"csrf": csrf, "verb": "none"}, headers=headers)
        assert answer.status_code == status


async def test_other_machines_need_the_token():
    with pytest.raises(ValueError, match="give a token"):
        app("run.db", host="0.0.0.0")
    async with (
        Runner(one_node(node), Desk().bridge()),
        browser(host="0.0.0.0", token="hush", at="192.0.2.7:8765") as client,
    ):
        for path in ("/", "/status.json", "/metrics", "/healthz", "/static/page.css", "/events/overview"):
            refused = await client.get(path)
            assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)
        assert (await client.get("/healthz", auth=("anybody", "hush"))).status_code == 200
        assert (await client.get("/healthz", auth=("anybody", "wrong"))).status_code == 401
        for word in ("Bearer hush", "Basic " + base64.b64encode(b":hush").decode()):
            assert (await client.get("/healthz", headers={"Authorization": word})).status_code == 200
        for word in ("Bearer", "Basic ?", "Digest hush", "hush"):
            assert (await client.get("/healthz", headers={"Authorization": word})).status_code == 401


async def test_a_file_that_is_gone_or_broken_is_said_and_the_page_lives_on(tmp_path):
    async with browser() as client:
        gone = await client.get("/")
        assert (gone.status_code, "there is no such file" in gone.text) == (503, True)
        (tmp_path / "run.db").write_bytes(b"x" * 5000)
        assert "not an SQLite database" in (await client.get("/status.json")).text


async def test_what_has_changed_is_told_as_an_event(desk):
    from batch_bridge.web._app import App, Page
    from batch_bridge.web._watch import WatchedFile

    told = App(WatchedFile("run.db"))._told(Page("overview"))
    first = await anext(told)
    assert first.startswith("event: page\ndata: ")
    assert all(line.startswith(("event: ", "data: ")) for line in first.splitlines() if line)
    desk.let_go()
    await desk.running
    async with asyncio.timeout(30):
        async for page in told:
            if "3 of 3 threads done" in page:
                break
    await told.aclose()


async def test_ten_watchers_share_a_look(desk, monkeypatch):
    from batch_bridge.web import _watch

    looks = []
    monkeypatch.setattr(_watch.StatusReader, "read", lambda reader: looks.append(reader) or json)
    watch = _watch.SharedLook(_watch.WatchedFile("run.db"))
    await asyncio.gather(*(watch.look() for _ in range(10)))
    assert len(looks) == 1


async def test_who_watches_prices_an_ended_batch_once(desk, monkeypatch):
    from batch_bridge._status import cost

    desk.let_go()
    await desk.running
    priced = []
    price = cost._price
    monkeypatch.setattr(cost, "_price", lambda key, value: priced.append(key) or price(key, value))
    reader = StatusReader("run.db")
    first = reader.read()
    assert first.cost["requests"] == 3
    assert reader.read().cost == first.cost == read_status("run.db").cost
    assert len(priced) == 2 * len(set(priced)) > 0  # once by the one who watches, once by the one who looks once
