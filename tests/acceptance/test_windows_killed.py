"""Agents in a window whose process is killed in each wave: none is lost, and no response is paid twice."""

import json
import random
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import sampling
import warm

from batch_bridge.testing import BatchServer

JOB = Path(__file__).parent / "windows_job.py"
STEPS = 3
SIDE_BY_SIDE = 4
"""Create calls that are under way at a time, at most."""
PATIENCE = 240
TWO_HOURS = 7_200


def until(holds, process=None):
    """Wait until something holds, while a process runs."""
    latest = time.monotonic() + PATIENCE
    while not holds():
        assert process is None or process.poll() is None, "it has ended"
        assert time.monotonic() < latest
        time.sleep(0.02)


def kill(process):
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_agents_that_are_killed_while_they_wait_cost_one_response_a_step(tmp_path):
    """The clock of the API stands still while a wave is created, and two hours pass when there is no process."""
    agents, submitted, folder = sampling.many(200, 24), tmp_path / "submitted", tmp_path / "server"
    with BatchServer(state_dir=folder, response_seconds=TWO_HOURS, clock_speed=0) as server:
        command = [JOB, server.base_url, tmp_path / "run.db", str(agents), submitted]
        submitted.touch()

        def are_written(count):
            return len(set(submitted.read_text().splitlines())) == count

        for wave in range(1, STEPS + 1):
            process = warm.start(command)
            until(lambda wave=wave: are_written(wave * agents), process)
            assert server.stats.responses == wave * agents
            assert server.stats.responses_by_status == {"live": agents} | (
                {"completed": (wave - 1) * agents} if wave > 1 else {}
            )
            kill(process)
            server.configure(clock_speed=TWO_HOURS * 100)
            until(lambda: not server.stats.responses_by_status.get("live"))
            server.configure(clock_speed=0)
        ended = warm.run(command, timeout=PATIENCE)
        assert json.loads(ended.stdout) == ["done"] * agents, ended.stderr
        stats = server.stats
        assert (stats.responses, stats.paid, stats.paid_twice) == (STEPS * agents, STEPS * agents, 0)
    assert threads_of(folder, are_paid_once=True) == [STEPS] * agents


def threads_of(folder, *, are_paid_once):
    """Return how many responses each continuation id has; each is one agent's, and each agent has one."""
    with sqlite3.connect(folder / "server.db") as db:
        rows = db.execute("SELECT stored, status, identity, body FROM responses").fetchall()
    assert {(stored, status) for stored, status, _, _ in rows} == {(1, "completed")}
    if are_paid_once:
        assert len({identity for _, _, identity, _ in rows}) == len(rows), "no two responses were asked the same"
    bodies = [json.loads(body) for *_, body in rows]
    assert {body["background_options"]["completion_window"] for body in bodies} == {"2h"}
    pairs = Counter(
        (body["background_options"]["continuation_id"], body["input"].partition(" step")[0]) for body in bodies
    )
    assert len({name for name, _ in pairs}) == len({agent for _, agent in pairs}) == len(pairs)
    return list(pairs.values())


def test_agents_that_are_killed_while_they_ask_are_asked_again_only_where_it_is_in_doubt(tmp_path):
    chance, agents = random.Random(5), sampling.many(200, 20)
    log, submitted, folder = tmp_path / "log", tmp_path / "submitted", tmp_path / "server"
    with (
        BatchServer(state_dir=folder, response_seconds=30, clock_speed=60) as server,
        log.open("w") as stderr,
    ):
        command = [JOB, server.base_url, tmp_path / "run.db", str(agents), submitted]
        for wave in range(STEPS):
            process = warm.start(command, stderr=stderr)
            wanted = agents * wave + chance.randint(agents // 5, agents * 4 // 5)
            until(lambda wanted=wanted: server.stats.responses >= wanted, process)
            kill(process)
        while (ended := json.loads((told := warm.run(command)).stdout)) != ["done"] * agents:
            assert set(ended) == {"done", "submission_unknown"}  # what was being created when the process died
            log.write_text(log.read_text() + told.stderr)
        until(lambda: not server.stats.responses_by_status.get("live"))
        stats = server.stats
    unknown = (log.read_text() + told.stderr).count("failed (submission_unknown)")
    assert stats.paid_twice == 0
    assert STEPS * agents <= stats.responses <= STEPS * agents + unknown  # asked again by the next run, as any failure
    assert unknown <= STEPS * SIDE_BY_SIDE
    assert sum(threads_of(folder, are_paid_once=False)) == stats.responses
