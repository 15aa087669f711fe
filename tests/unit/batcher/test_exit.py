"""What is told when a program ends and not everything could be sent."""

import threading

import pytest

from batch_bridge._host import late_threads as _threads
from batch_bridge.batcher import _atexit as _exit


class Closable:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def close(self, *, wait: bool) -> None:
        raise self.error


@pytest.fixture(autouse=True)
def _nothing_else_is_open(monkeypatch):
    monkeypatch.setattr(_exit, "_open", [])
    monkeypatch.setattr(_exit, "_watched", set())
    monkeypatch.setattr(_exit, "_register", lambda: None)


def test_a_python_that_starts_no_threads_is_named_and_what_to_do(caplog):
    refused = RuntimeError("can't create new thread at interpreter shutdown")
    for _ in range(2):
        _exit.close_at_exit(Closable(refused))
    _exit._close_all()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "sent by the next run" in record.getMessage()
    assert record.exc_info is None


def test_another_error_is_told_with_its_traceback(caplog):
    _exit.close_at_exit(Closable(RuntimeError("a bug")))
    _exit._close_all()
    (record,) = caplog.records
    assert record.exc_info is not None


def test_a_loop_whose_threads_run_already_starts_none(monkeypatch):
    came = []

    async def main():
        def refuse(*_, **__):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        for name in ("_start_new_thread", "_start_joinable_thread"):
            monkeypatch.setattr(threading, name, refuse, raising=False)
        came.extend(await _threads.asyncio.gather(*(_threads.asyncio.to_thread(abs, -n) for n in range(50))))

    _threads.run(main(), beforehand=True)
    monkeypatch.undo()
    assert came == list(range(50))
