"""The provider against a server that answers as no real one does: every call, and what its failures mean."""

import json
import socket
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from langchain_core.messages import HumanMessage
from test_openai_kit import CUT, HANG, Script, chats, client_of, refusal

from batch_bridge import Ended, Expired, InProgress, Succeeded
from batch_bridge.errors import ProviderUnavailable, SubmissionRefused, SubmissionUnknown
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing.conformance import requests

NOW = int(time.time())
KEY = "bb-key"
UPLOAD = {"input_file_id": "file-own", "endpoint": "/v1/chat/completions", "model": "m", "uploaded_at": NOW}
HANDLE = {**UPLOAD, "id": "batch_1", "key": KEY, "created_at": NOW - 3_600}
FILE = {
    "id": "file-own",
    "object": "file",
    "created_at": NOW,
    "purpose": "batch",
    "bytes": 1,
    "filename": "x",
}
GET, LIST, CREATE = "GET /v1/batches/batch_1", "GET /v1/batches", "POST /v1/batches"
FILES, OWN_FILE, CONTENT = "POST /v1/files", "/v1/files/file-own", "GET /v1/files/file-out/content"


def batch(batch_id="batch_1", status="in_progress", *, key=KEY, file="file-own", created_at=NOW, **more):
    metadata = None if key is None else {"batch_bridge_key": key}
    fields = {
        "id": batch_id,
        "object": "batch",
        "status": status,
        "metadata": metadata,
        "created_at": created_at,
    }
    return {**fields, "input_file_id": file, "endpoint": "/v1/chat/completions", **more}


def page(*batches, has_more=False):
    return 200, {"object": "list", "data": list(batches), "has_more": has_more}


def line(request_id, answer="yes"):
    return json.dumps({"custom_id": request_id, "response": {"status_code": 200, "body": {"a": answer}}}).encode()


@pytest.fixture
async def scripted():
    """Make a provider whose server answers by these routes, and give both."""
    async with AsyncExitStack() as stack:

        async def make(routes, **options):
            script = await stack.enter_async_context(Script(routes))
            client = await stack.enter_async_context(client_of(script.base_url, **options))
            provider = OpenAIBatch(client, model="m")
            stack.push_async_callback(provider.aclose)
            return provider, script

        yield make


async def read(ended):
    assert isinstance(ended, Ended)
    return [pair async for pair in ended.outcomes]


def dead_url():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/v1"


# -- prepare -------------------------------------------------------------------------------------------------------


async def test_the_upload_is_the_lines_in_order(scripted):
    provider, script = await scripted({FILES: (200, FILE)})
    asked = requests([[{"role": "user", "content": "Grüße\n\u2028"}], [HumanMessage("x" * 200_000)]])
    prepared = await provider.prepare(KEY, asked)
    assert prepared == UPLOAD
    body = script.bodies[FILES]
    lines = [part for part in body.split(b"\n") if part.startswith(b"{")]
    assert [json.loads(each)["custom_id"] for each in lines] == [asked[0].id, f"{asked[1].id}-m"]
    assert sum(len(each) + 1 for each in lines) == sum(provider.measure(each).bytes for each in asked)
    assert b'filename="bb-key.jsonl"' in body


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(400), SubmissionRefused),
        (refusal(401), SubmissionRefused),
        (refusal(403), SubmissionRefused),
        (refusal(413), SubmissionRefused),
        (refusal(429), ProviderUnavailable),
        (refusal(500), ProviderUnavailable),
        (CUT, ProviderUnavailable),
        (HANG, ProviderUnavailable),
        ((200, {"no": "file"}), ProviderUnavailable),
    ],
)
async def test_an_upload_that_fails(scripted, answer, kind):
    provider, script = await scripted({FILES: answer}, timeout=0.2)
    with pytest.raises(kind):
        await provider.prepare(KEY, chats(1))
    assert script.calls[FILES] == provider.calls["files.create"] == 1, "the SDK does not try again"


async def test_expiry_is_told_to_the_api(scripted):
    life = {"files_expire_after": timedelta(days=2), "output_expires_after": timedelta(days=3)}
    _, script = await scripted({FILES: (200, FILE), CREATE: (200, batch())})
    async with client_of(script.base_url) as client:
        provider = OpenAIBatch(client, model="m", **life)
        await provider.submit(KEY, (), await provider.prepare(KEY, chats(1)))
        await provider.aclose()
    assert b"172800" in script.bodies[FILES]
    assert json.loads(script.bodies[CREATE])["output_expires_after"] == {
        "anchor": "created_at",
        "seconds": 259_200,
    }


# -- submit --------------------------------------------------------------------------------------------------------


async def test_a_created_batch_has_a_handle(scripted):
    provider, script = await scripted({CREATE: (200, batch())})
    handle = await provider.submit(KEY, (), UPLOAD)
    assert {name: handle[name] for name in ("id", "key", "input_file_id", "endpoint", "model")} == {
        "id": "batch_1",
        "key": KEY,
        "input_file_id": "file-own",
        "endpoint": "/v1/chat/completions",
        "model": "m",
    }
    assert json.loads(script.bodies[CREATE]) == {
        "input_file_id": "file-own",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"batch_bridge_key": KEY},
    }


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(400), SubmissionRefused),
        (refusal(401), SubmissionRefused),
        (refusal(404), SubmissionRefused),
        (refusal(429, headers={"retry-after": "9"}), ProviderUnavailable),
        (refusal(408), SubmissionUnknown),
        (refusal(500), SubmissionUnknown),
        (refusal(503), SubmissionUnknown),
        (CUT, SubmissionUnknown),
        (HANG, SubmissionUnknown),
        ((200, b"<html>", {"content-type": "text/html"}), SubmissionUnknown),
        ((200, b"{", {"content-type": "application/json"}), SubmissionUnknown),
    ],
)
async def test_a_create_that_fails(scripted, answer, kind):
    provider, script = await scripted({CREATE: answer}, timeout=0.2, max_retries=5)
    with pytest.raises(kind) as caught:
        await provider.submit(KEY, (), UPLOAD)
    assert script.calls[CREATE] == provider.calls["batches.create"] == 1, "a create is never repeated"
    if answer[0] == 429:
        assert caught.value.retry_after == 9


async def test_a_create_that_was_never_sent_is_known_not_to_exist():
    async with client_of(dead_url()) as client:
        with pytest.raises(ProviderUnavailable, match="creating the batch failed"):
            await OpenAIBatch(client).submit(KEY, (), UPLOAD)


# -- find ----------------------------------------------------------------------------------------------------------


async def found(scripted, *batches, files=()):
    routes = {LIST: page(*batches)}
    routes |= {f"GET /v1/files/{each}": (200, {**FILE, "id": each}) for each in files}
    routes |= {f"GET /v1/files/{each}": refusal(404) for each in ("file-own", "file-old") if each not in files}
    provider, _ = await scripted(routes)
    return [handle["id"] for handle in await provider.find(KEY, UPLOAD)]


async def test_it_finds_by_key_or_by_file_the_oldest_first(scripted):
    ids = await found(
        scripted,
        batch("newest", created_at=NOW + 3),
        batch("other", key="bb-other", created_at=NOW + 2),
        batch("by file", key=None, created_at=NOW + 1),
        batch("stranger", key="bb-other", file="file-x", created_at=NOW),
        batch("oldest", file="file-old", created_at=NOW - 60),
    )
    assert ids == ["oldest", "by file", "newest"]


@pytest.mark.parametrize("status", ["in_progress", "finalizing", "completed", "expired"])
async def test_what_runs_or_ran_is_live(scripted, status):
    assert await found(scripted, batch("a", status), batch("b", "failed")) == ["a"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "cancelling"])
async def test_a_ghost_of_an_earlier_try_is_ignored(scripted, status):
    assert await found(scripted, batch("ghost", status, file="file-old")) == []


@pytest.mark.parametrize("status", ["failed", "cancelled", "cancelling"])
async def test_the_own_batch_that_came_to_nothing_is_the_answer(scripted, status):
    assert await found(scripted, batch("own", status), files=["file-own"]) == ["own"]


async def test_a_batch_that_failed_because_it_was_fenced_is_ignored(scripted):
    assert await found(scripted, batch("own", "failed")) == []


async def test_a_batch_in_validation_without_its_file_must_be_waited_for(scripted):
    with pytest.raises(ProviderUnavailable, match="being validated"):
        await found(scripted, batch("a", "validating"))
    assert await found(scripted, batch("a", "validating"), files=["file-own"]) == ["a"]
    both = await found(scripted, batch("b", created_at=NOW + 1), batch("a", "validating", file="file-old"))
    assert both == ["b", "a"], "the one that runs is adopted, and the other cancelled"


async def test_a_listing_is_read_until_it_is_older_than_the_upload(scripted):
    old = [batch(f"old-{i}", key=f"k{i}", created_at=NOW - 7_200) for i in range(2)]
    pages = [
        page(batch("b1", key="k", created_at=NOW + 9), batch("b2", key="k", created_at=NOW + 8), has_more=True),
        page(batch("b3", created_at=NOW + 7), old[0], has_more=True),
        page(old[1], has_more=True),
    ]
    provider, script = await scripted({LIST: pages})
    assert [each["id"] for each in await provider.find(KEY, UPLOAD)] == ["b3"]
    assert script.calls[LIST] == 2
    assert [sorted(each.split("&")) for each in script.queries] == [["limit=100"], ["after=b2", "limit=100"]]


async def test_a_listing_that_repeats_itself_ends(scripted):
    provider, script = await scripted({LIST: page(batch("b1"), has_more=True)})
    assert len(await provider.find(KEY, UPLOAD)) == 1
    assert script.calls[LIST] == 2


async def test_a_listing_in_another_order_is_read_to_its_end(scripted):
    pages = [
        page(
            batch("b1", key="k", created_at=NOW - 9_000),
            batch("b2", key="k", created_at=NOW - 8_000),
            has_more=True,
        ),
        page(batch("b3", created_at=NOW)),
    ]
    provider, _ = await scripted({LIST: pages})
    assert [each["id"] for each in await provider.find(KEY, UPLOAD)] == ["b3"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(401), ProviderUnavailable),
        (refusal(404), ProviderUnavailable),
        (refusal(500), ProviderUnavailable),
        (CUT, ProviderUnavailable),
        ((200, b"<html>", {"content-type": "text/html"}), ProviderUnavailable),
        ((200, {"object": "list"}), ProviderUnavailable),
        (refusal(405), SubmissionUnknown),
        (refusal(501), SubmissionUnknown),
    ],
)
async def test_a_listing_that_fails_never_says_none(scripted, answer, kind):
    provider, _ = await scripted({LIST: answer})
    with pytest.raises(kind):
        await provider.find(KEY, UPLOAD)


# -- fence, cancel, release ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(200, {"id": "file-own", "deleted": True}), refusal(404)])
async def test_the_fence_deletes_the_input_file(scripted, answer):
    provider, script = await scripted({f"DELETE {OWN_FILE}": answer})
    await provider.fence(UPLOAD)
    assert script.calls[f"DELETE {OWN_FILE}"] == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(401), ProviderUnavailable),
        ((404, {"detail": "Not Found"}), ProviderUnavailable),
        (refusal(409), ProviderUnavailable),
        (refusal(500), ProviderUnavailable),
        (CUT, ProviderUnavailable),
        (refusal(405), SubmissionUnknown),
    ],
)
async def test_a_fence_that_does_not_hold_says_so(scripted, answer, kind):
    provider, _ = await scripted({f"DELETE {OWN_FILE}": answer})
    with pytest.raises(kind):
        await provider.fence(UPLOAD)


@pytest.mark.parametrize("answer", [(200, batch()), refusal(400), refusal(404), refusal(409)])
async def test_cancelling_what_has_ended_is_no_error(scripted, answer):
    provider, script = await scripted({f"{CREATE}/batch_1/cancel": answer})
    await provider.cancel(HANDLE)
    assert script.calls[f"{CREATE}/batch_1/cancel"] == 1


@pytest.mark.parametrize("answer", [refusal(401), refusal(500), CUT])
async def test_a_cancellation_that_failed_is_repeated_later(scripted, answer):
    provider, _ = await scripted({f"{CREATE}/batch_1/cancel": answer})
    with pytest.raises(ProviderUnavailable):
        await provider.cancel(HANDLE)


async def test_nothing_is_asked_when_files_are_kept(scripted):
    provider, script = await scripted({})
    await provider.release(HANDLE)
    assert not script.calls


# -- poll ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "paused", None])
async def test_statuses_that_go_on(scripted, status):
    counts = {"total": 9, "completed": 2, "failed": 1}
    provider, _ = await scripted({GET: (200, batch(status=status, request_counts=counts))})
    assert await provider.poll(HANDLE, ()) == InProgress(3, 9)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401),
        refusal(403),
        refusal(408),
        refusal(409),
        refusal(429),
        refusal(500),
        (404, {"detail": "Not Found"}),
        (404, b"<html>"),
        (200, b"<html>", {"content-type": "text/html"}),
        (200, b"{", {"content-type": "application/json"}),
        CUT,
        HANG,
    ],
)
async def test_a_poll_that_fails_gives_up_nothing(scripted, answer):
    provider, _ = await scripted({GET: answer}, timeout=0.2)
    with pytest.raises(ProviderUnavailable):
        await provider.poll(HANDLE, ())


async def test_the_key_is_never_in_an_error(scripted):
    secret = "sk-proj-verysecret123"
    answer = refusal(401, f"Incorrect API key provided: {secret}. You can find your API key at https://x.")
    provider, _ = await scripted({GET: answer}, api_key=secret)
    with pytest.raises(ProviderUnavailable) as caught:
        await provider.poll(HANDLE, ())
    assert "verysecret" not in str(caught.value)
    assert "check OPENAI_API_KEY" in str(caught.value)


async def test_a_404_soon_after_the_creation_is_no_end(scripted):
    provider, _ = await scripted({GET: refusal(404)})
    assert await provider.poll({**HANDLE, "created_at": time.time()}, ()) == InProgress()
    ended = await provider.poll(HANDLE, ())
    assert (ended.missing.code, await read(ended)) == ("batch_not_found", [])


async def test_a_404_of_a_batch_that_was_seen_is_an_end(scripted):
    provider, _ = await scripted({GET: [(200, batch()), refusal(404)]})
    young = {**HANDLE, "created_at": time.time()}
    assert await provider.poll(young, ()) == InProgress()
    assert (await provider.poll(young, ())).missing.code == "batch_not_found"


async def test_an_output_file_may_be_named_late(scripted):
    counts = {"total": 1, "completed": 1, "failed": 0}
    early = batch(status="completed", request_counts=counts)
    late = {**early, "output_file_id": "file-out"}
    provider, _ = await scripted({GET: [(200, early), (200, late)], CONTENT: (200, line("a"))})
    assert isinstance(await provider.poll(HANDLE, ["a"]), InProgress)
    assert await read(await provider.poll(HANDLE, ["a"])) == [("a", Succeeded({"a": "yes"}))]


# -- outcomes ------------------------------------------------------------------------------------------------------


async def test_outcomes_of_both_files(scripted):
    seen = batch(status="expired", output_file_id="file-out", error_file_id="file-err")
    never = json.dumps({"custom_id": "c", "response": None, "error": {"code": "batch_expired", "message": "late"}})
    output = b"\n".join([line("b"), b"", b"garbage", line("a")])
    routes = {
        GET: (200, seen),
        CONTENT: (200, output),
        "GET /v1/files/file-err/content": (200, never.encode()),
    }
    provider, _ = await scripted(routes)
    ended = await provider.poll(HANDLE, ["a", "b", "c"])
    assert [request_id for request_id, _ in await read(ended)] == ["b", "a", "c"]
    assert isinstance(ended.missing, Expired)


async def test_a_line_of_megabytes(scripted):
    seen = batch(status="completed", output_file_id="file-out")
    content = line("a", "x" * 3_000_000) + b"\n" + line("b")
    provider, _ = await scripted({GET: (200, seen), CONTENT: (200, content)})
    outcomes = await read(await provider.poll(HANDLE, ["a", "b"]))
    assert [len(outcome.answer["a"]) for _, outcome in outcomes] == [3_000_000, 3]


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        HANG,
        refusal(500),
        refusal(401),
        (404, b"<html>"),
        (200, line("a") + b"\n", {"content-length": "9999"}),
    ],
)
async def test_a_download_that_fails_is_read_again(scripted, answer):
    seen = batch(status="completed", output_file_id="file-out")
    provider, _ = await scripted({GET: (200, seen), CONTENT: answer}, timeout=0.2)
    with pytest.raises(ProviderUnavailable, match="downloading file-out"):
        await read(await provider.poll(HANDLE, ["a"]))


async def test_a_reader_that_stops_early_leaves_nothing_open(scripted):
    seen = batch(status="completed", output_file_id="file-out")
    provider, _ = await scripted({GET: (200, seen), CONTENT: (200, b"\n".join([line("a")] * 50_000))})
    ended = await provider.poll(HANDLE, ["a"])
    async for _ in ended.outcomes:
        break
    await ended.outcomes.aclose()
    assert isinstance(await provider.poll(HANDLE, ["a"]), Ended)


async def test_usage_is_what_the_api_says(scripted):
    usage = {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    provider, _ = await scripted({GET: (200, batch(status="completed", output_file_id="file-out", usage=usage))})
    used = (await provider.poll(HANDLE, ())).usage
    assert (used.model, used.input_tokens, used.output_tokens, used.cached_tokens) == ("m", 7, 5, 2)
