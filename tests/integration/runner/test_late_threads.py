"""What is queued when a program ends is sent, also by a Python that starts no threads by then, as 3.12.0 and 3.12.1 do.

The programs make every Python behave so.
"""

import os

import pytest
import warm

from batch_bridge.testing import BatchServer

PROGRAM = """
import threading
from openai import AsyncOpenAI
from batch_bridge import Batcher, FlushPolicy, ResultPending
from batch_bridge._host.loop_thread import LoopThread
from batch_bridge.batcher._inside import Inside
from batch_bridge.providers.openai import OpenAIBatch

place = LoopThread("batcher", beforehand={beforehand})
batcher = Batcher(OpenAIBatch(AsyncOpenAI(), model="m"), path="queued.db", on_pending="raise", poll_interval=0.05,
                  max_batch_age=None, _inside=Inside(place=place))
for item in {items}:
    try:
        batcher.submit([{{"role": "user", "content": item}}])
    except ResultPending as error:
        print(error.status)

def refuse(*_, **__):
    raise RuntimeError("can't create new thread at interpreter shutdown")

def end():
    threading._start_new_thread = threading._start_joinable_thread = refuse

threading._register_atexit(end)
"""


@pytest.fixture
def server():
    with BatchServer(latency=0) as server:
        yield server


@pytest.fixture
def run(server, tmp_path):
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "test"}

    def run(items, *, beforehand):
        program = PROGRAM.format(items=items, beforehand=beforehand)
        done = warm.run(["-c", program], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_what_is_queued_is_sent_by_threads_that_run_already(run, server):
    done = run(["a", "b"], beforehand=True)
    assert done.stderr == ""
    assert done.stdout == "queued\nqueued\n"
    assert (server.stats.batches, server.stats.requests) == (1, 2)
