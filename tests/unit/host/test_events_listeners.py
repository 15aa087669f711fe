"""Callbacks: in order, or in threads; what they raise harms nothing."""

import asyncio
import logging
import threading

import pytest

from batch_bridge._host.callbacks import Callbacks, Listeners, listen
from batch_bridge.events import Progress, Queued

EVENT = Queued(bridge="b", requests=("1",))


def progress(done=0):
    return Progress(done, 3, 0, 0, 0)


def listeners(look=progress, **callbacks):
    return Listeners(Callbacks(**callbacks), look)


async def test_nobody_is_nobody():
    assert listen(Callbacks(), progress) is None
    assert listen(Callbacks(on_item=print), progress) is not None


async def test_everything_is_told_in_order_sync_or_async():
    told = []

    async def on_item(what, result):
        await asyncio.sleep(0)
        told.append((what, result))

    listening = listeners(on_event=told.append, on_item=on_item, on_complete=told.append)
    listening.tell(EVENT)
    listening.item(0, "a")
    listening.item(1, "b")
    listening.complete()
    assert told == []  # not in the middle of what the host does
    await listening.close()
    assert told == [EVENT, (0, "a"), (1, "b"), progress()]


async def test_several_changes_are_one_progress_and_the_newest_is_told():
    told, done = [], 0
    listening = listeners(lambda: progress(done), on_progress=told.append)
    for done in range(1, 6):  # noqa: B007  # read by `look`
        listening.changed()
    await listening.close()
    assert told == [progress(5)]
    done = 6
    listening.changed()
    await listening.close()
    assert told == [progress(5), progress(6)]


@pytest.mark.parametrize("workers", [0, 2])
async def test_an_error_is_logged_once_and_the_others_are_called(workers, caplog):
    told = []

    def on_event(event):
        raise ValueError("of the user")

    listening = listeners(on_event=on_event, on_complete=told.append, workers=workers)
    for _ in range(5):
        listening.tell(EVENT)
    listening.complete()
    await listening.close()
    assert told == [progress()]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "on_event failed" in errors[0].message
    assert "in on_event" in caplog.text, "the traceback"
    assert "ValueError: of the user" not in caplog.text, "it may quote an answer"


async def test_threads_run_side_by_side_and_leave_the_loop_alone():
    barrier = threading.Barrier(3, timeout=60)
    threads = set()

    def on_item(what, result):
        barrier.wait()
        threads.add(threading.get_ident())

    listening = listeners(on_item=on_item, workers=3)
    for index in range(3):
        listening.item(index, None)
    await listening.close()
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_async_callbacks_run_in_threads_too():
    told = []

    async def on_progress(seen):
        await asyncio.sleep(0)
        told.append((seen, threading.get_ident()))

    listening = listeners(on_progress=on_progress, workers=1)
    listening.changed()
    await listening.close()
    assert [seen for seen, _ in told] == [progress()]
    assert told[0][1] != threading.get_ident()


async def test_a_callback_that_does_not_return_is_left_behind(caplog):
    listening = Listeners(Callbacks(on_event=lambda _: asyncio.Event().wait()), progress, patience=0.01)
    listening.tell(EVENT)
    listening.tell(EVENT)
    await listening.close()
    assert "has not returned" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on_event": 3}, r"Runner\(on_event=3\) is not callable"),
        ({"workers": -1}, r"callback_workers=-1"),
        ({"workers": True}, r"callback_workers=True"),
    ],
)
def test_what_cannot_be_called_is_refused(options, words):
    with pytest.raises(TypeError, match=words):
        Callbacks(**options).check("Runner")
