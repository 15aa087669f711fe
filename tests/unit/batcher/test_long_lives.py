"""What a process that runs for long holds: bounded, whatever it has seen."""

import asyncio

import pytest

from batch_bridge import Batcher
from batch_bridge._host.callbacks import Callbacks, Listeners
from batch_bridge._node.platform import wakeup as _wakeup
from batch_bridge.batcher._inside import Inside
from batch_bridge.events import Progress, Queued


def test_a_batcher_in_memory_keeps_the_newest_batches_alone():
    inside = Inside(most_closed=5)
    with Batcher(submit_func=list, poll_func=list, max_batch_size=1, poll_interval=0.01, _inside=inside) as batcher:
        batcher.map(range(40))
    ledger = batcher._worker._engine_loop.engine._state.ledger
    assert sum(len(rows) for rows in ledger.table.store._namespaces.values()) == 2 * 5, (
        "a summary and an account of each"
    )
    assert not ledger._outcomes.held
    assert not ledger._requests.held


async def test_no_callback_queues_without_bound():
    go = asyncio.Event()

    async def slow(*_):
        await go.wait()

    listening = Listeners(
        Callbacks(on_event=slow, on_item=slow, on_complete=slow, on_progress=slow),
        lambda: Progress(0, None, 0, 0, 0),
        most=10,
    )
    for number in range(50):
        for tell in (
            lambda number=number: listening.tell(Queued(bridge="b", requests=(str(number),))),
            lambda number=number: listening.item(number, "an answer"),
            listening.complete,
        ):
            tell()
            assert len(listening._calls) <= 11  # and one that says how far it is
    for _ in range(50):
        listening.complete()
    assert len(listening._calls) <= 11
    go.set()
    await listening.close()


async def test_callbacks_that_are_too_slow_are_left_out_and_counted(caplog):
    told, go = [], asyncio.Event()

    async def on_event(event):
        await go.wait()
        told.append(event)

    listening = Listeners(Callbacks(on_event=on_event), lambda: Progress(0, None, 0, 0, 0), most=10)
    for number in range(50):
        listening.tell(Queued(bridge="b", requests=(str(number),)))
    assert len(listening._calls) == 10
    go.set()
    await listening.close()
    assert [event.requests for event in told][-1] == ("49",)
    assert "32 calls were dropped" in caplog.text


def test_the_wake_up_forgets_users_whose_window_has_passed(monkeypatch):
    monkeypatch.setattr(_wakeup, "_covered", {})
    for number in range(_wakeup._MOST_COVERED + 500):
        _wakeup._cover("bridge", f"user {number}", 0.0)
    assert len(_wakeup._covered) <= _wakeup._MOST_COVERED


@pytest.mark.parametrize("kinds", [(KeyError, ValueError)])
async def test_all_errors_of_a_wave_are_told(kinds):
    from fakes import FakeProvider, FakeStore

    from batch_bridge import Bridge
    from batch_bridge._ledger.ledger import Ledger

    state = Bridge(FakeProvider()).engine(Ledger(FakeStore(), "bridge"))._state

    async def fail(kind):
        raise kind("no")

    with pytest.raises(kinds[0]) as caught:
        await state.each(kinds, fail)
    assert "ValueError: no" in caught.value.__notes__[0]
