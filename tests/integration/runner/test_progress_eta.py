"""When a run will be done, told while it goes on: in `Progress.eta`, and in the bar."""

import asyncio
import io

from helpers import Desk, one_node
from rich.console import Console

from batch_bridge import Batcher, Runner, wait
from batch_bridge._status.text import eta_short
from batch_bridge.events import Eta, Span
from batch_bridge.runner._display import progress as _progress


async def twice(state):
    one = await wait(state["x"])
    return {"out": [one, await wait(f"{one}?")]}


async def test_a_runner_tells_when_it_will_be_done_from_the_batches_before(tmp_path):
    told = []
    async with Runner(one_node(twice), Desk().bridge(), path=tmp_path / "run.db", on_progress=told.append) as runner:
        await runner.abatch([{"x": "a"}], run_id="first")
    assert told[0].eta is None, "no history yet is an answer"
    told.clear()
    desk = Desk().hold()
    async with Runner(one_node(twice), desk.bridge(), path=tmp_path / "run.db", on_progress=told.append) as runner:
        running = asyncio.create_task(runner.abatch([{"x": "b"}], run_id="second"))
        async with asyncio.timeout(60):
            while not (told and told[-1].in_flight and told[-1].eta):
                await asyncio.sleep(0.01)
        eta = told[-1].eta
        assert eta.batches == 2
        desk.let_go()
        await running


async def test_a_batcher_tells_it_too(tmp_path):
    told, desk = [], Desk()
    async with Batcher(
        submit_func=desk.submit, poll_func=desk.poll, poll_interval=0.02, path=tmp_path / "b.db"
    ) as batcher:
        await batcher.amap(["a"])
    desk = Desk().hold()
    async with Batcher(
        submit_func=desk.submit,
        poll_func=desk.poll,
        poll_interval=0.02,
        path=tmp_path / "b.db",
        on_progress=told.append,
    ) as batcher:
        asking = asyncio.create_task(batcher.amap(["b"]))
        async with asyncio.timeout(60):
            while not (told and told[-1].eta and told[-1].eta.wave):
                await asyncio.sleep(0.01)
        assert told[-1].eta.waves_left == 0
        desk.let_go()
        await asking


async def test_the_bar_shows_it(monkeypatch, tmp_path):
    out = io.StringIO()
    monkeypatch.setattr(_progress, "Console", lambda **_: Console(file=out, force_terminal=True, width=250))
    path = tmp_path / "run.db"
    async with Runner(one_node(twice), Desk().bridge(), path=path) as runner:
        await runner.abatch([{"x": "a"}], run_id="first")
    desk = Desk().hold()
    async with Runner(one_node(twice), desk.bridge(), path=path, progress=True) as runner:
        running = asyncio.create_task(runner.abatch([{"x": "b"}], run_id="second"))
        async with asyncio.timeout(60):
            while "wave done in ~" not in out.getvalue():
                await asyncio.sleep(0.01)
        desk.let_go()
        assert len(await running) == 1


def test_the_words_of_the_bar():
    wave, run = Span(160.0, 400.0), Span(3700.0, 7300.0)
    assert eta_short(None, 100.0) == ""
    assert eta_short(Eta(wave, None, None, 3), 100.0) == "wave done in ~1m (90% 5m)"
    assert eta_short(Eta(wave, run, 1, 3), 100.0) == "done in ~1h (90% 2h)"
