"""`notify=`: people are told once of what has ended, with the receipt and without a word of content."""

import logging
import sqlite3
import sys
from contextlib import closing

import pytest
from helpers import Desk, one_node, within
from inbox import Inbox
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, Runner, load_bridges, wait
from batch_bridge.errors import BadPollResultError, ConfigError, MissingPackageError
from batch_bridge.events import Stalled
from batch_bridge.jobs import Jobs
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer


@pytest.fixture
def inbox():
    with Inbox() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def server():
    with BatchServer(latency=0.01) as server:
        yield server


async def node(state):
    return {"out": [await wait(f"the prompt {state['x']}")]}


def answer(item):
    return ValueError(f"no: {item}") if "1" in item else f"the answer to {item}"


def inputs(count):
    return [{"x": n} for n in range(count)]


def forget_sent(path, key):
    with closing(sqlite3.connect(path)) as connection, connection:
        gone = connection.execute("DELETE FROM store WHERE prefix = 'batch_bridge_notices' AND key LIKE ?", (key,))
        assert gone.rowcount == 1


async def test_a_run_is_told_of_once_with_its_receipt_and_no_content(inbox, tmp_path):
    desk = Desk(answer)

    async def run(count=3):
        path = tmp_path / "run.db"
        async with Runner(one_node(node), desk.bridge(), path=path, progress=False, notify=inbox.url) as runner:
            return await within(runner.abatch(inputs(count), run_id="eval", return_exceptions=True))

    await run()
    (post,) = inbox.posts
    assert post["title"] == "BatchBridge: run 'eval' has ended: 1 of 3 threads failed"
    assert "2 of 3 threads done\nfailed: 1 request_failed\npaid unknown" in post["message"]
    assert f"batch-bridge status {tmp_path / 'run.db'}" in post["message"]
    assert not {"prompt", "answer"} & set(str(post).split())
    desk._answer = lambda item: f"{item}!"
    await run()
    assert inbox.titles[1:] == ["BatchBridge: run 'eval' has ended"], "the failed one was run again"
    await run()
    assert len(inbox.posts) == 2, "nothing has happened since"
    forget_sent(tmp_path / "run.db", "run:eval")  # as if the process had died before it wrote that down
    await run()
    assert inbox.titles[2:] == inbox.titles[1:2]


async def test_the_receipt_of_a_run_is_its_own(inbox, server, tmp_path):
    async def asks(state):
        await wait([{"role": "user", "content": f"{state['x']}"}])

    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
    bridge = Bridge(provider, poll_interval=0.05, mode="batch", notify=inbox.url)
    async with Runner(one_node(asks), bridge, path=tmp_path / "run.db", progress=False) as runner:
        await within(runner.abatch(inputs(1), run_id="one"))
        await within(runner.abatch(inputs(3), run_id="two"))
        rows = await runner.costs()
    paid = [sum(row["paid"] for row in rows if row["run"] == run) for run in ("one", "two")]
    assert [f"paid ${each:.8f}, in realtime" in post["message"] for each, post in zip(paid, inbox.posts, strict=True)]
    assert inbox.posts[0]["message"] != inbox.posts[1]["message"]


async def test_a_run_that_an_error_stops_is_told_of_and_one_thread_alone_is_not(inbox, tmp_path):
    desk = Desk()
    bridge = Bridge(submit=desk.submit, poll=lambda _: 5, poll_interval=0.02)
    async with Runner(one_node(node), bridge, path=tmp_path / "run.db", progress=False, notify=inbox.url) as runner:
        with pytest.raises(BadPollResultError):
            await within(runner.abatch(inputs(2), run_id="eval"))
    (post,) = inbox.posts
    assert post["title"] == "BatchBridge: run 'eval' was stopped by BadPollResultError"
    async with Runner(one_node(node), Desk().bridge(), path=":memory:", progress=False, notify=inbox.url) as runner:
        await within(runner.ainvoke({"x": 0}))
    assert len(inbox.posts) == 1


async def test_a_standstill_is_told_of_once_until_something_moves(inbox, tmp_path):
    stalled = Stalled(bridge="bridge", seconds=3600, problem="the prompt was refused")
    for _ in range(2):
        path = tmp_path / "run.db"
        async with Runner(one_node(node), Desk().bridge(), path=path, progress=False, notify=inbox.url) as runner:
            runner._calls.session._tell(stalled)
    assert inbox.titles == ["BatchBridge: 'bridge' has stood still for 3,600 seconds"]
    assert "refused" not in str(inbox.posts)
    async with Runner(one_node(node), Desk().bridge(), path=path, progress=False, notify=inbox.url) as runner:
        await within(runner.abatch(inputs(1)))
    async with Runner(one_node(node), Desk().bridge(), path=path, progress=False, notify=inbox.url) as runner:
        runner._calls.session._tell(stalled)
    assert inbox.titles[2:] == inbox.titles[:1]


async def test_a_notice_that_cannot_be_sent_harms_nothing_is_told_once_and_shows_no_url(inbox, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    inbox.status = 500
    desk = Desk()

    async def run(run_id):
        path = tmp_path / "run.db"
        async with Runner(one_node(node), desk.bridge(), path=path, progress=False, notify=inbox.url) as runner:
            for each in run_id:
                await within(runner.abatch(inputs(1), run_id=each))

    await run("ab")
    told = [each for each in caplog.records if each.name == "batch_bridge" and "notice" in each.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "s3cret" not in caplog.text
    inbox.status, before = 200, len(inbox.posts)
    await run("ab")
    assert len(inbox.posts) == before + 2, "the same command tells what could not be told"
    assert "s3cret" not in caplog.text


def test_each_batch_of_a_batcher_is_told_of_once_over_restarts(inbox, server, tmp_path):
    path = tmp_path / "b.db"

    def ask(*items, notify=inbox.url):
        provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
        options = {"path": path, "poll_interval": 0.05, "mode": "batch", "max_batch_size": 2, "notify": notify}
        with Batcher(provider, **options) as batcher:
            batcher.map([[{"role": "user", "content": f"the prompt {item}"}] for item in items])

    ask("a", "b", notify=None)
    ask("c")
    assert inbox.titles == ["BatchBridge: a batch of 'default' has ended"], "not of what nobody was to be told of"
    assert "1 requests: 1 succeeded\npaid $0.0000" in inbox.posts[0]["message"]
    ask("d", "e", "f")
    assert len(inbox.posts) == 3
    ask()
    assert len(inbox.posts) == 3
    forget_sent(path, f"batch:default:{newest(path)}")
    ask()
    assert len(inbox.posts) == 4
    assert "prompt" not in str(inbox.posts)


def newest(path):
    sql = "SELECT key FROM store WHERE prefix = 'batch_bridge.default.closed' ORDER BY rowid DESC LIMIT 1"
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()[0]


def test_a_job_is_told_of_once_it_is_found_to_have_ended(inbox, server, tmp_path):
    provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="test"), model="gpt-4o-mini")
    jobs = Jobs(tmp_path / "jobs.db", provider, poll_interval=0.05, notify=inbox.url)
    handle = jobs.submit([[{"role": "user", "content": "the prompt"}]])
    assert jobs.join(handle, timeout=20).ended
    list(jobs.results(handle))
    assert inbox.titles == [f"BatchBridge: {handle} has ended"]
    assert "1 requests: 1 succeeded\npaid $0.0000" in inbox.posts[0]["message"]


def test_a_missing_extra_a_wrong_url_and_no_url_are_told_at_once(monkeypatch):
    def runner(notify):
        return Runner(one_node(node), Desk().bridge(), notify=notify)

    with pytest.raises(ValueError, match=r"cannot send to URL 2 of 2") as error:
        runner(["json://localhost", "nothing://s3cret"])
    assert "s3cret" not in str(error.value)
    for wrong in (5, [], [5]):
        with pytest.raises(TypeError, match=r"Runner\(notify=…\)"):
            runner(wrong)
    assert "s3cret" not in repr(runner("json://localhost/s3cret")._opened._notifiers)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MissingPackageError, match=r"langgraph-batch-bridge\[notify\]"):
        runner("json://localhost")


def test_a_configuration_file_names_the_variable_that_holds_the_url(inbox, tmp_path, monkeypatch):
    file = tmp_path / "bridges.toml"
    file.write_text('[bridges.b]\nnotify_env = "WHERE_TO"\n[bridges.b.provider]\nname = "openai"\n')
    with pytest.raises(ConfigError, match="WHERE_TO, which is not set"):
        load_bridges(file)
    monkeypatch.setenv("WHERE_TO", f"{inbox.url} ntfy://s3cret")
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    assert repr(load_bridges(file)["b"].notifier) == "Notifier(2 URLs)"
    monkeypatch.setenv("WHERE_TO", "nothing://s3cret")
    with pytest.raises(ConfigError, match="URL 1 of 1") as error:
        load_bridges(file)
    assert "s3cret" not in str(error.value)
