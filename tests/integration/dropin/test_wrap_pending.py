"""Come back tomorrow: what is not there yet is queued for good and raises, and the next run has it, paid once."""

import asyncio
import copy
import os
import pickle
import threading
import time

import pytest
import warm
from helpers import within
from openai import AsyncOpenAI

from batch_bridge import Batcher, Bridge, FlushPolicy, RequestExpired, RequestFailed, ResultPending, wrap_openai
from batch_bridge.batcher._inside import Inside
from batch_bridge.errors import JSONError, ProviderUnavailable
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

QUICK = {"flush": FlushPolicy(max_idle=0.05), "poll_interval": 0.1, "on_pending": "raise"}


class Overnight:
    """A batch API that answers when it is morning, and counts what it is asked."""

    def __init__(self):
        self.batches = []
        self.morning = False
        self.up = True

    def submit(self, items):
        self.batches.append(items)
        return len(self.batches) - 1

    def poll(self, handle):
        if not self.morning:
            return None
        return [ValueError("no") if item == "bad" else f"<{item}>" for item in self.batches[handle]]

    def open(self, path, **options):
        never = {} if "flush" in options else {"max_batch_age": None}
        options = {**never, "poll_interval": 0.05, **options}
        return Batcher(submit_func=self.submit, poll_func=self.poll, path=path, on_pending="raise", **options)

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


@pytest.fixture
def api():
    return Overnight()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pending.db"


def ask(batcher, *items):
    """Ask for one item after the other, as a loop does."""
    results = []
    for item in items:
        try:
            results.append(batcher.submit(item))
        except (ResultPending, RequestFailed) as error:
            results.append(error)
    return results


def statuses(results):
    return [result.status if isinstance(result, ResultPending) else result for result in results]


def test_a_loop_queues_everything_and_closing_sends_it_in_one_batch(api, path):
    with api.open(path) as batcher:
        for item in "abc":
            with pytest.raises(ResultPending) as raised:
                batcher.submit(item)
            assert (raised.value.status, len(raised.value.request_id)) == ("queued", 32)
        assert api.batches == []
    assert api.batches == [["a", "b", "c"]]


def test_what_is_pending_may_end_the_block_and_is_sent_all_the_same(api, path):
    with pytest.raises(ResultPending), api.open(path) as batcher:
        batcher.submit("a")
    assert api.batches == [["a"]]


def test_a_provider_that_is_down_does_not_keep_the_program_from_ending(api, path, caplog):

    def submit(items, key):
        if not api.up:
            raise ProviderUnavailable("down")
        return api.submit(items)

    def open_batcher(inside):
        bridge = Bridge(submit=submit, poll=api.poll, find=lambda key: None, name="default", poll_interval=1)
        return Batcher(bridge, path=path, on_pending="raise", _inside=inside)

    api.up = False
    batcher = open_batcher(Inside(patience=0.2))
    with pytest.raises(ResultPending):
        batcher.submit("a")
    batcher.close()
    assert "not every request could be sent" in caplog.text
    api.up = True
    open_batcher(Inside()).close()
    assert api.batches == [["a"]]


def test_the_next_run_has_what_is_ready_and_queues_what_is_new(api, path):
    with api.open(path) as batcher:
        assert statuses(ask(batcher, "a", "b")) == ["queued", "queued"]
    with api.open(path) as batcher:
        assert statuses(ask(batcher, "a", "b")) == ["in_flight", "in_flight"]
    api.morning = True
    with api.open(path) as batcher:
        assert statuses(ask(batcher, "c", "b", "a")) == ["queued", "<b>", "<a>"]
    for _ in range(2):  # and again: answers are kept for good
        with api.open(path) as batcher:
            assert ask(batcher, "a", "b", "c") == ["<a>", "<b>", "<c>"]
    assert api.sizes == [2, 1]


async def test_asking_again_and_again_asks_for_one_request(api, path):
    async with api.open(path, flush=FlushPolicy(max_age=None, max_idle=0)) as batcher:
        for _ in range(5):
            with pytest.raises(ResultPending):
                await batcher.asubmit("a")
        api.morning = True
        for _ in range(500):
            try:
                assert await batcher.asubmit("a") == "<a>"
                break
            except ResultPending:
                await asyncio.sleep(0.01)
        assert await batcher.asubmit("a") == "<a>"  # and after that too: it is the same call
    assert api.sizes == [1]


async def test_rounds_of_some_that_are_answered_and_some_that_are_pending_pay_for_each_once(api, path):
    async with api.open(path, flush=FlushPolicy(max_age=None, max_idle=0)) as batcher:
        await until_sent(batcher, api, "a")
        api.morning = True
        await answered(batcher, "a")
        api.morning = False
        for _ in range(5):
            first, second = await batcher.amap(["a", "b"], return_exceptions=True)
            assert first == "<a>"
            assert isinstance(second, ResultPending)
    assert sorted(api.batches) == [["a"], ["b"]]


async def test_equal_items_that_are_asked_side_by_side_are_several(api, path):
    async with api.open(path) as batcher:
        assert statuses(await batcher.amap(["a", "a"], return_exceptions=True)) == ["queued"] * 2
        asked = [batcher.asubmit("a"), batcher.asubmit("a")]
        assert {*statuses(await asyncio.gather(*asked, return_exceptions=True))} <= {"queued", "in_flight"}
    assert api.sizes == [2]


async def until_sent(batcher, api, item):
    while not api.batches:
        with pytest.raises(ResultPending):
            await batcher.asubmit(item)
        await asyncio.sleep(0)


async def answered(batcher, item):
    async with asyncio.timeout(60):
        while True:
            try:
                return await batcher.asubmit(item)
            except ResultPending:
                await asyncio.sleep(0.01)


def test_an_item_that_cannot_be_sent_leaves_its_neighbours_their_names(api, path):
    with api.open(path) as batcher:
        with pytest.raises(JSONError):
            batcher.map(["a", object()])
        ask(batcher, "a")
    with api.open(path) as batcher:
        assert statuses(ask(batcher, "a")) == ["in_flight"]
    assert api.sizes == [1]


def test_what_a_waiting_process_has_answered_is_not_sent_again(api, path):
    with api.open(path) as batcher:
        ask(batcher, "a")
        batcher.close(wait=False)  # as if it had been killed
    api.morning = True
    with Batcher(submit_func=api.submit, poll_func=api.poll, path=path, poll_interval=0.05) as batcher:
        assert batcher.map(["a"]) == ["<a>"]
    api.open(path).close()
    assert api.sizes == [1]


def test_a_flush_function_sees_what_is_queued_by_whomever(api, path):
    seen = []

    def should_flush(items, last_flushed):
        seen.append(list(items))
        return len(items) >= 3

    with api.open(path) as batcher:
        ask(batcher, "a")
        batcher.close(wait=False)  # as if it had been killed
    with api.open(path, should_flush_func=should_flush) as batcher:
        assert statuses(ask(batcher, "b", "c")) == ["queued"] * 2
        assert statuses(ask(batcher, "d"))[0] in ("queued", "in_flight")
    assert ["a", "b", "c"] in seen
    assert api.batches[0][:3] == ["a", "b", "c"]


async def test_a_network_that_hangs_holds_up_nobody_who_does_not_wait(path, caplog):
    hangs, lets_go = threading.Event(), threading.Event()

    async def submit(items):
        hangs.set()
        await asyncio.to_thread(lets_go.wait)
        return items

    options = {"path": path, "on_pending": "raise", "max_batch_size": 1, "_inside": Inside(patience=0.2, leave=0.0)}
    batcher = Batcher(submit_func=submit, poll_func=lambda items: items, **options)
    assert statuses([await within(pending(batcher, "a"))]) == ["queued"]
    await within(asyncio.to_thread(hangs.wait))
    assert statuses([await within(pending(batcher, "b")), await within(pending(batcher, "a"))]) == ["queued"] * 2
    await within(batcher.aclose())
    assert "a call to the provider is still under way" in caplog.text
    lets_go.set()
    await asyncio.to_thread(batcher._worker.thread.work.join, 20)
    assert not batcher._worker.thread.work.is_alive()


async def pending(batcher, item):
    try:
        return await batcher.asubmit(item)
    except ResultPending as error:
        return error


def test_another_model_is_another_request(path):
    with BatchServer(latency=0) as server:

        def run(model):
            provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="k"), model=model)
            with Batcher(provider, path=path, on_pending="raise", poll_interval=0.1) as batcher:
                return batcher.submit([{"role": "user", "content": "hi"}])["model"]

        assert [until_ready(lambda model=model: run(model)) for model in ("m", "n", "m")] == ["m", "n", "m"]
        assert server.stats.paid == 2


def test_who_asks_again_after_a_failure_does_not_get_the_old_batch(path, caplog):
    with BatchServer(latency=0, line_failure=1.0, line_failure_status=500) as server:

        def run():
            provider = OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="k"), model="m")
            bridge = Bridge(provider, name="default", poll_interval=0.1, attempts=1)
            with Batcher(bridge, path=path, on_pending="raise") as batcher:
                return batcher.submit([{"role": "user", "content": "hi"}])["model"]

        with pytest.raises(RequestFailed):
            until_ready(run)
        server.configure(line_failure=0.0, next_drop_create_response=1)
        assert until_ready(run) == "m"
        assert "adopted batch" in caplog.text
        assert (server.stats.paid, server.stats.batches) == (1, 2)


FORK = """
import os, sys
from batch_bridge import Batcher
from batch_bridge.errors import BatcherClosedError

batcher = Batcher(submit_func=lambda items: items, poll_func=lambda items: items, path="forked.db", on_pending="raise")
child = os.fork()
if child == 0:
    try:
        batcher.submit("a")
    except BatcherClosedError as error:
        print(error, flush=True)
    batcher.end_soon()
    batcher.close()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
batcher.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_is_told_that_nobody_answers_there(tmp_path):
    done = warm.run(["-c", FORK], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "which was forked" in done.stdout
    assert done.stdout.endswith("\n7\n")


async def test_a_caller_that_is_cancelled_leaves_its_request_to_the_next(api, path):
    async with api.open(path) as batcher:
        asked = asyncio.ensure_future(batcher.asubmit("a"))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        with pytest.raises(ResultPending):
            await batcher.asubmit("a")
    assert api.sizes == [1]


def test_a_failure_that_will_not_pass_is_kept(api, path):
    api.morning = True
    with api.open(path) as batcher:
        ask(batcher, "good", "bad")
    for _ in range(2):
        with api.open(path) as batcher:
            good, bad = ask(batcher, "good", "bad")
            assert good == "<good>"
            assert isinstance(bad, RequestFailed)
    assert api.sizes == [2]


def test_what_could_not_be_sent_is_sent_by_the_next_process_though_nobody_asks_again(api, path):
    with api.open(path) as batcher:
        ask(batcher, "a")
        batcher.close(wait=False)  # as if it had been killed
    assert api.batches == []
    api.open(path).close()
    assert api.batches == [["a"]]
    api.morning = True
    with api.open(path) as batcher:
        assert ask(batcher, "a") == ["<a>"]


def test_an_expired_request_is_told_once_and_then_asked_again(path):
    with BatchServer(latency=0, expiry=1, expiry_share=0) as server:
        options = {"base_url": server.base_url, "api_key": "k"}

        def run():
            async def main():
                async with wrap_openai(AsyncOpenAI(**options), path=path, **QUICK) as client:
                    return await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}])

            return asyncio.run(main())

        with pytest.raises(ResultPending):
            run()
        with pytest.raises(RequestExpired):
            until_ready(run)
        server.configure(expiry=0)
        with pytest.raises(ResultPending):
            run()
        assert until_ready(run).choices
        assert (server.stats.paid, server.stats.paid_twice) == (1, 0)


def until_ready(run):
    for _ in range(100):
        try:
            return run()
        except ResultPending:
            time.sleep(0.02)  # another process's clock: the server's
    raise AssertionError("it never was ready")


def test_it_needs_a_file():
    with pytest.raises(ValueError, match=r"on_pending=\"raise\"\) needs a file"):
        Batcher(submit_func=lambda _: 1, poll_func=lambda _: None, on_pending="raise")
    with pytest.raises(ValueError, match="on_pending='later'"):
        Batcher(submit_func=lambda _: 1, poll_func=lambda _: None, on_pending="later")


def test_the_exception_survives_pickle_and_copy():
    pending = ResultPending("not yet", request_id="r", status="queued")
    for again in (pickle.loads(pickle.dumps(pending)), copy.copy(pending)):
        assert (str(again), again.request_id, again.status) == ("not yet", "r", "queued")


SCRIPT = """
import asyncio, os, signal, sys
from openai import AsyncOpenAI
from batch_bridge import FlushPolicy, ResultPending, wrap_openai

client = wrap_openai(AsyncOpenAI(), path="pending.db", on_pending="raise", poll_interval=0.1,
                     flush=FlushPolicy(max_idle=60))

async def ask(number):
    answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"q{number}"}])
    return answer.choices[0].message.content

async def main():
    asked = [ask(number) for number in range(int(sys.argv[1]))]
    results = await asyncio.gather(*asked, return_exceptions=True)
    pending = [each for each in results if isinstance(each, ResultPending)]
    assert all(isinstance(each, str | ResultPending) for each in results), results
    print(len(results) - len(pending), len(pending), flush=True)

asyncio.run(main())
if sys.argv[2:] == ["kill"]:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def script(server, cwd, *arguments):
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "test"}
    done = warm.run(["-c", SCRIPT, *map(str, arguments)], cwd=cwd, env=environment)
    assert done.returncode == (-9 if "kill" in arguments else 0), done.stderr
    assert "Traceback" not in done.stderr
    return [int(number) for number in done.stdout.split()]


def test_a_script_that_ends_sends_what_it_has_queued(tmp_path):
    with BatchServer(latency=0) as server:
        assert script(server, tmp_path, 30) == [0, 30]
        assert (server.stats.batches, server.stats.requests) == (1, 30)
        assert any(script(server, tmp_path, 30) == [30, 0] for _ in range(10))
        assert script(server, tmp_path, 31) == [30, 1]
        assert (server.stats.batches, server.stats.requests, server.stats.paid_twice) == (2, 31, 0)


def test_a_script_that_is_killed_before_it_sends_loses_nothing_and_pays_once(tmp_path):
    with BatchServer(latency=0) as server:
        assert script(server, tmp_path, 30, "kill") == [0, 30]
        assert server.stats.batches == 0
        assert script(server, tmp_path, 20) == [0, 20]  # the ten that are not asked for again are sent too
        assert (server.stats.batches, server.stats.requests) == (1, 30)
        assert any(script(server, tmp_path, 30) == [30, 0] for _ in range(10))
        assert (server.stats.paid, server.stats.paid_twice) == (30, 0)


async def test_gather_through_a_wrapped_client(path):
    with BatchServer(latency=0) as server:

        async def run():
            async with wrap_openai(AsyncOpenAI(base_url=server.base_url, api_key="k"), path=path, **QUICK) as client:
                asked = [client.responses.create(model="m", input=f"q{number}") for number in range(5)]
                return await within(asyncio.gather(*asked, return_exceptions=True))

        assert statuses(await run()) == ["queued"] * 5
        results = await run()
        for _ in range(100):
            if not any(isinstance(each, ResultPending) for each in results):
                break
            results = await run()
        assert len({each.output_text for each in results}) == 5
        assert (server.stats.batches, server.stats.paid_twice) == (1, 0)
