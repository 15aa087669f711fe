"""A job that can be made to die at any of its steps. Run as a process, it forks one child for each order it reads.

An order is a line of JSON: {"folder", "base_url", "api_key", "die_at"}; the reply is one too: {"status"}. A child that
reaches step `die_at`, a name such as "after submit 2" or a number, ends as a power cut would: at once, with status 77,
without closing anything.
"""

import asyncio
import functools
import json
import operator
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import PutOp
from openai import AsyncOpenAI

import batch_bridge.runner._storage
from batch_bridge import Bridge, FlushPolicy, Runner, wait
from batch_bridge._sqlite import saver as _saver
from batch_bridge._sqlite import store as _store
from batch_bridge.providers.openai import OpenAIBatch

DIED = 77
THREADS = 3
VERBS = ("prepare", "submit", "poll", "find", "fence", "cancel", "release")


class State(TypedDict, total=False):
    name: str
    answers: Annotated[list[str], operator.add]


async def ask(text: str) -> str:
    answer = await wait([{"role": "user", "content": text}])
    return answer["choices"][0]["message"]["content"]


async def describe(state: State) -> State:
    first = await asyncio.gather(ask(f"{state['name']} one"), ask(f"{state['name']} two"))
    return {"answers": [*first, await ask(f"{state['name']} " + " and ".join(first))]}


class Steps:
    """Counts the steps of a job, and ends the process at one of them."""

    def __init__(self, die_at: int | str, log: Path) -> None:
        self.die_at = die_at
        self.seen: list[str] = []
        self.counts: Counter[str] = Counter()
        self.log = log

    def step(self, name: str) -> None:
        self.counts[name] += 1
        self.seen.append(f"{name} {self.counts[name]}")
        if self.die_at in (len(self.seen), self.seen[-1]):
            self.log.write_text(name)
            os._exit(DIED)

    def around(self, owner: Any, name: str, label: str, *, counts: Callable[..., bool] = lambda *_: True) -> None:
        """Make a step of the moment before and the moment after each call of an async method."""
        inner = getattr(owner, name)

        async def outer(*args: Any, **kwargs: Any) -> Any:
            counted = counts(*args)
            if counted:
                self.step(f"before {label}")
            result = await inner(*args, **kwargs)
            if counted:
                self.step(f"after {label}")
            return result

        setattr(owner, name, outer)


async def job(order: dict[str, Any], steps: Steps) -> list[list[str]]:
    steps.around(_store.SqliteRows, "abatch", "ledger write", counts=_writes)
    steps.around(_saver.GroupedSqliteSaver, "aput", "checkpoint")
    steps.around(_saver.GroupedSqliteSaver, "aput_writes", "checkpoint writes")
    steps.around(Pregel, "ainvoke", "run or resume")
    opened = batch_bridge.runner._storage.open_file
    batch_bridge.runner._storage.open_file = functools.partial(
        opened, before_commit=lambda: steps.step("before commit")
    )
    for verb in VERBS:
        steps.around(OpenAIBatch, verb, verb)
    client = AsyncOpenAI(base_url=order["base_url"], api_key=order["api_key"])
    provider = OpenAIBatch(client, model="gpt-4o-mini")
    bridge = Bridge(provider, poll_interval=0.5, flush=FlushPolicy(max_requests=4))
    graph = StateGraph(State).add_node("describe", describe).add_edge("__start__", "describe")
    async with Runner(graph, bridge, path=Path(order["folder"]) / "run.db", progress=False) as runner:
        results = await runner.abatch([{"name": f"thing {i}"} for i in range(THREADS)], run_id="crash")
    await client.close()
    return [result["answers"] for result in results]


def _writes(_: Any, ops: Any) -> bool:
    return any(isinstance(op, PutOp) for op in ops)


def child(order: dict[str, Any]) -> None:
    folder = Path(order["folder"])
    steps = Steps(order["die_at"], folder / "died-at")
    results = asyncio.run(job(order, steps))
    (folder / "results").write_text(json.dumps({"results": results, "steps": steps.seen}))


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            status = 1
            try:
                child(order)
                status = 0
            finally:
                sys.stderr.flush()
                if status:
                    import traceback

                    traceback.print_exc()
                os._exit(status)
        _, ended = os.waitpid(process, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(ended)}), flush=True)


if __name__ == "__main__":
    main()
