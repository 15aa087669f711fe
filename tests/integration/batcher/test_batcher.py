"""The Batcher: from any thread and loop, by size, age, predicate and flush; durable; closed."""

import asyncio
import threading
from datetime import datetime, timedelta

import pytest

from batch_bridge import Batcher, RequestFailed
from batch_bridge.errors import BatcherClosedError, JSONError, RunFileError


class Echo:
    """A batch API that answers at once, or when it is told to."""

    def __init__(self, *, held: bool = False):
        self.batches: list[list] = []
        self.open = threading.Event()
        if not held:
            self.open.set()

    def submit(self, items):
        self.batches.append(items)
        return len(self.batches) - 1

    def poll(self, handle):
        if not self.open.is_set():
            return None
        return [ValueError(f"no {item}") if item == "bad" else f"<{item}>" for item in self.batches[handle]]

    def batcher(self, **options):
        options.setdefault("poll_interval", 0.05)
        return Batcher(submit_func=self.submit, poll_func=self.poll, **options)


def test_threads_share_a_batch_and_each_gets_its_own_answer():
    echo = Echo()
    with echo.batcher(max_batch_size=20) as batcher:
        answers = {}

        def ask(item):
            answers[item] = batcher.submit(item)

        threads = [threading.Thread(target=ask, args=(f"item {i}",)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {f"item {i}": f"<item {i}>" for i in range(20)}
    assert [len(batch) for batch in echo.batches] == [20]


async def test_coroutines_share_a_batch_in_order():
    echo = Echo()
    async with echo.batcher(max_batch_size=3) as batcher:
        assert await asyncio.gather(*map(batcher.asubmit, "abc")) == ["<a>", "<b>", "<c>"]
    assert echo.batches == [["a", "b", "c"]]


def test_one_batcher_serves_one_loop_after_another():
    echo = Echo()
    with echo.batcher() as batcher:
        assert asyncio.run(batcher.amap(["a"])) == ["<a>"]
        assert asyncio.run(batcher.amap(["b"])) == ["<b>"]


def test_map_sends_at_once_and_keeps_the_order():
    echo = Echo()
    with echo.batcher(max_batch_age=timedelta(days=1)) as batcher:
        assert batcher.map([]) == []
        assert batcher.map(["b", "a", "b"]) == ["<b>", "<a>", "<b>"]
    assert echo.batches == [["b", "a", "b"]]


def test_a_batch_is_never_larger_than_the_limit():
    echo = Echo()
    with echo.batcher(max_batch_size=4) as batcher:
        batcher.map(range(10))
    assert sorted(len(batch) for batch in echo.batches) == [2, 4, 4]


async def test_the_last_item_is_sent_when_it_is_old_enough_though_no_other_comes():
    echo = Echo()
    async with echo.batcher(max_batch_age=0.05) as batcher:
        assert await batcher.asubmit("alone") == "<alone>"


async def test_flush_sends_what_was_asked_before_it():
    echo = Echo()
    async with echo.batcher() as batcher:
        asked = asyncio.gather(batcher.asubmit("a"), batcher.asubmit("b"))
        await asyncio.sleep(0)
        batcher.flush()
        assert await asked == ["<a>", "<b>"]


async def test_the_predicate_sees_the_items_and_a_naive_local_time():
    echo = Echo()
    seen = []

    def should_flush(items, last_flushed):
        seen.append((list(items), last_flushed))
        return "go" in items

    async with echo.batcher(should_flush_func=should_flush) as batcher:
        assert await asyncio.gather(*map(batcher.asubmit, ["a", "b", "go"])) == ["<a>", "<b>", "<go>"]
    assert seen[-1][0] == ["a", "b", "go"]
    assert seen[-1][1].tzinfo is None
    assert abs(datetime.now() - seen[-1][1]) < timedelta(minutes=1)  # noqa: DTZ005


async def test_one_failed_item_harms_no_neighbour():
    echo = Echo()
    async with echo.batcher() as batcher:
        good, bad = await batcher.amap(["good", "bad"], return_exceptions=True)
        assert good == "<good>"
        assert isinstance(bad, RequestFailed)
        assert "no bad" in str(bad)
        with pytest.raises(RequestFailed, match="no bad"):
            await batcher.amap(["good", "bad"])


def test_an_item_json_cannot_carry_is_refused_where_it_is_asked():
    echo = Echo()
    with echo.batcher() as batcher, pytest.raises(JSONError) as raised:
        batcher.submit({"a": [1, {2, 3}]})
    assert raised.value.path == "['a'][1]"
    assert echo.batches == []


async def test_a_cancelled_caller_leaves_the_others_their_answers():
    echo = Echo(held=True)
    async with echo.batcher(max_batch_size=2) as batcher:
        cancelled, kept = asyncio.ensure_future(batcher.asubmit("a")), asyncio.ensure_future(batcher.asubmit("b"))
        await asyncio.sleep(0)
        cancelled.cancel()
        echo.open.set()
        assert await kept == "<b>"


def test_close_waits_for_answers_unless_told_otherwise():
    echo = Echo(held=True)
    batcher = echo.batcher()
    outcome = []

    def ask():
        try:
            outcome.append(batcher.submit("a"))
        except BatcherClosedError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not batcher._worker._backlog.waiters:
        pass
    batcher.close(wait=False)
    asking.join()
    assert isinstance(outcome[0], BatcherClosedError)
    with pytest.raises(BatcherClosedError):
        batcher.submit("b")
    batcher.close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_batch_size": 0}, ValueError),
        ({"max_batch_age": -1}, ValueError),
        ({"poll_interval": 0}, ValueError),
        ({"name": ""}, ValueError),
        ({"should_flush_func": 3}, TypeError),
    ],
)
def test_a_wrong_argument_is_a_clear_error(options, error):
    with pytest.raises(error):
        Echo().batcher(**options)


def test_one_function_is_not_enough():
    with pytest.raises(TypeError, match="poll_func"):
        Batcher(submit_func=Echo().submit)


def test_what_was_asked_before_a_sudden_end_is_answered_afterwards_and_paid_once(tmp_path):
    echo = Echo(held=True)
    path = tmp_path / "batcher.db"
    first = echo.batcher(path=path, max_batch_size=2)
    callers = [threading.Thread(target=_ignore_close, args=(first, item)) for item in ("a", "b")]
    for caller in callers:
        caller.start()
    while not echo.batches:
        pass
    first.close(wait=False)
    for caller in callers:
        caller.join()
    echo.open.set()
    with echo.batcher(path=path) as second:
        assert second.map(["b", "a"]) == ["<b>", "<a>"]
    assert len(echo.batches) == 1


def test_within_one_process_and_after_a_clean_close_an_equal_item_is_new(tmp_path):
    echo = Echo()
    for _ in range(2):
        with echo.batcher(path=tmp_path / "batcher.db") as batcher:
            assert batcher.map(["a", "a"]) == ["<a>", "<a>"]
            assert batcher.map(["a"]) == ["<a>"]
    assert [len(batch) for batch in echo.batches] == [2, 1, 2, 1]


def test_two_batchers_on_one_file_are_refused(tmp_path):
    echo = Echo()
    with echo.batcher(path=tmp_path / "batcher.db"), pytest.raises(RunFileError):
        echo.batcher(path=tmp_path / "batcher.db")


def _ignore_close(batcher, item):
    try:
        batcher.submit(item)
    except BatcherClosedError:
        pass
