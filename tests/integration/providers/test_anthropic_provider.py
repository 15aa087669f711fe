"""The provider against a server that answers as no real one does: every call, and what its failures mean."""

import json
import logging
import socket
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from anthropic import Anthropic, AsyncAnthropic, DefaultAsyncHttpxClient
from langchain_core.messages import HumanMessage
from test_openai_kit import CUT, HANG, Script, chats

from batch_bridge import Ended, InProgress, Limits, Succeeded
from batch_bridge.errors import ProviderUnavailable, RequestRefused, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers.anthropic import AnthropicBatch
from batch_bridge.providers.anthropic._handle import tag_of, write_custom_id
from batch_bridge.testing.conformance import requests

NOW = time.time()
KEY = "bb-key"
PREPARED = {"key": KEY, "model": "m", "requests": 2, "newest": None, "newest_at": None, "is_listed": True}
HANDLE = {"id": "msgbatch_1", "key": KEY, "model": "m", "created_at": NOW - 3_600}
ROOT = "/v1/messages/batches"
GET, LIST, CREATE = f"GET {ROOT}/msgbatch_1", f"GET {ROOT}", f"POST {ROOT}"
RESULTS, CANCEL, DELETE = (
    f"GET {ROOT}/msgbatch_1/results",
    f"POST {ROOT}/msgbatch_1/cancel",
    f"DELETE {ROOT}/msgbatch_1",
)


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def batch(batch_id="msgbatch_1", status="in_progress", *, total=2, created_at=NOW, results_url=None, **more):
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    counts["succeeded" if status == "ended" else "processing"] = total
    fields = {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": moment(created_at),
        "expires_at": moment(created_at + 86_400),
        "results_url": results_url,
    }
    return {**fields, **more}


def refusal(status, message="no", kind="some_error", headers=None):
    return status, {"type": "error", "error": {"type": kind, "message": message}}, headers or {}


def page(*batches, has_more=False):
    last = batches[-1]["id"] if batches else None
    return 200, {"data": list(batches), "has_more": has_more, "first_id": None, "last_id": last}


def line(request_id, key=KEY, answer="yes"):
    custom_id = write_custom_id(request_id, tag_of(key), wants_message=False)
    message = {"a": answer, "model": "m", "usage": {"input_tokens": 1, "output_tokens": 2}}
    return json.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}).encode()


def results_of(key, batch_id="msgbatch_1"):
    """The routes of an ended batch whose results are of a key's."""
    return {
        f"GET {ROOT}/{batch_id}": (200, batch(batch_id, "ended", results_url=f"{ROOT}/{batch_id}/results")),
        f"GET {ROOT}/{batch_id}/results": (200, line("r", key) + b"\n"),
    }


def ended(batch_id="msgbatch_1", **more):
    return batch(batch_id, "ended", results_url=f"{ROOT}/{batch_id}/results", **more)


@pytest.fixture
async def scripted():
    """Make a provider whose server answers by these routes, and give both."""
    async with AsyncExitStack() as stack:

        async def make(routes, *, client=None, **options):
            script = await stack.enter_async_context(Script(routes))
            root = script.base_url.removesuffix("/v1")
            made = AsyncAnthropic(**{"base_url": root, "api_key": "sk-ant-secret", **(client or {})})
            provider = AnthropicBatch(made, **{"model": "m", **options})
            stack.push_async_callback(provider.aclose)
            return provider, script

        yield make


async def read(reply):
    assert isinstance(reply, Ended)
    return [pair async for pair in reply.outcomes]


def dead_url():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


# -- prepare and submit --------------------------------------------------------------------------------------------


async def test_prepare_notes_the_newest_batch(scripted):
    provider, script = await scripted({LIST: page(batch("msgbatch_9", created_at=NOW), has_more=True)})
    prepared = await provider.prepare(KEY, chats(2))
    assert prepared == {**PREPARED, "newest": "msgbatch_9", "newest_at": pytest.approx(NOW, abs=0.001)}
    assert script.queries == ["limit=1"]


async def test_prepare_in_an_empty_workspace(scripted):
    provider, _ = await scripted({LIST: page()})
    assert await provider.prepare(KEY, chats(2)) == PREPARED


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(400), SubmissionRefused),
        (refusal(401), SubmissionRefused),
        (refusal(403), SubmissionRefused),
        (refusal(429), ProviderUnavailable),
        (refusal(500), ProviderUnavailable),
        (refusal(529), ProviderUnavailable),
        (CUT, ProviderUnavailable),
        (HANG, ProviderUnavailable),
        ((200, {"no": "list"}), ProviderUnavailable),
    ],
)
async def test_a_prepare_that_fails(scripted, answer, kind):
    provider, script = await scripted({LIST: answer}, client={"timeout": 0.3 if answer == HANG else 30})
    with pytest.raises(kind):
        await provider.prepare(KEY, chats(1))
    assert script.calls[LIST] == provider.calls["messages.batches.list"] == 1, "the SDK does not try again"


async def test_a_server_that_cannot_list(scripted):
    provider, _ = await scripted({LIST: refusal(405)})
    prepared = await provider.prepare(KEY, chats(1))
    with pytest.raises(SubmissionUnknown, match="cannot list"):
        await provider.find(KEY, prepared)


async def test_a_created_batch_has_a_handle(scripted):
    provider, script = await scripted({CREATE: (200, batch())}, max_tokens=9, betas=["context-1m", "files"])
    asked = requests([[{"role": "user", "content": "Grüße ✓"}], [HumanMessage("x" * 9_000)]])
    handle = await provider.submit(KEY, asked, PREPARED)
    assert {**handle, "created_at": 0} == {**HANDLE, "created_at": 0}
    assert handle["created_at"] == pytest.approx(time.time(), abs=60)
    body = json.loads(script.bodies[CREATE])
    assert body["requests"][0] == {
        "custom_id": f"{asked[0].id}_{tag_of(KEY)}",
        "params": {"max_tokens": 9, "model": "m", "messages": [{"role": "user", "content": "Grüße ✓"}]},
    }
    assert body["requests"][1]["custom_id"] == f"{asked[1].id}_{tag_of(KEY)}m"
    frame = len(b'{"requests":[') + len(b"]}") - 1
    assert len(script.bodies[CREATE]) == frame + sum(provider.measure(each).bytes for each in asked)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(400), SubmissionRefused),
        (refusal(401), SubmissionRefused),
        (refusal(413), SubmissionRefused),
        (refusal(429), ProviderUnavailable),
        (refusal(408), SubmissionUnknown),
        (refusal(409), SubmissionUnknown),
        (refusal(500), SubmissionUnknown),
        (refusal(529), SubmissionUnknown),
        (CUT, SubmissionUnknown),
        (HANG, SubmissionUnknown),
        ((200, {"no": "batch"}), SubmissionUnknown),
    ],
)
async def test_a_create_that_fails(scripted, answer, kind):
    provider, script = await scripted({CREATE: answer}, client={"timeout": 0.3 if answer == HANG else 30})
    with pytest.raises(kind) as raised:
        await provider.submit(KEY, chats(1), PREPARED)
    assert script.calls[CREATE] == 1, "the SDK does not try again"
    assert "sk-ant" not in str(raised.value)


async def test_a_users_http_client_is_used_and_does_not_repeat_either(scripted):
    async with DefaultAsyncHttpxClient() as http:
        provider, script = await scripted({CREATE: refusal(500)}, client={"http_client": http})
        with pytest.raises(SubmissionUnknown):
            await provider.submit(KEY, chats(1), PREPARED)
        await provider.aclose()
        assert not http.is_closed
    assert script.calls[CREATE] == 1


async def test_a_refusal_carries_the_apis_words(scripted):
    provider, _ = await scripted({CREATE: refusal(400, "requests: too many", "invalid_request_error")})
    with pytest.raises(SubmissionRefused, match="too many") as raised:
        await provider.submit(KEY, chats(1), PREPARED)
    assert (raised.value.code, raised.value.status_code) == ("invalid_request_error", 400)


async def test_the_pause_that_was_asked_for(scripted):
    provider, _ = await scripted({CREATE: refusal(429, headers={"retry-after": "7"})})
    with pytest.raises(ProviderUnavailable) as raised:
        await provider.submit(KEY, chats(1), PREPARED)
    assert raised.value.retry_after == 7


async def test_nothing_was_sent_where_nobody_listens():
    provider = AnthropicBatch(AsyncAnthropic(base_url=dead_url(), api_key="k"), model="m")
    with pytest.raises(ProviderUnavailable):
        await provider.submit(KEY, chats(1), PREPARED)
    await provider.aclose()


async def test_without_a_key_it_says_so(monkeypatch, tmp_path):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    provider = AnthropicBatch(model="m")
    with pytest.raises(SubmissionRefused, match="ANTHROPIC_API_KEY") as raised:
        await provider.prepare(KEY, chats(1))
    assert raised.value.code == "no_api_key"
    with pytest.raises(ProviderUnavailable, match="ANTHROPIC_API_KEY"):
        await provider.poll(HANDLE, ())


# -- poll ----------------------------------------------------------------------------------------------------------


async def test_a_batch_that_runs(scripted):
    provider, _ = await scripted({GET: (200, batch())})
    assert await provider.poll(HANDLE, ()) == InProgress(0, 2)


async def test_an_unknown_status_goes_on_and_is_logged_once(scripted, caplog):
    provider, _ = await scripted({GET: (200, batch(status="paused"))})
    for _ in range(2):
        assert isinstance(await provider.poll(HANDLE, ()), InProgress)
    assert sum("'paused' is unknown" in each for each in caplog.messages) == 1


async def test_results_are_read_line_by_line_and_summed(scripted, caplog):
    body = b"\n".join([line("r1"), b"garbled {", b"", line("r2"), b'{"custom_id": "foreign"}', line("r1")])
    provider, script = await scripted({GET: (200, ended()), RESULTS: (200, body)})
    with caplog.at_level(logging.WARNING):
        reply = await provider.poll(HANDLE, ["r1", "r2"])
        assert [each[0] for each in await read(reply)] == ["r1", "r2", "r1"]
    usage = reply.usage()
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("m", 2, 4), "a doubled line is billed once"
    assert sum("2 lines of its results name no request or cannot be read" in each for each in caplog.messages) == 1
    assert script.calls[RESULTS] == 1


@pytest.mark.parametrize(
    "answer", [refusal(500), refusal(401), CUT, (404, b"<html>"), (200, line("r1"), {"content-length": "9999"})]
)
async def test_a_download_that_fails_is_for_later(scripted, answer):
    provider, _ = await scripted({GET: (200, ended()), RESULTS: answer})
    with pytest.raises(ProviderUnavailable):
        await read(await provider.poll(HANDLE, ["r1"]))


async def test_results_that_are_gone(scripted):
    provider, _ = await scripted({GET: (200, ended()), RESULTS: refusal(404)})
    pairs = await read(await provider.poll(HANDLE, ["r1", "r2"]))
    assert [(request_id, outcome.code) for request_id, outcome in pairs] == [
        ("r1", "results_missing"),
        ("r2", "results_missing"),
    ]


async def test_a_batch_that_is_archived(scripted):
    provider, script = await scripted({GET: (200, batch(status="ended", archived_at=moment(NOW)))})
    pairs = await read(await provider.poll(HANDLE, ["r1"]))
    assert [outcome.code for _, outcome in pairs] == ["results_missing"]
    assert script.calls[RESULTS] == 0


async def test_the_address_of_the_results_may_be_late(scripted):
    answers = [(200, batch(status="ended")), (200, ended())]
    provider, _ = await scripted({GET: answers, RESULTS: (200, line("r1"))})
    assert isinstance(await provider.poll(HANDLE, ["r1"]), InProgress)
    assert isinstance((await read(await provider.poll(HANDLE, ["r1"])))[0][1], Succeeded)


async def test_a_batch_that_is_gone_and_one_that_is_not_there_yet(scripted):
    provider, _ = await scripted({GET: refusal(404, kind="not_found_error")})
    assert isinstance(await provider.poll({**HANDLE, "created_at": time.time()}, ()), InProgress)
    reply = await provider.poll(HANDLE, ())
    assert (await read(reply), reply.missing.code) == ([], "batch_not_found")


@pytest.mark.parametrize(
    "answer", [(404, b"no such host"), (404, {"detail": "x"}), refusal(502), refusal(401), CUT, (200, {"no": 1})]
)
async def test_a_poll_that_fails_is_for_later(scripted, answer):
    provider, _ = await scripted({GET: answer})
    with pytest.raises(ProviderUnavailable):
        await provider.poll(HANDLE, ())


# -- find and fence ------------------------------------------------------------------------------------------------


async def test_a_batch_is_found_by_what_its_results_hold(scripted):
    routes = {
        LIST: page(ended("msgbatch_3"), ended("msgbatch_2", total=3), ended("msgbatch_1", created_at=NOW - 9)),
        **results_of("bb-other", "msgbatch_3"),
        **results_of(KEY, "msgbatch_1"),
    }
    provider, script = await scripted(routes)
    found = await provider.find(KEY, PREPARED)
    assert [each["id"] for each in found] == ["msgbatch_1"]
    assert found[0]["key"] == KEY
    assert script.calls[f"GET {ROOT}/msgbatch_2/results"] == 0, "it holds another number of requests"
    await provider.find(KEY, PREPARED)
    assert script.calls[f"GET {ROOT}/msgbatch_3/results"] == 1, "what was read is remembered"


async def test_a_batch_of_the_same_size_is_waited_for(scripted):
    routes = {LIST: [page(batch()), page(ended())], **results_of(KEY)}
    provider, script = await scripted(routes)
    with pytest.raises(ProviderUnavailable, match="msgbatch_1"):
        await provider.find(KEY, PREPARED)
    assert script.calls[RESULTS] == 0
    assert [each["id"] for each in await provider.find(KEY, PREPARED)] == ["msgbatch_1"]


async def test_a_batch_of_the_same_size_that_is_known_by_its_handle_is_not(scripted):
    """A sibling of one flush: this process polls it, so it is no candidate."""
    provider, _ = await scripted({GET: (200, batch()), LIST: page(batch())})
    await provider.poll({**HANDLE, "key": "bb-sibling"}, ())
    assert await provider.find(KEY, PREPARED) == []
    await provider.poll(HANDLE, ())
    assert [each["id"] for each in await provider.find(KEY, PREPARED)] == ["msgbatch_1"]


@pytest.mark.parametrize(
    "noted",
    [
        {"newest": "msgbatch_8", "newest_at": NOW - 50},
        {"newest": "msgbatch_deleted", "newest_at": NOW - 50},
    ],
)
async def test_batches_that_were_there_before_are_no_candidates(scripted, noted):
    old = batch("msgbatch_8", created_at=NOW - 50), batch("msgbatch_7", created_at=NOW - 60)
    listed = old if noted["newest"] == "msgbatch_8" else old[1:]
    provider, script = await scripted({LIST: page(*listed, has_more=True)})
    assert await provider.find(KEY, {**PREPARED, **noted}) == []
    assert script.calls[LIST] == 1


async def test_all_pages_are_read(scripted):
    pages = [page(ended("msgbatch_2", total=3), has_more=True), page(ended("msgbatch_1"), has_more=True), page()]
    provider, script = await scripted({LIST: pages, **results_of(KEY)})
    assert [each["id"] for each in await provider.find(KEY, PREPARED)] == ["msgbatch_1"]
    asked = [sorted(each.split("&")) for each in script.queries[:3]]
    assert asked == [["limit=1000"], ["after_id=msgbatch_2", "limit=1000"], ["after_id=msgbatch_1", "limit=1000"]]


async def test_the_oldest_comes_first_and_what_was_cancelled_last(scripted):
    listed = (
        ended("msgbatch_3"),
        ended("msgbatch_2", created_at=NOW - 5),
        ended("msgbatch_1", created_at=NOW - 9, cancel_initiated_at=moment(NOW)),
    )
    routes = {LIST: page(*listed)}
    for number in (1, 2, 3):
        routes |= results_of(KEY, f"msgbatch_{number}")
    provider, _ = await scripted(routes)
    assert [each["id"] for each in await provider.find(KEY, PREPARED)] == ["msgbatch_2", "msgbatch_3", "msgbatch_1"]


@pytest.mark.parametrize("answer", [refusal(404), (200, b""), (200, b"garbled\n")])
async def test_results_that_do_not_tell_leave_a_doubt(scripted, answer):
    provider, _ = await scripted({LIST: page(ended()), **results_of(KEY), RESULTS: answer})
    with pytest.raises(SubmissionUnknown, match="msgbatch_1"):
        await provider.find(KEY, PREPARED)


async def test_a_candidate_that_is_archived_leaves_a_doubt(scripted):
    provider, _ = await scripted({LIST: page(batch(status="ended", archived_at=moment(NOW)))})
    with pytest.raises(SubmissionUnknown):
        await provider.find(KEY, PREPARED)


@pytest.mark.parametrize("answer", [refusal(500), refusal(401), CUT, (200, {"no": "list"})])
async def test_a_listing_that_fails_is_for_later(scripted, answer):
    provider, _ = await scripted({LIST: answer})
    with pytest.raises(ProviderUnavailable):
        await provider.find(KEY, PREPARED)


async def test_a_create_call_is_lost_after_a_while(scripted):
    provider, _ = await scripted({})
    with pytest.raises(ProviderUnavailable) as raised:
        await provider.fence(PREPARED)
    assert 0 < raised.value.retry_after <= 600.001  # seconds since the epoch have no more digits
    provider, _ = await scripted({}, lost_after=timedelta())
    await provider.fence(PREPARED)


async def test_with_no_end_of_the_wait_the_doubt_stays(scripted):
    provider, _ = await scripted({}, lost_after=None)
    with pytest.raises(SubmissionUnknown, match="Console"):
        await provider.fence(PREPARED)


# -- cancel, release, and the rest ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(200, batch()), refusal(400), refusal(404), refusal(409)])
async def test_a_cancellation_of_what_has_ended_is_no_error(scripted, answer):
    provider, script = await scripted({CANCEL: answer})
    await provider.cancel(HANDLE)
    assert script.calls[CANCEL] == 1


@pytest.mark.parametrize("answer", [refusal(500), refusal(401), CUT])
async def test_a_cancellation_that_fails_is_for_later(scripted, answer):
    provider, _ = await scripted({CANCEL: answer})
    with pytest.raises(ProviderUnavailable):
        await provider.cancel(HANDLE)


async def test_batches_are_deleted_if_that_was_asked_for(scripted):
    provider, script = await scripted({DELETE: [(200, {"id": "msgbatch_1"}), refusal(404)]})
    await provider.release(HANDLE)
    assert script.calls[DELETE] == 0
    provider, script = await scripted({DELETE: [(200, {"id": "msgbatch_1"}), refusal(404)]}, delete_batches=True)
    await provider.release(HANDLE)
    await provider.release(HANDLE)
    assert script.calls[DELETE] == 2


def test_one_model_a_batch():
    provider = AnthropicBatch(model="m")
    asked = requests([[HumanMessage("a")], {"model": "other", "messages": [{"role": "user", "content": "a"}]}])
    assert [provider.measure(each).group for each in asked] == ["m", "other"]
    with pytest.raises(RequestRefused):
        provider.measure(requests(["a"])[0])


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"client": Anthropic(api_key="k")}, TypeError),
        ({"client": 3}, TypeError),
        ({"model": ""}, TypeError),
        ({"max_tokens": 0}, ValueError),
        ({"max_tokens": "9"}, TypeError),
        ({"defaults": [1]}, TypeError),
        ({"defaults": {"stream": True}}, ValueError),
        ({"defaults": {"model": "a"}, "model": "b"}, ValueError),
        ({"betas": "one"}, TypeError),
        ({"lost_after": "soon"}, TypeError),
        ({"lost_after": timedelta(seconds=-1)}, ValueError),
    ],
)
def test_arguments_are_checked(options, kind):
    with pytest.raises(kind, match="AnthropicBatch"):
        AnthropicBatch(**options)


def test_what_it_says_of_itself():
    assert repr(AnthropicBatch(model="m")) == "AnthropicBatch(model='m')"
    assert repr(AnthropicBatch()) == "AnthropicBatch()"
    assert AnthropicBatch().limits.requests == 100_000
    assert AnthropicBatch(limits=Limits(requests=3)).limits.requests == 3


async def test_identity_has_the_address_and_no_secret(scripted):
    provider, script = await scripted({}, client={"default_headers": {"X-Api-Key": "hidden", "x-tenant": "blue"}})
    identity = provider.identity(chats(1)[0])
    assert b"sk-ant" not in identity
    assert b"hidden" not in identity
    assert b"x-tenant=blue" in identity
    assert script.base_url.removesuffix("/v1").encode() in identity
