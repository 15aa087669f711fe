"""Who watches a run does not harm it: ten at once, and some of them killed at any moment."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from helpers import Desk, one_node
from test_status import look, until

from batch_bridge import Runner, wait

WATCH = (
    "import sys, time\n"
    "from batch_bridge._status.read import read_status\n"
    "while True:\n"
    "    read_status(sys.argv[1])\n"
    "    print('.', flush=True)\n"
    "    time.sleep(0.02)\n"
)


async def node(state):
    return {"out": [await wait(state["x"])]}


async def test_ten_watchers_that_are_killed_while_they_read_harm_nothing_and_leave_nothing_behind():
    desk = Desk().hold()
    async with Runner(one_node(node), desk.bridge()) as runner:
        running = asyncio.create_task(runner.abatch([{"x": x} for x in range(50)], run_id="eval"))
        await until("run.db", lambda seen: seen["in_flight"] == 50)
        watchers = [
            subprocess.Popen([sys.executable, "-c", WATCH, "run.db"], stdout=subprocess.PIPE)  # noqa: ASYNC220
            for _ in range(10)
        ]
        try:
            for watcher in watchers:
                assert await asyncio.to_thread(watcher.stdout.readline) == b".\n"
            desk.let_go()  # the run writes while they read
            for watcher in watchers[:5]:
                watcher.send_signal(signal.SIGKILL)
            assert len(await asyncio.wait_for(running, 60)) == 50
        finally:
            for watcher in watchers:
                watcher.kill()
                watcher.wait()
                watcher.stdout.close()
    assert look(code=0)["threads"]["done"] == 50
    assert sorted(path.name for path in Path().iterdir()) == ["run.db", "run.db.lock"]
