"""Jobs through the real client, over HTTP, in a real file; each call could be another process's, and some are."""

import asyncio
import json
from datetime import timedelta

import pytest
import warm
from langchain_core.messages import AIMessage, HumanMessage

from batch_bridge import Bridge, Limits, RequestCancelled, RequestFailed, ResponseCache
from batch_bridge.errors import RunFileError, RunnerStateError, UnknownJobError
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture(scope="module")
def shared():
    with BatchServer() as running:
        yield running


@pytest.fixture
def server(shared, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", shared.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    shared.reset_stats()
    yield shared
    shared.configure(
        latency=0.0,
        line_failure=0.0,
        drop_create_response=0.0,
        stuck=0.0,
        stuck_share=0.99,
        expiry=0.0,
        enqueued_tokens=None,
    )


def chats(count):
    return [[{"role": "user", "content": f"question {index}"}] for index in range(count)]


@pytest.fixture
def open_jobs(tmp_path):
    def open_jobs(limit=None, **options):
        limits = Limits(requests=limit, bytes=10_000_000) if limit else None
        provider = OpenAIBatch(model="gpt-4o-mini", limits=limits)
        return Jobs(tmp_path / "jobs.db", provider, poll_interval=0.5, **options)

    return open_jobs


def test_a_job_without_a_loop(server, open_jobs):
    handle = open_jobs().submit(chats(5))
    status = open_jobs().join(handle, timeout=30)
    assert (status.state, status.outcomes, status.batches[0].usage.model) == ("ended", {"succeeded": 5}, "gpt-4o-mini")
    results = list(open_jobs().results(handle))
    assert [each.index for each in results] == list(range(5))
    assert len({each.answer["choices"][0]["message"]["content"] for each in results}) == 5
    assert open_jobs().handles() == [handle]
    open_jobs().forget(handle)
    with pytest.raises(UnknownJobError):
        open_jobs().status(handle)
    assert (server.stats.paid, server.stats.batches) == (5, 1)


async def test_a_mapping_names_its_results_and_messages_stay_messages(server, open_jobs):
    jobs = open_jobs()
    handle = await jobs.asubmit({"a": [HumanMessage("one")], "b": chats(1)[0]})
    await jobs.ajoin(handle, timeout=30)
    results = {each.name: each.answer async for each in jobs.aresults(handle)}
    assert isinstance(results["a"], AIMessage)
    assert isinstance(results["b"], dict)


async def test_a_key_is_submitted_once_and_split_over_limits(server, open_jobs):
    server.configure(latency=30.0)
    jobs = open_jobs(limit=2)
    handles = await asyncio.gather(*(jobs.asubmit(chats(5), key="eval-7") for _ in range(3)))
    assert len(set(handles)) == 1
    status = await jobs.astatus(handles[0])
    assert [each.state for each in status.batches] == ["in_flight"] * 3
    assert all(each.handle["id"].startswith("batch_") for each in status.batches)
    assert server.stats.batches == 3
    assert [each async for each in jobs.aresults(handles[0])] == []


async def test_failures_are_typed(server, open_jobs):
    server.configure(line_failure=0.5, line_failure_status=400)
    jobs = open_jobs()
    handle = await jobs.asubmit(chats(40))
    status = await jobs.ajoin(handle, timeout=timedelta(seconds=30))
    results = [each async for each in jobs.aresults(handle)]
    failed = [each for each in results if not each.ok]
    assert status.outcomes == {"succeeded": 40 - len(failed), "errored": len(failed)}
    assert 0 < len(failed) < 40
    assert {(type(each.error), each.error.status_code) for each in failed} == {(RequestFailed, 400)}
    with pytest.raises(RequestFailed):
        _ = failed[0].answer


async def test_a_lost_create_response_is_looked_up(server, open_jobs):
    server.configure(drop_create_response=1.0)
    jobs = open_jobs()
    handle = await jobs.asubmit(chats(3))
    status = await jobs.ajoin(handle, timeout=30)
    assert status.outcomes == {"succeeded": 3}
    assert (server.stats.paid, server.stats.paid_twice) == (3, 0)


async def test_cancel_reaches_the_batch(server, open_jobs):
    server.configure(stuck=1.0)
    jobs = open_jobs()
    handle = await jobs.asubmit(chats(3))
    with pytest.raises(TimeoutError, match="in_flight after 0 seconds"):
        await jobs.ajoin(handle, timeout=0)
    await jobs.acancel(handle)
    status = await jobs.ajoin(handle, timeout=30)
    assert sum(status.outcomes.values()) == 3
    errors = [each.error async for each in jobs.aresults(handle) if not each.ok]
    assert errors
    assert all(isinstance(each, RequestCancelled) for each in errors)


async def test_what_expired_is_sent_again_by_a_later_call(server, open_jobs):
    server.configure(expiry=1.0, expiry_share=0.5)
    handle = await open_jobs().asubmit(chats(8))
    status = await open_jobs().ajoin(handle, timeout=30)
    assert status.outcomes == {"succeeded": 7, "expired": 1}
    assert [each.requests for each in status.batches] == [4, 2, 2], "each batch counts those that ended with it"
    (error,) = [each.error async for each in open_jobs().aresults(handle) if not each.ok]
    assert len(error.attempts) == 2
    assert (server.stats.paid, server.stats.paid_twice, server.stats.batches) == (7, 0, 3)


async def test_a_job_with_a_request_that_never_fits_ends(server, open_jobs):
    server.configure(enqueued_tokens=100)
    jobs = open_jobs()
    status = await jobs.ajoin(await jobs.asubmit([[{"role": "user", "content": "word " * 1000}]]), timeout=30)
    assert (status.outcomes, server.stats.batches) == ({"errored": 1}, 1)


async def test_nothing_of_a_cancelled_job_is_sent_again(server, open_jobs):
    server.configure(stuck=1.0, stuck_share=0.0, line_failure=1.0, line_failure_status=429)
    handle = await open_jobs().asubmit(chats(3))
    await open_jobs().acancel(handle)
    server.configure(stuck=0.0)
    status = await open_jobs().ajoin(handle, timeout=30)
    assert (status.outcomes, server.stats.batches) == ({"cancelled": 3}, 1)


async def test_a_bridge_brings_its_cache(server, tmp_path):
    cache = ResponseCache(tmp_path / "cache.db")
    bridge = Bridge(OpenAIBatch(model="gpt-4o-mini"), cache=cache, poll_interval=0.5)
    jobs = Jobs(tmp_path / "jobs.db", bridge)
    await jobs.ajoin(await jobs.asubmit(chats(3)), timeout=30)
    status = await jobs.astatus(await jobs.asubmit(chats(3)))
    assert (status.state, status.outcomes, status.batches) == ("ended", {"succeeded": 3}, ())
    assert server.stats.paid == 3


CHILD = """
import sys
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
jobs = Jobs(sys.argv[1], OpenAIBatch(model="gpt-4o-mini"), poll_interval=0.5)
print(jobs.submit([[{"role": "user", "content": f"{i}"}] for i in range(4)], key="child"))
"""


async def test_another_process_submits_and_this_one_reads(server, open_jobs, tmp_path):
    done = await asyncio.to_thread(warm.run, ["-c", CHILD, tmp_path / "jobs.db"])
    assert done.returncode == 0, done.stderr
    handle = done.stdout.strip()
    jobs = open_jobs()
    assert (await jobs.ajoin(handle, timeout=30)).outcomes == {"succeeded": 4}
    assert len([each async for each in jobs.aresults(handle)]) == 4


async def test_what_is_wrong_is_named(server, open_jobs, tmp_path, monkeypatch):
    jobs = open_jobs()
    with pytest.raises(UnknownJobError, match="no job 'job_x'"):
        await jobs.astatus("job_x")
    with pytest.raises(RunnerStateError, match=r"use astatus\(\)"):
        jobs.status("job_x")
    with pytest.raises(TypeError, match="got a string"):
        await jobs.asubmit("question")
    with pytest.raises(ValueError, match='mode="batch"'):
        Jobs(tmp_path / "x.db", Bridge(OpenAIBatch(), mode="realtime"))
    with pytest.raises(ValueError, match="without deadline="):
        Jobs(tmp_path / "x.db", Bridge(OpenAIBatch(model="m"), deadline=60))
    with pytest.raises(ValueError, match="lose every job"):
        Jobs(":memory:", OpenAIBatch())
    with pytest.raises(RunFileError, match="no folder"):
        await Jobs(tmp_path / "no" / "x.db", OpenAIBatch()).asubmit(chats(1))
    async with jobs._turn():
        with pytest.raises(RunFileError, match="another call has used this file"):
            await open_jobs(patience=0).astatus("job_x")


def test_the_file_holds_no_key(server, open_jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-stored")
    jobs = open_jobs()
    jobs.join(jobs.submit(chats(1)), timeout=30)
    assert b"sk-not-to-be-stored" not in (tmp_path / "jobs.db").read_bytes()
    assert json.dumps(repr(jobs)).count("sk-not") == 0
