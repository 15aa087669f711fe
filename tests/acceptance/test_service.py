"""A Runner in a web service: real HTTP to a real process, ended by SIGTERM in the middle and started again."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx
import pytest
import sampling
from plain_http import PlainClient

from batch_bridge.testing import BatchServer

pytest.importorskip("fastapi")
EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 240.0
OPTIONS = ("--no-access-log", "--timeout-graceful-shutdown", "1")


class Service:
    """`uvicorn service:app` in a process of its own."""

    def __init__(self, directory: Path, server: BatchServer, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._environment = {
            **os.environ,
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "test",
            "RUN_DB": str(directory / "service.db"),
            "POLL_INTERVAL": "0.2",
            **environment,
        }

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "service:app", "--port", str(self.port), *OPTIONS],
                cwd=EXAMPLES,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        by = time.monotonic() + PATIENCE
        while time.monotonic() < by:
            assert self.process.poll() is None, (self._directory / "log").read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/docs", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the service does not answer")

    def stop(self) -> None:
        """SIGTERM, as an orchestrator does it."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) in (0, -signal.SIGTERM)

    def memory(self) -> float:
        """Megabytes that its process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def post(client: httpx.AsyncClient, name: str) -> int:
    """Post, and again if the connection was closed meanwhile: the same again is the same thread."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            return (await client.post(f"/summaries/{name}", json={"text": f"text {name}"})).status_code


async def answer(client: httpx.AsyncClient, name: str) -> str:
    """Ask until it is there."""
    async with asyncio.timeout(PATIENCE):
        while (reply := await client.get(f"/summaries/{name}", params={"wait": 20})).status_code == 202:
            pass
    assert reply.status_code == 200, reply.text
    return reply.json()["summary"]


def talk(service: Service) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    return httpx.AsyncClient(base_url=service.url, timeout=PATIENCE, limits=limits)


async def test_requests_survive_sigterm_and_a_client_that_left_comes_back(tmp_path):
    names = [f"n{i}" for i in range(30)]
    with BatchServer(latency=1.0) as server, Service(tmp_path, server, MAX_IDLE="0.3") as service:
        async with talk(service) as client:
            assert set(await asyncio.gather(*(post(client, each) for each in names))) == {202}
            assert (await client.post("/summaries/n0", json={"text": "another"})).status_code == 409
            assert (await client.get("/summaries/nobody")).status_code == 404
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/summaries/n1", params={"wait": 60}, timeout=0.05)
            assert await post(client, "n1") == 202  # the same again is the same thread
        service.stop()
        assert "never retrieved" not in service.log
        service.start()
        async with talk(service) as client:
            assert await post(client, "late") == 202
            summaries = await asyncio.gather(*(answer(client, each) for each in [*names, "late"]))
            assert all("text" in each for each in summaries)
            assert await answer(client, "n1") == summaries[1]
        assert (server.stats.paid, server.stats.paid_twice) == (31, 0)
        assert server.stats.batches <= 3
        service.stop()


async def test_two_hundred_requests_a_second_with_sigterm_in_the_middle(tmp_path):
    """With `--all` for 30 seconds: then what is held would show. Each second has a batch of its own, and no more."""
    seconds, rate = 30 if sampling.is_whole else 1, 200
    names = [f"n{i}" for i in range(seconds * rate)]
    memory: list[float] = []
    late, lives, is_ending = 0.0, 1, False
    with BatchServer(latency=0.5) as server, Service(tmp_path, server, MAX_IDLE="1", MAX_AGE="1") as service:

        async def one(client: PlainClient, name: str, at: float) -> str:
            """Post at its time, and ask until the answer is there; again, if the service has ended meanwhile."""
            nonlocal late
            loop = asyncio.get_running_loop()
            await asyncio.sleep(at - loop.time())
            method, path, body = "POST", f"/summaries/{name}", {"text": f"text {name}"}
            while True:
                life, status, told = lives, 500, b""
                with contextlib.suppress(OSError, EOFError):
                    status, told = await client.ask(method, path, body)
                if status == 500:  # uvicorn's, of a request that its end has cut off
                    assert is_ending or life < lives or not told, told
                    await asyncio.sleep(0.05)
                elif status == 200:
                    return str(json.loads(told)["summary"])
                else:
                    assert status == 202, told
                    if method == "POST":
                        late = max(late, loop.time() - at)
                        method, path, body = "GET", f"{path}?wait=20", None

        async def load(part: list[str]) -> list[asyncio.Task[str]]:
            loop = asyncio.get_running_loop()
            began = loop.time()
            asked = [loop.create_task(one(client, name, began + i / rate)) for i, name in enumerate(part)]
            for _ in range(max(len(part) // rate, 1)):
                await asyncio.sleep(1)
                memory.append(service.memory())
            return asked

        half = len(names) // 2
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE), PlainClient(service.port) as client:
            asked = await load(names[:half])
            is_ending = True
            await asyncio.to_thread(service.stop)
            stopped = time.monotonic() - began
            await asyncio.to_thread(service.start)
            is_ending, lives = False, lives + 1  # what was asked until now may have come to the one that has ended
            asked += await load(names[half:])
            summaries = await asyncio.gather(*asked)
        whole = time.monotonic() - began
        memory.append(service.memory())
        print(
            f"{len(names)} in {whole:.0f} s (stopped at {stopped:.0f}), {server.stats.batches} batches, "
            f"accepted after {late:.2f} s at most, MB {[round(each) for each in memory]}"
        )
        assert all(name in told for name, told in zip(names, summaries, strict=True))
        assert (server.stats.paid, server.stats.paid_twice) == (len(names), 0)
        assert server.stats.batches <= whole + 1
        held = len(memory) // 2  # of the second process alone, which has begun with what the first one left
        assert memory[-1] < memory[held + 2 if sampling.is_whole else -1] + 20


async def test_requests_that_disconnect_leave_their_thread_running_and_can_be_joined(tmp_path):
    names = [f"n{i}" for i in range(20)]
    with BatchServer(latency=0, stuck=True) as server, Service(tmp_path, server, MAX_IDLE="0.1") as service:
        async with talk(service) as client:
            assert set(await asyncio.gather(*(post(client, each) for each in names))) == {202}
            left = [
                asyncio.create_task(client.get(f"/summaries/{each}", params={"wait": 60}, timeout=0.3))
                for each in names
            ]
            gone = await asyncio.gather(*left, return_exceptions=True)
            assert {type(each) for each in gone} == {httpx.ReadTimeout}
            joining = [asyncio.create_task(answer(client, each)) for each in names for _ in range(2)]
            server.configure(stuck=False)
            summaries = await asyncio.gather(*joining)
        assert summaries[::2] == summaries[1::2]
        assert len(set(summaries[::2])) == len(names)
        assert (server.stats.paid, server.stats.paid_twice) == (20, 0)
        assert "Traceback" not in service.log
