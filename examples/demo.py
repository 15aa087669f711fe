"""The main job on real input: docstrings of the Python standard library through a graph, at batch prices.

For each docstring, three questions are asked at once and a fourth that needs their answers: two rounds, however many
docstrings there are. Run it, stop it with Ctrl-C or `kill -9`, run it again: it continues where it was.

The answers come from a Batch API server on this machine, by rule and without a model (`demo_answers.py`), whatever is
in the environment. With `--real` OpenAI answers, for money, and 20 docstrings are asked about unless you say otherwise.
The catalogue is written beside the run's file.
"""

import ast
import asyncio
import contextlib
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypedDict

import typer
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI
from rich.console import Console
from rich.table import Table

from batch_bridge import Bridge, Report, Runner, wait
from batch_bridge.errors import RunFileError
from batch_bridge.providers.openai import OpenAIBatch
from batch_bridge.testing import BatchServer

MODEL = "gpt-4o-mini"
QUESTIONS = {
    "summary": "Say in one sentence what this does.",
    "audience": "Who needs this: a beginner, an application programmer or a library author? One word.",
    "keywords": "Give three keywords, separated by commas.",
}


class State(TypedDict, total=False):
    """One docstring on its way through the graph."""

    name: str
    docstring: str
    entry: str


async def ask(question: str, text: str) -> str:
    """Ask one question in the next batch, and return the answer's text."""
    messages = [{"role": "system", "content": question}, {"role": "user", "content": text[:2000]}]
    answer = await wait(messages, batcher="bridge")
    return answer["choices"][0]["message"]["content"]


async def describe(state: State) -> State:
    """Ask three questions at once, then one that needs their answers."""
    asked = (ask(question, state["docstring"]) for question in QUESTIONS.values())
    answers = dict(zip(QUESTIONS, await asyncio.gather(*asked), strict=True))
    notes = "\n".join(f"{name}: {answer}" for name, answer in answers.items())
    return {"entry": await ask(f"Write a catalogue entry for {state['name']} from these notes.", notes)}


def docstrings() -> Iterator[State]:
    """Yield the documented functions and classes of the standard library, in a fixed order."""
    library = Path(sysconfig.get_path("stdlib"))
    seen = set()
    for path in sorted(library.rglob("*.py")):
        module = ".".join(path.relative_to(library).with_suffix("").parts)
        if module.startswith(("test.", "site-packages.", "idlelib.", "lib2to3.")) or ".test" in module:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = ast.get_docstring(node)
                if text and len(text) >= 40 and text not in seen:
                    seen.add(text)
                    yield {"name": f"{module}.{node.name}", "docstring": text}


@contextlib.contextmanager
def provider(*, real: bool, state: Path, latency: float) -> Iterator[OpenAIBatch]:
    """Yield the provider: OpenAI's, or one on a Batch API server that keeps its state on disk."""
    if real:
        yield OpenAIBatch(model=MODEL)
        return
    with BatchServer(latency=latency, state_dir=state / "server", answerer="demo_answers:answer") as server:
        yield OpenAIBatch(AsyncOpenAI(base_url=server.base_url, api_key="demo"), model=MODEL)


async def work(records: list[State], openai: OpenAIBatch, path: Path, run_id: str) -> tuple[list[State], Report]:
    """Run the graph over the records, or go on where an earlier process stopped."""
    graph = StateGraph(State).add_node("describe", describe).add_edge(START, "describe").add_edge("describe", END)
    bridge = Bridge(openai, name="bridge", poll_interval=2, mode="batch")  # whatever BATCH_BRIDGE_MODE says
    async with Runner(graph, bridge, path=path) as runner:
        results = await runner.abatch(records, run_id=run_id)
        return results, await runner.report()


def show(results: list[State], report: Report, openai: OpenAIBatch, wall: float, *, real: bool) -> None:
    """Print what was done, what it cost, and where the time went."""
    table = Table(show_header=False, title="BatchBridge demo")
    cost = report.cost
    rows = {
        "answers from": "OpenAI" if real else "rules, on the Batch API server of this machine: no model was asked",
        "threads": f"{len(results):,}",
        "requests": f"{report.requests:,}: " + ", ".join(f"{n:,} {kind}" for kind, n in report.outcomes.items()),
        "batches": f"{report.batches:,}",
        "API calls, this session": f"{sum(openai.calls.values()):,}",
        "tokens": f"{cost.input_tokens + cost.output_tokens:,}",
        "cost": f"${cost.paid:.4f}" + ("" if real else ", had OpenAI answered"),
        "cost at realtime price": f"${cost.list_price:.4f}",
        "saved": f"${cost.saved:.4f}" + ("" if real else ", had OpenAI answered"),
        "time in LangGraph": f"{report.langgraph_seconds:.1f} s",
        "time in the bridge": f"{report.bridge_seconds:.1f} s",
        "time waiting": f"{report.waiting_seconds:.1f} s",
        "wall time, this session": f"{wall:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console()
    for result in results[:3]:
        console.print(f"{result['name']}: {result['entry']}", soft_wrap=True, markup=False)
    console.print(table)


def write_catalogue(results: list[State], path: Path, *, real: bool) -> None:
    """Write the entries to a file that one can open; it says itself who has answered."""
    by = MODEL if real else "rules, without a model"
    entries = "\n\n".join(f"## {result['name']}\n\n{result['entry']}" for result in results)
    path.write_text(f"# The standard library, described by {by}\n\n{entries}\n", encoding="utf-8")


def main(
    records: Annotated[int | None, typer.Option(min=1, help="How many docstrings; 2,000, or 20 with --real.")] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds that a batch takes on the local server.")] = 3.0,
    state: Annotated[Path, typer.Option(help="The folder that the run's state is kept in.")] = Path("demo-state"),
    *,
    real: Annotated[bool, typer.Option("--real", help="Ask OpenAI, which costs money; needs OPENAI_API_KEY.")] = False,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run has done.")] = False,
) -> None:
    """Run the demo, or continue it."""
    if real and not os.environ.get("OPENAI_API_KEY"):
        sys.exit("--real asks OpenAI, and OPENAI_API_KEY is not set; set it, or leave --real out.")
    count = records or (20 if real else 2000)
    if fresh:
        shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    inputs = [record for record, _ in zip(docstrings(), range(count), strict=False)]
    started = time.perf_counter()
    print(
        f"While it runs, in another terminal: batch-bridge watch {state / 'run.db'} (--web for a page)", file=sys.stderr
    )
    run_id = f"demo-{'openai' if real else 'local'}-{len(inputs)}"
    try:
        with provider(real=real, state=state, latency=latency) as openai:
            results, report = asyncio.run(work(inputs, openai, state / "run.db", run_id))
            show(results, report, openai, time.perf_counter() - started, real=real)
        write_catalogue(results, state / "catalogue.md", real=real)
        print(f"The catalogue: {state / 'catalogue.md'}\nHow it went:   batch-bridge status {state / 'run.db'}")
    except KeyboardInterrupt:
        sys.exit("Stopped. Nothing is lost: the same command continues.")
    except RunFileError as error:
        sys.exit(f"{error}\nTo start anew: make demo ARGS=--fresh")


if __name__ == "__main__":
    typer.run(main)
