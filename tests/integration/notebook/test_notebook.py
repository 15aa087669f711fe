"""A notebook: the example under nbconvert, with what it shows; an interrupted cell; a Runner that a cell left open."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from batch_bridge import Runner
from batch_bridge._host.report import Report
from batch_bridge.errors import RunFileError
from batch_bridge.events import BatchProgress, Progress

EXAMPLE = Path(__file__).parents[3] / "examples" / "notebook.ipynb"
PATIENCE = 60


def outputs_of(cell):
    return [data for each in cell.outputs if "data" in each for data in [each["data"]]]


def test_the_example_runs_under_nbconvert_and_shows_progress_and_report(tmp_path):
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    pytest.importorskip("ipykernel")
    preprocessors = pytest.importorskip("nbconvert.preprocessors")
    notebook = nbformat.read(EXAMPLE, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the example is kept without outputs"
    run = preprocessors.ExecutePreprocessor(timeout=PATIENCE, kernel_name="python3")
    run.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    first, again, report, stream = cells[3:7]
    progress, result = outputs_of(first)
    assert "6 of 6 done" in progress["text/html"]
    assert "Progress(done=6, total=6" in progress["text/plain"]
    assert result["text/plain"] == "(6, True)"
    assert "6 had ended before" in outputs_of(again)[0]["text/html"]
    assert outputs_of(again)[-1]["text/plain"] == "True"
    table = outputs_of(report)[0]["text/html"]
    assert "run jokes-1" in table
    assert re.search(r"requests</th><td[^>]*>12<", table)
    assert re.search(r"batches</th><td[^>]*>2<", table)
    assert "12 succeeded" in table
    assert "".join(each["text"] for each in stream.outputs) == "joke\njudge\n"
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    assert "6 of 6 done" in page


CELLS = """
import asyncio
from typing import TypedDict
from langgraph.graph import START, StateGraph
from batch_bridge import Bridge, FlushPolicy, Runner, wait

class State(TypedDict, total=False):
    x: str
    out: str

async def node(state):
    return {"out": await wait(state["x"])}

graph = StateGraph(State).add_node("node", node).add_edge(START, "node")
sent, answers = [], False

async def submit(items):
    sent.append(items)
    return len(sent) - 1

async def poll(handle):
    return [f"{item}!" for item in sent[handle]] if answers else None

def bridge():
    return Bridge(submit=submit, poll=poll, poll_interval=0.05)

runner = await Runner(graph, bridge(), path="run.db").open()
---
results = await runner.abatch([{"x": "a"}], run_id="r")
---
answers = True
results = await runner.abatch([{"x": "a"}], run_id="r")
print(results, len(sent))
---
runner = Runner(graph, bridge(), path="run.db")
await runner.open()
---
for each in Runner.left_open():
    await each.aclose()
async with Runner(graph, bridge(), path="run.db") as runner:
    print(await runner.abatch([{"x": "a"}], run_id="r"))
---
runner.batch([{"x": "a"}])
"""


def test_an_interrupted_cell_goes_on_and_a_runner_left_open_is_told_of(tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(
        kernel_name="python3", startup_timeout=PATIENCE, cwd=str(tmp_path), env={**os.environ, "PYTHONWARNINGS": ""}
    )

    def execute(code, *, interrupt=False):
        told = []

        def hear(message):
            kind, content = message["msg_type"], message["content"]
            told.append(content.get("text") or content.get("evalue") or "")
            if interrupt and kind == "update_display_data" and "1 in 1 batches" in content["data"]["text/html"]:
                kernel.interrupt_kernel()

        reply = client.execute_interactive(code, timeout=PATIENCE, output_hook=hear)["content"]
        return reply["status"], "".join(told) + str(reply.get("ename", "")) + str(reply.get("evalue", ""))

    try:
        opening, asking, again, twice, cured, blocking = CELLS.split("---\n")
        assert execute(opening) == ("ok", "")
        status, said = execute(asking, interrupt=True)
        assert (status, "KeyboardInterrupt" in said or "CancelledError" in said) == ("error", True), said
        assert execute(again) == ("ok", "[{'x': 'a', 'out': 'a!'}] 1\n")
        status, said = execute(twice)
        assert status == "error"
        assert "In a notebook an earlier cell has left it open" in said
        assert execute(cured)[1].endswith("[{'x': 'a', 'out': 'a!'}]\n")
        assert "use await abatch()" in execute(blocking)[1]
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


async def test_a_runner_without_a_variable_is_found_and_closed(tmp_path):
    import gc

    from helpers import Desk, one_node

    await Runner(one_node(lambda state: {}), Desk().bridge(), path=tmp_path / "run.db").open()
    gc.collect()
    (left,) = Runner.left_open()
    with pytest.raises(RunFileError, match=r"Runner\.left_open"):
        await Runner(one_node(lambda state: {}), Desk().bridge(), path=tmp_path / "run.db").open()
    await left.aclose()
    await left.aclose()
    assert Runner.left_open() == []
    await asyncio.sleep(0)


def test_html_is_escaped():
    evil = "<script>alert('x')</script>"
    report = Report(1, 1, 1, {evil: 1}, (), 0.0, 0.0, 0.0, problems=(evil,), run_id=evil)
    assert "<script" not in report._repr_html_()
    assert report._repr_html_().count("&lt;script&gt;") == 3
    progress = Progress(3, None, 2, 5, 1, 1, (BatchProgress(evil, evil, 2, 5),))
    assert progress._repr_html_() == (
        "<div><progress></progress> 3 done; 1 had ended before; 2 queued; 5 in 1 batches, 2 answered</div>"
    )
